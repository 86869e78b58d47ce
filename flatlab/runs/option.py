"""A setting of an experiment, declared once: its default, one line on it, and what is allowed.

What an `option` says is checked by `Experiment`, and the command line, its help, sweep files and forms are made of it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field, fields
from fnmatch import fnmatchcase
from numbers import Integral, Real
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

__all__ = ["SEEDS", "Option", "inherited", "option", "options"]

SEEDS = {"least": 0, "most": 2**32 - 1}
"""Bounds of a seed."""
KINDS = {int: ("a whole number", "whole numbers"), float: ("a number", "numbers")}
KINDS |= {bool: ("true or false", "true or false"), str: ("a word", "words")}


@dataclass(frozen=True, kw_only=True)
class Option:
    """What is known of one setting.

    - `kind`: type of a value, `int`, `float`, `bool` or `str`; with `many`, the setting is a tuple of such values.
    - `optional`: whether it may be None.
    - `least`, `above`, `most`, `below`: bounds of every number, `>=`, `>`, `<=`, `<`. A number is finite.
    - `allowed`: the words there are; one with a `*` stands for all words of that pattern.
    - `count`: how many values; `empty`: whether there may be none; `increasing`: whether each is above the one before.
    - `about`: its meaning; `unit`; `group`: what it belongs to, for the help.
    """

    name: str
    kind: type
    many: bool
    optional: bool
    default: Any
    about: str = ""
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    allowed: tuple[str, ...] = ()
    unit: str = ""
    group: str = ""
    count: int | None = None
    empty: bool = False
    increasing: bool = False

    @property
    def bounds(self) -> str:
        """The bounds in words.

        >>> from flatlab.training import Train
        >>> options(Train)["momentum"].bounds
        '>= 0 and < 1'
        """
        signs = {">=": self.least, ">": self.above, "<=": self.most, "<": self.below}
        return " and ".join(f"{sign} {bound}" for sign, bound in signs.items() if bound is not None)

    @property
    def wanted(self) -> str:
        """What is allowed, in words, as after "must be"; empty if everything of its kind is."""
        if self.allowed:
            named = (word.replace("*:*", "MODULE:FUNCTION").replace("*", "NAME") for word in self.allowed)
            return f"{'among' if self.many else 'one of'} {', '.join(named)}"
        if self.count is not None:
            return f"{self.count} {KINDS[self.kind][1]} {self.bounds}".rstrip()
        return " and ".join(filter(None, ["increasing" if self.increasing else "", self.bounds]))

    @property
    def help(self) -> str:
        """Meaning, unit, what is allowed and default, in a line.

        >>> from flatlab.training import Train
        >>> options(Train)["lr"].help
        'largest learning rate; > 0 (default: 0.1)'
        """
        about = f"{self.about}, in {self.unit}" if self.unit else self.about
        said = "; ".join(filter(None, [about, self.wanted]))
        if self.default in (None, MISSING, ()):
            return said
        return f"{said} (default: {self.shown(self.default)})".lstrip()

    def shown(self, value: Any) -> str:
        """`value` as `read` takes it."""
        return " ".join(map(str, value)) if self.many and value is not None else str(value)

    def read(self, text: str) -> Any:
        """The value that `text` stands for on a command line or in a form; many are words apart, none is "none" or empty.

        Raises `ValueError`, naming the setting, for a text that is not of its kind.

        >>> from flatlab.training import Train
        >>> options(Train)["width"].read("64 256 256")
        (64, 256, 256)
        """
        if self.optional and text.strip().lower() in ("", "none"):
            return None
        return tuple(map(self._one, text.split())) if self.many else self._one(text.strip())

    def _one(self, word: str) -> Any:
        try:
            return {"true": True, "false": False}[word.lower()] if self.kind is bool else self.kind(word)
        except (KeyError, ValueError):
            raise self._not_of_its_kind(word) from None

    def checked(self, value: Any) -> Any:
        """`value` in the setting's own type: the same run has the same record, wherever its settings come from.

        Raises `ValueError`, naming the setting, what is allowed and the value, if it is not allowed.

        >>> from flatlab.training import Train
        >>> options(Train)["width"].checked([64, 256, 256])
        (64, 256, 256)
        >>> options(Train)["momentum"].checked(1)
        Traceback (most recent call last):
        ValueError: momentum must be >= 0 and < 1, got 1.0
        """
        if value is None and self.optional:
            return None
        if not self.many:
            value = self._typed(value)
            self._within([value], value)
            return value
        if not isinstance(value, list | tuple):
            raise self._not_of_its_kind(value)
        value = tuple(map(self._typed, value))
        if not value and not self.empty:
            raise ValueError(f"{self.name} must have at least one value, got ()")
        disordered = self.increasing and any(a >= b for a, b in zip(value, value[1:], strict=False))
        if disordered or self.count not in (None, len(value)):
            raise ValueError(f"{self.name} must be {self.wanted}, got {value}")
        self._within(value, value)
        return value

    def _typed(self, value: Any) -> Any:
        fits = {int: Integral, float: Real}.get(self.kind, self.kind)
        if not isinstance(value, fits) or (isinstance(value, bool) and self.kind is not bool):
            raise self._not_of_its_kind(value)
        return self.kind(value)

    def _within(self, values: Iterable[Any], whole: Any) -> None:
        for value in values:
            if self.allowed and not any(fnmatchcase(value, pattern) for pattern in self.allowed):
                raise ValueError(f"{self.name} must be {self.wanted}, got {value!r}")
            if self.kind not in (int, float):
                continue
            finite = math.isfinite(value)
            inside = (self.least is None or value >= self.least) and (self.above is None or value > self.above)
            inside = inside and (self.most is None or value <= self.most) and (self.below is None or value < self.below)
            if not (finite and inside):
                wanted = " and ".join(filter(None, ["" if finite else "finite", self.wanted]))
                raise ValueError(f"{self.name} must be {wanted}, got {whole}")

    def _not_of_its_kind(self, value: Any) -> ValueError:
        return ValueError(f"{self.name} must be {KINDS[self.kind][self.many]}, got {value!r}")


def option(default: Any, about: str, **more: Any) -> Any:
    """A field of an experiment: its default, one line on what it means, and what `Option` has besides."""
    return field(default=default, metadata={"about": about, **more})


def inherited(cls: type, name: str, default: Any, **more: Any) -> Any:
    """The field `name` of `cls` for a subclass, with another default, and all else as it was but for what `more` says."""
    (whole,) = (f for f in fields(cls) if f.name == name)
    return field(default=default, metadata={**whole.metadata, **more})


@functools.cache
def options(cls: type) -> dict[str, Option]:
    """The settings of an experiment by name, in their order."""
    hints = get_type_hints(cls)
    return {f.name: Option(name=f.name, default=f.default, **_hinted(hints[f.name]), **f.metadata) for f in fields(cls)}


def _hinted(hint: Any) -> dict[str, Any]:
    optional = isinstance(hint, UnionType)
    if optional:
        (hint,) = (a for a in get_args(hint) if a is not type(None))
    many = get_origin(hint) is tuple
    return {"kind": get_args(hint)[0] if many else hint, "many": many, "optional": optional}
