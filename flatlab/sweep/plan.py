"""A sweep file: which runs stand behind a table or figure of a paper."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from flatlab.experiment import setting

__all__ = ["SIZES", "Plan", "read"]

SIZES = ("smoke", "quick", "paper")
KEYS = {"paper": str, "where": str, "about": str, "experiment": str, "settings": dict, "parts": list, "sizes": dict}


@dataclass(frozen=True)
class Plan:
    """The runs of a sweep file in one size: `runs` are settings of the experiment `name`, each once, in file order."""

    paper: str
    where: str
    about: str
    name: str
    runs: tuple[Any, ...]


def read(file: str | Path, size: str, experiments: Mapping[str, type]) -> Plan:
    """The plan in the TOML `file` for `size`, one of `smoke`, `quick` and `paper`.

        paper = "tan2025stablesam"        # which paper, which table or figure, and what to know about it
        where = "Table 2"
        about = "..."
        experiment = "train"              # one of `experiments`, by its name on the command line

        [settings]                        # of every run; a list is an axis
        seed = [1, 42, 123]

        [[parts]]                         # further settings of one part of the grid
        method = "SAM"
        rho = [0.05, 0.1]

        [sizes.smoke]                     # one table a size: settings that take the place of all others
        epochs = 1

    The rule: a part's runs are all combinations of `settings`, overruled by the part's, overruled by the size's; the
    runs are those of all parts, each once. `[[sizes.NAME.parts]]` take the place of the file's parts in that size.
    A list is always an axis: a value that is a list itself stands in another one, `hidden = [[512, 256]]`.

    Raises `ValueError` naming file, key and the nearest one allowed for what is unknown, and file and combination for
    settings that do not go together; `FileNotFoundError` if there is no such file.
    """
    file = Path(file)
    try:
        given = tomllib.loads(file.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"no sweep file {file}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is no TOML: {error}") from None
    for key, value in given.items():
        _known(file, "key", key, KEYS)
        if not isinstance(value, KEYS[key]):
            raise ValueError(f"{file}: {key} must be a {KEYS[key].__name__}, got {value!r}")
    for key in ("paper", "where", "about", "experiment", "sizes"):
        if key not in given:
            raise ValueError(f"{file}: the key {key!r} is missing")
    name, sizes = given["experiment"], given["sizes"]
    _known(file, "experiment", name, experiments)
    for key in sizes:
        _known(file, "size", key, SIZES)
    if size not in sizes:
        raise ValueError(f"{file} has no size {size!r}; there are {', '.join(sizes)}")
    over = dict(_table(file, sizes[size]))
    parts = over.pop("parts", None) or given.get("parts") or [{}]
    runs = dict.fromkeys(
        run
        for part in parts
        for run in _runs(file, experiments[name], {**given.get("settings", {}), **_table(file, part), **over})
    )
    return Plan(given["paper"], given["where"], given["about"], name, tuple(runs))


def _table(file: Path, part: Any) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise ValueError(f"{file}: parts and sizes must be tables of settings, got {part!r}")
    return part


def _runs(file: Path, cls: type, axes: dict[str, Any]) -> Iterator[Any]:
    """All combinations of the axes."""
    hints, allowed = get_type_hints(cls), [f.name for f in fields(cls)]
    columns = []
    for key, values in axes.items():
        _known(file, "setting", key, allowed)
        values = values if isinstance(values, list) else [values]
        if not values:
            raise ValueError(f"{file}: {key} has no values")
        columns.append([_typed(file, key, value, hints[key]) for value in values])
    for chosen in product(*columns):
        combination = dict(zip(axes, chosen, strict=True))
        try:
            yield setting(cls, combination)
        except ValueError as error:
            told = ", ".join(f"{k} = {v!r}" for k, v in combination.items())
            raise ValueError(f"{file}: {error} (in the combination {told})") from None


def _typed(file: Path, key: str, value: Any, hint: Any) -> Any:
    """`value` in the type that the command line would give it, as the record's key depends on it."""
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if isinstance(value, int) and not isinstance(value, bool) and float in kinds:
        return float(value)
    plain = [get_origin(kind) or kind for kind in kinds if kind is not type(None)]
    if (tuple if isinstance(value, list) else type(value)) not in plain:
        raise ValueError(f"{file}: {key} must be of type {plain[0].__name__}, got {value!r}")
    return value


def _known(file: Path, what: str, name: str, allowed: Any) -> None:
    if name not in allowed:
        near = get_close_matches(name, list(allowed), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(allowed)}"
        raise ValueError(f"{file} has an unknown {what} {name!r}; {hint}")
