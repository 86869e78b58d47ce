"""Renew the build of plotly.js that the explorables draw with, by npm: `python -m upkeep.plotly`."""

import json
import re
import subprocess
import tarfile
import tempfile
from importlib import resources

from flatlab.explorable.face import PLOTLY


def version(script: bytes) -> str:
    """Which plotly.js this is, by its first lines: `4.1.1`."""
    return re.search(rb"plotly\.js (?:\(.*\) )?v([\d.]+)", script[:200])[1].decode()


def installed() -> str:
    """That of the installed Python package, which draws the same figures in a notebook."""
    return version(resources.files("plotly").joinpath("package_data/plotly.min.js").read_bytes())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        words = ["npm", "pack", f"plotly.js-cartesian-dist-min@{installed()}", "--json", "--pack-destination", folder]
        (packed,) = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
        with tarfile.open(f"{folder}/{packed['filename']}") as archive:
            for name in (PLOTLY.name, "LICENSE"):
                PLOTLY.with_name(name).write_bytes(archive.extractfile(f"package/{name}").read())
