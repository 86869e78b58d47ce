"""The methods as settings of a run: their options as its fields, and the optimizer that a choice of them makes."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from flatlab import methods, optim
from flatlab.methods import Option
from flatlab.runs.experiment import option

__all__ = ["BASES", "METHODS", "OWNERS", "UNCAPTURED", "check", "options_of", "with_options", "wrap"]

BASES = {"SGD": SGD, "Adam": Adam, "AdamW": AdamW}
METHODS = ("plain", *methods.METHODS)
UNCAPTURED = tuple(name for name, method in methods.METHODS.items() if not method.capturable)
"""The methods whose step cannot be replayed as a CUDA graph."""


def options_of(method: str) -> dict[str, Option]:
    """A method's own settings by name.

    >>> [(name, option.default) for name, option in options_of("LSAM").items()]
    [('rho', 0.05), ('k', 2), ('antithetic', False)]
    >>> options_of("plain")
    {}
    """
    return {} if method == "plain" else methods.METHODS[method].options


OWNERS = {name: [m for m in METHODS if name in options_of(m)] for m in METHODS for name in options_of(m)}
"""The methods that have an option, by its name."""


def with_options(before: str, group: str) -> Any:
    """A class decorator: the options of all methods become settings of the `group`, None by default, before that field."""

    def add(cls: type) -> type:
        own = cls.__annotations__
        names = list(own)
        later = {name: own.pop(name) for name in names[names.index(before) :]}
        for name, owners in OWNERS.items():
            own[name] = options_of(owners[0])[name].kind | None
            setattr(cls, name, option(None, _about(name, owners), **_bounds(name, owners), group=group))
        own |= later
        return cls

    return add


def _about(name: str, owners: list[str]) -> str:
    """What an option means and is unless given, for each of its owners where they differ."""
    told: dict[str, list[str]] = {}
    for method in owners:
        known = options_of(method)[name]
        unit = known.unit and f", in units of {known.unit}"
        told.setdefault(f"{known.about}{unit}, {known.default} unless given", []).append(method)
    return "; ".join(f"{', '.join(those)}: {about}" for about, those in told.items())


def _bounds(name: str, owners: list[str]) -> dict[str, Any]:
    """The bounds that all its owners have; a method's own check sees to the others."""
    shared = [{k: getattr(options_of(m)[name], k) for k in ("least", "above", "below", "allowed")} for m in owners]
    return {k: v for k, v in shared[0].items() if all(other[k] == v for other in shared)}


def check(method: str, batch: int, options: dict[str, Any]) -> None:
    """A `ValueError` if the method's options are not allowed, or not with batches of this size."""
    if method != "plain":
        methods.METHODS[method].check(**options)
        methods.METHODS[method].check_batch(batch, **options)


def wrap(base: Optimizer, method: str, options: dict[str, Any], seed: int, every: int | None = None) -> Optimizer:
    """`base` with the method around it in every step, or in `every` so many; `seed` is for a method that draws.

    The trainer itself looks at the losses.
    """
    if method == "plain":
        return base
    draws = {"seed": seed} if methods.METHODS[method].draws else {}
    return getattr(optim, method)(base, **options, **draws, check_finite=False, every=every)


def base_optimizer(
    model: nn.Module, name: str, lr: float | Tensor, momentum: float | None, nesterov: bool | None, weight_decay: float
) -> Optimizer:
    """The base optimizer `name` over all parameters of the model, norm layers and biases among them.

    A rate that is a tensor on a GPU can be changed between the replays of a graph; the step is then a fused one.
    """
    own = {k: v for k, v in {"momentum": momentum, "nesterov": nesterov}.items() if v is not None}
    if isinstance(lr, Tensor):
        own |= {"fused": True} | ({} if name == "SGD" else {"capturable": True})
    return BASES[name](model.parameters(), lr=lr, weight_decay=weight_decay, **own)
