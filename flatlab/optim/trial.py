"""What a method's rule asks for and when, found by running it on two numbers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flatlab.methods import Method

__all__ = ["reads_late", "splits"]


def splits(method: type[Method], shared: dict[str, Any]) -> bool:
    """Whether a step of the method is two gradients, the first at the weights.

    >>> from flatlab.methods import METHODS
    >>> [name for name, method in METHODS.items() if not splits(method, {"k": 2, "antithetic": False})]
    ['LSAM', 'CSAM', 'SAMGCM', 'MSAM']
    """
    if method.cuts:
        return False
    w, points = torch.ones(2, device="cpu"), []

    def grad(v: Tensor) -> Tensor:
        points.append(v)
        return v.clone()

    _direction(method, shared, w, grad)
    return len(points) == 2 and points[0] is w


def reads_late(method: type[Method], shared: dict[str, Any]) -> bool:
    """Whether the rule takes its first gradient at the weights, and looks at them only afterwards.

    >>> from flatlab.methods import METHODS
    >>> [name for name, method in METHODS.items() if not reads_late(method, {"k": 2, "antithetic": False})]
    ['LSAM', 'SAMGCM', 'MSAM']
    """
    if method.cuts:
        return False
    slopes, weights = torch.tensor([[1.0, 3.0], [1.0, -2.0]], device="cpu")

    def found(w: Tensor) -> Tensor:
        def grad(v: Tensor) -> Tensor:
            if v is w:
                w.copy_(weights)
            return slopes * v

        direction = _direction(method, shared, w, grad)
        return direction[0] if method.memory else direction

    try:
        return torch.equal(found(torch.full((2,), math.nan, device="cpu")), found(weights.clone()))
    except ValueError:  # a rule may refuse weights that are no numbers
        return False


def _direction(method: type[Method], shared: dict[str, Any], w: Tensor, grad: Any) -> Any:
    options = {o.mask or name: None if o.mask else o.default for name, o in method.options.items() if not o.shared}
    options |= {name: value for name, value in shared.items() if name in method.options}
    if method.draws:
        options["generator"] = torch.Generator().manual_seed(0)
    if method.memory:
        options[method.memory] = None
    return method.direction(w, grad, **options)
