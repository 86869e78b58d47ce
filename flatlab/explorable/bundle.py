"""One self-contained ES module out of an explorable and what it imports.

Every host but a web server takes an explorable as a single text: Jupyter hands it over as a blob, a page opened from disk
may not import from its folder. The modules are ours and plain (named imports, declarations at the top), so joining them
takes a few lines here and no JavaScript tool where the library is installed.
"""

from __future__ import annotations

import base64
import functools
import importlib.util
import json
import re
from pathlib import Path

from flatlab.palette import PALETTE, PALETTE_FILE

__all__ = ["bundle", "located"]

IMPORT = re.compile(r'^import (?P<names>\{[^}]*\}|\w+) from "(?P<path>[\w.][^"?]*)(?P<text>\?text)?";\n', re.MULTILINE)
DATA = {".json": json.loads, ".wasm": lambda code: base64.b64encode(code).decode()}
"""What a module may import besides modules, and the constant that it becomes."""
DEFAULT = re.compile(r"^export default .*;\n", re.MULTILINE)
EXPORT = re.compile(r"^export (?=const |let |function |async function |class )", re.MULTILINE)


def located(address: str, beside: Path | None = None) -> Path:
    """The file at `PACKAGE/.../NAME.mjs`, wherever that Python package is installed, or at `./NAME.mjs` in a folder.

    Raises `FileNotFoundError`, naming the address, if there is none.

    >>> located("flatlab/explorable/plane.mjs").name
    'plane.mjs'
    """
    if address.startswith(".") and beside:
        path = (beside / address).resolve()
    else:
        package, _, within = address.partition("/")
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(f"{address}: there is no package {package!r}")
        path = Path(spec.submodule_search_locations[0]).resolve() / within
    if not path.is_file():
        raise FileNotFoundError(f"{address}: there is no file {path}")
    return path


@functools.cache
def bundle(*addresses: str, exports: bool = True) -> str:
    """The modules at these addresses and all they import, joined in order; the last one keeps its exports if `exports`.

    An address is that of a file in a Python package, `flatlab/explorable/plane.mjs`; a module names another one so, or from
    beside it, `./x.mjs`. `import {a, b} from "./x.mjs"` places x.mjs before its importer, `import x from "./x.json"` makes
    a constant of the data, `import x from "./x.wasm"` one of the code in base64, and `import x from "./x.mjs?text"` one of
    x's own bundle as text, for a Web Worker. Raises `FileNotFoundError` if a module is missing and `ValueError` if one uses
    another form of import or export.

    >>> bundle("flatlab/explorable/plane.mjs").startswith("// ---- flatlab/explorable/plane.mjs")
    True
    """
    return _joined([located(address) for address in addresses], exports)


def _joined(paths: list[Path], exports: bool) -> str:
    seen: dict[Path, str] = {}
    for path in paths:
        _collect(path, seen)
    texts = list(seen.values())
    plain = len(texts) - exports
    return "\n".join([DEFAULT.sub("", EXPORT.sub("", text)) for text in texts[:plain]] + texts[plain:])


def _collect(path: Path, seen: dict[Path, str]) -> None:
    if path in seen:
        return
    if path.suffix in DATA:
        data = PALETTE if path == PALETTE_FILE else DATA[path.suffix](path.read_bytes())
        seen[path] = f"const {path.stem} = {json.dumps(data)};\n"
        return
    source = path.read_text()
    constants = []
    for match in IMPORT.finditer(source):
        target = located(match["path"], path.parent)
        if match["text"]:
            constants.append(f"const {match['names']} = {json.dumps(_joined([target], True))};\n")
        else:
            _collect(target, seen)
            if target.suffix in DATA and match["names"] != target.stem:
                raise ValueError(f"{path.name}: import {target.name} as {target.stem}, not as {match['names']}")
    body = IMPORT.sub("", source)
    if left := re.search(r"^(import .*|export \{.*)", body, re.MULTILINE):
        raise ValueError(f"{path.name}: cannot bundle {left[0]!r}")
    seen[path] = f"// ---- {'/'.join(path.parts[-3:])}\n{''.join(constants)}{body}"
