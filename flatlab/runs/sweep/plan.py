"""A sweep file: which runs stand behind a table or figure of a paper."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from flatlab.runs.experiment import Experiment, setting
from flatlab.runs.nearest import nearest

__all__ = ["SIZES", "Plan", "read"]

SIZES = ("smoke", "quick", "paper")
KEYS = {"paper": str, "where": str, "about": str, "experiment": str, "settings": dict, "parts": list, "sizes": dict}


@dataclass(frozen=True)
class Plan:
    """The runs of a sweep file in one size, each once: by seed, then in file order."""

    paper: str
    where: str
    about: str
    runs: tuple[Experiment, ...]


def read(file: str | Path, size: str, experiments: Mapping[str, type[Experiment]]) -> Plan:
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
    runs are those of all parts, each once, seed by seed, so that a sweep which is cut short leaves whole comparisons.
    `[[sizes.NAME.parts]]` take the place of the file's parts in that size.
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
    whole = dict.fromkeys(
        run
        for part in parts
        for run in _runs(file, experiments[name], {**given.get("settings", {}), **_table(file, part), **over})
    )
    seeds = list(dict.fromkeys(_seed(run) for run in whole))
    runs = sorted(whole, key=lambda run: seeds.index(_seed(run)))
    return Plan(given["paper"], given["where"], given["about"], tuple(runs))


def _seed(run: Experiment) -> int | None:
    return getattr(run, "seed", None)


def _table(file: Path, part: Any) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise ValueError(f"{file}: parts and sizes must be tables of settings, got {part!r}")
    return part


def _runs(file: Path, cls: type[Experiment], axes: dict[str, Any]) -> Iterator[Experiment]:
    """All combinations of the axes."""
    columns = []
    for key, values in axes.items():
        columns.append(values if isinstance(values, list) else [values])
        if not columns[-1]:
            raise ValueError(f"{file}: {key} has no values")
    for chosen in product(*columns):
        combination = dict(zip(axes, chosen, strict=True))
        try:
            yield setting(cls, combination)
        except ValueError as error:
            told = ", ".join(f"{k} = {v!r}" for k, v in combination.items())
            raise ValueError(f"{file}: {error} (in the combination {told})") from None


def _known(file: Path, what: str, name: str, allowed: Any) -> None:
    if name not in allowed:
        raise ValueError(f"{file} has an unknown {what} {name!r}; {nearest(name, allowed)}")
