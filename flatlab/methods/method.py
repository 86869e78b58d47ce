"""What a method says of itself, beside its rule: from it the optimizer, the command line and the book's tables are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from flatlab.methods.vectors import non_negative

__all__ = ["Method", "Option"]


@dataclass
class Option:
    """A hyperparameter of a method: default, meaning and bounds. Its name is that of the class attribute it is.

    `unit` says in what it is measured. `shared` is one value for the whole optimizer, where others may differ between
    groups of parameters. An option with `each` reaches the rule as its argument `mask`: a boolean for every weight,
    `each(parameter, value)`, or None where that is true of all.

    >>> class Example(Method):
    ...     rho = Option(0.05, "radius of the ascent", least=0)
    >>> Example.options["rho"].bounds()
    '>= 0'
    >>> Example.rho.check(-1.0)
    Traceback (most recent call last):
    ValueError: rho must be finite and >= 0, got -1.0
    """

    default: Any
    about: str
    least: float | None = None
    above: float | None = None
    below: float | None = None
    allowed: tuple[str, ...] = ()
    unit: str = ""
    shared: bool = False
    mask: str = ""
    each: Callable[[Tensor, Any], bool] | None = None
    name: str = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @property
    def kind(self) -> type:
        """The type of its values."""
        return type(self.default)

    def bounds(self) -> str:
        """What is allowed, in words; empty if everything is."""
        if self.allowed:
            return f"{', '.join(map(repr, self.allowed[:-1]))} or {self.allowed[-1]!r}"
        if self.above is not None and self.below is not None:
            return f"between {self.above} and {self.below}"
        signs = {">=": self.least, ">": self.above, "<": self.below}
        return " and ".join(f"{sign} {bound}" for sign, bound in signs.items() if bound is not None)

    def help(self) -> str:
        """Meaning, unit and bounds, in a line."""
        return ", ".join(filter(None, [self.about, self.unit and f"in units of {self.unit}", self.bounds()]))

    def check(self, value: Any) -> None:
        """A `ValueError` that names option and value, if it is not allowed. A tensor on an accelerator is trusted."""
        if self.kind is bool:
            if not isinstance(value, bool | np.bool_):
                raise ValueError(f"{self.name} must be True or False, got {value!r}")
            return
        if self.kind is float and (isinstance(value, bool | str) or not hasattr(value, "__float__")):
            raise ValueError(f"{self.name} must be a number, got {value!r}")
        if self.least == 0 and self.kind is float:
            non_negative(self.name, value)
            return
        if isinstance(value, Tensor) and (value.device.type != "cpu" or torch.compiler.is_compiling()):
            return
        whole = self.kind is int
        if self.allowed:
            right = value in self.allowed
        elif isinstance(value, Tensor):
            right = bool(self._inside(value).all())
        else:
            right = (not whole or isinstance(value, Integral) and not isinstance(value, bool)) and bool(self._inside(value))
        if not right:
            raise ValueError(f"{self.name} must be {'a whole number ' * whole}{self.bounds()}, got {value!r}")

    def _inside(self, value: Any) -> Any:
        inside = value == value  # no NaN
        if self.least is not None:
            inside = inside & (value >= self.least)
        if self.above is not None:
            inside = inside & (value > self.above)
        return inside if self.below is None else inside & (value < self.below)


class Method:
    """A rule as a class that names it, its options (its attributes of type `Option`) and how it looks in the book.

    Its docstring is that of the optimizer which `flatlab.optim` makes of it, under the same name. The optimizer hands
    the rule flat weights, a gradient function and the options.
    """

    rule: ClassVar[Callable[..., Any]]
    """The pure function on flat vectors."""
    source: ClassVar[str]
    """Paper and place."""
    about: ClassVar[str]
    """What it does, in a line of a glossary."""
    colour: ClassVar[str]
    dash: ClassVar[str]
    """Of its lines in every figure; the dash is one of Plotly's names."""
    place: ClassVar[int] = 99
    """Where it stands in tables and legends; methods of one place stand in the order of their names."""
    options: ClassVar[dict[str, Option]] = {}
    """Its options by name, in the order of its constructor."""

    local_ascent: ClassVar[bool] = True
    """Whether workers that each take a first gradient of their own still get equal directions."""
    draws: ClassVar[bool] = False
    """Whether the rule takes a `generator`. It gets a new one in every step."""
    capturable: ClassVar[bool] = True
    """Whether a step can be captured in a CUDA graph."""
    cuts: ClassVar[bool] = False
    """Whether it looks at parts of the batch, so that a step needs the data beside the closure."""
    memory: ClassVar[str] = ""
    """The argument of the rule, `(d,)` or None at first, that it returns anew beside the direction."""

    def __init_subclass__(cls) -> None:
        cls.options = cls.options | {name: o for name, o in vars(cls).items() if isinstance(o, Option)}

    @classmethod
    def check(cls, **options: Any) -> None:
        """A `ValueError` if the options are not allowed, each by itself and together."""
        for name, option in cls.options.items():
            option.check(options[name])

    @classmethod
    def check_batch(cls, n: int, **options: Any) -> None:
        """A `ValueError` if a batch of `n` samples does not suit the options."""

    @classmethod
    def direction(cls, w: Tensor, grad: Any, **options: Any) -> Any:
        """The rule with the options of the class: `(d,)`, and with it the new memory where there is one.

        `grad` is a gradient function, `(d,) -> (d,)`. It has `grad.parts(m)`, the micro-batches of `m` samples, and
        `grad.samples(w)`, the gradients of single samples, `(d,) -> (n, d)`.
        """
        return cls.rule(w, grad, **options)
