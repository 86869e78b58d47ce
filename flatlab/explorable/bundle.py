"""One self-contained ES module out of an explorable and what it imports, or scripts that a page's explorables share.

Every host but a web server takes an explorable as text: Jupyter hands it over as a blob, a page opened from disk may not
import from its folder. The modules are ours and plain (named imports, declarations at the top), so joining them takes a
few lines here and no JavaScript tool where the library is installed.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.util
import json
import re
from pathlib import Path
from typing import NamedTuple

from flatlab.palette import PALETTE, PALETTE_FILE

__all__ = ["bundle", "located", "scripts"]

IMPORT = re.compile(r'^import (?P<names>\{[^}]*\}|\w+) from "(?P<path>[\w.][^"?]*)(?P<text>\?text)?";\n', re.MULTILINE)
DATA = {".json": json.loads, ".wasm": lambda code: base64.b64encode(code).decode()}
"""What a module may import besides modules, and the constant that it becomes."""
DEFAULT = re.compile(r"^export default (?P<value>.*);\n", re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:const|let|function|async function|class) (?P<name>\w+))", re.MULTILINE)


class Module(NamedTuple):
    """A file that a page runs."""

    address: str
    imports: tuple[tuple[str, Path], ...]
    """What it calls the names that it takes, and from where."""
    text: str
    """The rest of it."""


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


@functools.cache
def scripts(address: str) -> dict[str, str]:
    """The module at this address and all it imports as scripts of a page, in order, each by a name that is its own.

    Each keeps what it exports in `flatlabModules[name]`, `default` included, and does nothing where that is there already:
    a name stands for one text, and a page that holds a script twice may drop the second. Raises as `bundle` does.

    >>> [name.split("#")[0] for name in scripts("flatlab/explorable/sight.mjs")]
    ['flatlab/explorable/sight.mjs']
    """
    names: dict[Path, str] = {}
    made = {}
    for path, module in _modules([located(address)]).items():
        taken = "".join(f'const {what} = flatlabModules["{names[source]}"];\n' for what, source in module.imports)
        given = EXPORT.findall(module.text) + [f"default: {value}" for value in DEFAULT.findall(module.text)]
        result = path.stem if path.suffix in DATA else f"{{ {', '.join(given)} }}"
        body = f"{taken}{_without_exports(module.text)}return {result};"
        names[path] = f"{module.address}#{hashlib.sha256(body.encode()).hexdigest()[:8]}"
        made[names[path]] = f'(globalThis.flatlabModules ??= {{}})["{names[path]}"] ??= (() => {{\n{body}\n}})();'
    return made


def _joined(paths: list[Path], exports: bool) -> str:
    modules = list(_modules(paths).values())
    plain = len(modules) - exports
    texts = [_without_exports(module.text) for module in modules[:plain]] + [module.text for module in modules[plain:]]
    return "\n".join(f"// ---- {module.address}\n{text}" for module, text in zip(modules, texts, strict=True))


def _without_exports(text: str) -> str:
    return DEFAULT.sub("", EXPORT.sub("", text))


def _modules(paths: list[Path]) -> dict[Path, Module]:
    """These files and all they import, each after what it imports."""
    seen: dict[Path, Module] = {}
    for path in paths:
        _collect(path, seen)
    return seen


def _address(path: Path) -> str:
    """Its path from the folder that its package stands in."""
    return path.relative_to(next(p for p in path.parents if not (p / "__init__.py").exists())).as_posix()


def _collect(path: Path, seen: dict[Path, Module]) -> None:
    if path in seen:
        return
    if path.suffix in DATA:
        data = PALETTE if path == PALETTE_FILE else DATA[path.suffix](path.read_bytes())
        seen[path] = Module(_address(path), (), f"const {path.stem} = {json.dumps(data)};\n")
        return
    source = path.read_text()
    imports, constants = [], []
    for match in IMPORT.finditer(source):
        target = located(match["path"], path.parent)
        if match["text"]:
            constants.append(f"const {match['names']} = {json.dumps(_joined([target], True))};\n")
        else:
            _collect(target, seen)
            imports.append((match["names"], target))
            if target.suffix in DATA and match["names"] != target.stem:
                raise ValueError(f"{path.name}: import {target.name} as {target.stem}, not as {match['names']}")
    body = IMPORT.sub("", source)
    if left := re.search(r"^(import .*|export \{.*)", body, re.MULTILINE):
        raise ValueError(f"{path.name}: cannot bundle {left[0]!r}")
    seen[path] = Module(_address(path), tuple(imports), f"{''.join(constants)}{body}")
