"""What the files of a package declare: one more file, and the package has one thing more."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

__all__ = ["Declared", "declared"]


@dataclass(frozen=True, kw_only=True)
class Declared:
    """Something that is asked for by its `name`. Tables and legends call it by its `title`.

    `place` is where it stands in lists; those of one place stand in the order of their names.
    """

    name: str
    title: str
    place: int = 99


Kind = TypeVar("Kind", bound=Declared)


def declared(package: str, kind: type[Kind]) -> dict[str, Kind]:
    """By name, in order: each `kind` that a file of the package has at its top. Packages within it are not searched.

    Raises `ValueError` if two of them have one name.

    >>> from flatlab.models.architecture import Architecture
    >>> list(declared("flatlab.models", Architecture))[:2]
    ['logistic', 'fcn']
    """
    found: dict[str, Kind] = {}
    for file in iter_modules(import_module(package).__path__):
        module = None if file.ispkg else import_module(f"{package}.{file.name}")
        for thing in vars(module).values() if module else ():
            if isinstance(thing, kind) and found.setdefault(thing.name, thing) is not thing:
                raise ValueError(f"{package} declares two under the name {thing.name!r}: {found[thing.name]} and {thing}")
    return dict(sorted(found.items(), key=lambda pair: (pair[1].place, pair[0])))
