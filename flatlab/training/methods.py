"""A method of `flatlab.optim` by its name, with the settings that belong to it."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from flatlab import optim

__all__ = ["BASES", "METHODS", "options_of", "wrap"]

BASES = {"SGD": SGD, "Adam": Adam, "AdamW": AdamW}
METHODS = ("plain", *optim.__all__)
OWN = ("base_optimizer", "check_finite", "no_sync", "seed")


@functools.cache
def options_of(method: str) -> dict[str, Any]:
    """The names and defaults of a method's own settings.

    >>> options_of("LSAM")
    {'rho': 0.05, 'k': 2, 'antithetic': False}
    >>> options_of("plain")
    {}
    """
    if method == "plain":
        return {}
    named = inspect.signature(getattr(optim, method).__init__).parameters.values()
    return {p.name: p.default for p in named if p.name not in ("self", *OWN)}


def wrap(base: Optimizer, method: str, options: dict[str, Any], seed: int) -> Optimizer:
    """`base` with the method around it; `seed` is for a method that draws. The trainer itself looks at the losses."""
    if method == "plain":
        return base
    cls = getattr(optim, method)
    draws = {"seed": seed} if "seed" in inspect.signature(cls.__init__).parameters else {}
    return cls(base, **options, **draws, check_finite=False)


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
