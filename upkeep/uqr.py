"""Renew the library that draws the codes of printed pages: `python -m upkeep.uqr`."""

import shutil
import tempfile
from pathlib import Path

from flatlab.explorable.face import CODES
from upkeep.npm import bundle, install

VERSION = "0.1.3"


def main() -> None:
    """Write the one function that is used: a text as a code, an SVG."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        package = install(folder, f"uqr@{VERSION}") / "uqr"
        told = f"uqr v{VERSION}. Copyright (c) 2023-PRESENT Anthony Fu. MIT License, see LICENSE."
        bundle(folder, 'export { renderSVG } from "uqr";\n', CODES, name="uqr", banner=told)
        shutil.copy(package / "LICENSE", CODES.parent)


if __name__ == "__main__":
    main()
