"""Packages of npm as one script that a page can run. It takes npm, which a newcomer has not: the scripts are kept."""

import subprocess
from pathlib import Path

ESBUILD = "esbuild@0.28.1"


def install(folder: Path, *packages: str) -> Path:
    """Fetch these packages with all they need into an empty folder, run none of their own scripts; where they lie."""
    (folder / "package.json").write_text("{}")
    flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    subprocess.run(["npm", "install", *flags, ESBUILD, *packages], cwd=folder, check=True)
    return folder / "node_modules"


def bundle(folder: Path, source: str, out: Path, *, name: str, banner: str, options: tuple[str, ...] = ()) -> None:
    """Write the module `source` and all it asks for to the script `out`, which sets the global `name`."""
    entry = folder / "entry.js"
    entry.write_text(source)
    words = ["--bundle", "--minify", "--format=iife", f"--global-name={name}", "--target=es2020", "--log-level=error"]
    words += [f"--banner:js=/* {banner} */", f"--outfile={out}", *options]
    subprocess.run([folder / "node_modules" / ".bin" / "esbuild", entry, *words], cwd=folder, check=True)
    out.with_suffix(".css").unlink(missing_ok=True)  # of maps, which none of ours draws
