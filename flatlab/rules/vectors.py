"""Vectors over the last dimension: length, direction, a step of given length, and the check of a number."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Gradient", "non_negative", "norm", "stepped", "unit"]

Gradient = Callable[[Tensor], Tensor]


def norm(v: Tensor) -> Tensor:
    """Euclidean norm over the last dimension, kept: `(..., d) -> (..., 1)`.

    >>> norm(torch.tensor([[3., 4.]]))
    tensor([[5.]])
    """
    return torch.linalg.vector_norm(v, dim=-1, keepdim=True)


def unit(v: Tensor) -> Tensor:
    """`v / ||v||` over the last dimension, and 0 where `v` is 0.

    >>> unit(torch.tensor([[3., 4.], [0., 0.]]))
    tensor([[0.6000, 0.8000], [0.0000, 0.0000]])
    """
    n = norm(v)
    return v / torch.where(n > 0, n, 1.0)


def stepped(w: Tensor, v: Tensor, rho: float | Tensor) -> Tensor:
    """`w + rho * unit(v)`, in one sweep over the vectors: `(..., d), (..., d) -> (..., d)`.

    >>> stepped(torch.tensor([1., 1.]), torch.tensor([3., 4.]), 0.5)
    tensor([1.3000, 1.4000])
    """
    # A norm below the smallest normal number has no digits left to divide by; that of a zero vector is among them.
    inverse = norm(v).clamp_min(torch.finfo(v.dtype).tiny).reciprocal()
    if isinstance(rho, Tensor):
        return torch.addcmul(w, v, rho * inverse)
    return torch.addcmul(w, v, inverse, value=rho)


def non_negative(name: str, value: float | Tensor) -> float | Tensor:
    """`value`, if it is finite and not negative; else a `ValueError` that names it.

    A tensor on an accelerator is trusted: looking at it would stall the device.
    """
    if isinstance(value, Tensor):
        if value.device.type != "cpu" or torch.compiler.is_compiling():
            return value
        low, high = value.aminmax()
        if not (low >= 0 and torch.isfinite(high)):
            bad = value[~(torch.isfinite(value) & (value >= 0))]
            raise ValueError(f"{name} must be finite and >= 0, got {bad[0].item()} in a tensor of {value.numel()}")
    elif not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and >= 0, got {value}")
    return value
