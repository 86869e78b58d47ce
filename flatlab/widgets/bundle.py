"""One self-contained ES module out of an explorable and what it imports.

Every host but a web server takes an explorable as a single text: Jupyter hands it over as a blob, a page opened from disk
may not import from its folder. The modules are ours and plain (named imports from beside them, declarations at the top),
so joining them takes a few lines here and no JavaScript tool where the library is installed.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

from flatlab.palette import PALETTE, PALETTE_FILE

__all__ = ["bundle"]

STATIC = Path(__file__).parent / "static"
IMPORT = re.compile(r'^import (?P<names>\{[^}]*\}|\w+) from "(?P<path>\.[^"?]*)(?P<text>\?text)?";\n', re.MULTILINE)
DEFAULT = re.compile(r"^export default .*;\n", re.MULTILINE)
EXPORT = re.compile(r"^export (?=const |let |function |async function |class )", re.MULTILINE)


@functools.cache
def bundle(*names: str, exports: bool = True) -> str:
    """The modules `static/NAME.mjs` and all they import, joined in order; the last one keeps its exports if `exports`.

    `import {a, b} from "./x.mjs"` places x.mjs before its importer, `import x from "./x.json"` makes a constant of the
    data, and `import x from "./x.mjs?text"` a constant that holds x's own bundle as text, for a Web Worker. Raises
    `FileNotFoundError` if a module is missing and `ValueError` if one uses another form of import or export.

    >>> bundle("plane").startswith("// ---- plane.mjs")
    True
    """
    seen: dict[Path, str] = {}
    for name in names:
        _collect((STATIC / f"{name}.mjs").resolve(), seen)
    texts = list(seen.values())
    plain = len(texts) - exports
    return "\n".join([DEFAULT.sub("", EXPORT.sub("", text)) for text in texts[:plain]] + texts[plain:])


def _collect(path: Path, seen: dict[Path, str]) -> None:
    if path in seen:
        return
    if path.suffix == ".json":
        data = PALETTE if path == PALETTE_FILE else json.loads(path.read_text())
        seen[path] = f"const {path.stem} = {json.dumps(data)};\n"
        return
    source = path.read_text()
    constants = []
    for match in IMPORT.finditer(source):
        target = (path.parent / match["path"]).resolve()
        if match["text"]:
            constants.append(f"const {match['names']} = {json.dumps(bundle(target.stem))};\n")
        else:
            _collect(target, seen)
            if target.suffix == ".json" and match["names"] != target.stem:
                raise ValueError(f"{path.name}: import {target.name} as {target.stem}, not as {match['names']}")
    body = IMPORT.sub("", source)
    if left := re.search(r"^(import .*|export \{.*)", body, re.MULTILINE):
        raise ValueError(f"{path.name}: cannot bundle {left[0]!r}")
    seen[path] = f"// ---- {path.name}\n{''.join(constants)}{body}"
