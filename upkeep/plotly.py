"""Renew the builds of plotly.js that the explorables draw with: `python -m upkeep.plotly`."""

import re
import shutil
import tempfile
from importlib import resources
from pathlib import Path

from flatlab.explorable.face import KINDS, build
from upkeep.npm import bundle, install

OPTIONS = (
    "--alias:regl=@plotly/regl",
    "--alias:stream=stream-browserify",
    "--define:global=window",
    "--define:define.amd=false",
    "--define:process.env.NODE_DEBUG=false",
    "--loader:.glsl=text",
)
"""As in plotly's own `esbuild-config.js`, whose plugins the traces here do without."""
DESCRIPTION = re.compile(r"""\bdescription: (?:\[[\s\S]*?\]\s*\.join\([^)]*\)|'(?:[^'\\]|\\.)*'(?=\s*[,}])),?""")


def version(script: bytes) -> str:
    """Which plotly.js this is, by its first lines: `4.1.1`."""
    return re.search(rb"plotly\.js (?:\(.*\) )?v(\d+(?:\.\d+)*)", script[:200])[1].decode()


def installed() -> str:
    """That of the installed Python package, which draws the same figures in a notebook."""
    return version(resources.files("plotly").joinpath("package_data/plotly.min.js").read_bytes())


def without_descriptions(source: Path) -> None:
    """Drop what only plotly's reference shows: a sixth of a build."""
    for file in source.rglob("*.js"):
        file.write_text(DESCRIPTION.sub("", file.read_text()))


def main() -> None:
    """Write each build with the traces that it is for."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plotly = install(folder, f"plotly.js@{installed()}", "stream-browserify@3") / "plotly.js"
        without_descriptions(plotly / "src")
        for of, kinds in KINDS.items():
            asked = ", ".join(f'require("plotly.js/lib/{kind}")' for kind in kinds if kind != "scatter")  # the core has it
            source = (
                f'const Plotly = require("plotly.js/lib/core");\nPlotly.register([{asked}]);\nmodule.exports = Plotly;\n'
            )
            told = f"plotly.js ({', '.join(kinds)}) v{installed()}. Copyright Plotly, Inc. MIT License, see LICENSE."
            bundle(folder, source, build(of), name="Plotly", banner=told, options=OPTIONS)
        shutil.copy(plotly / "LICENSE", build("axes").parent)


if __name__ == "__main__":
    main()
