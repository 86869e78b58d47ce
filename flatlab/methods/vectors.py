"""Vectors over the last dimension: length, direction, a step of given length, and the check of a number.

Squares of small numbers vanish and squares of large ones overflow, in float32 below 1e-19 and above 1e19. Where a norm is
not surely free of that, it is taken of a multiple of the vector by a power of two, which costs no digit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Gradient", "levelled", "moving", "non_negative", "norm", "own", "stepped", "unit", "with_length_of"]

Gradient = Callable[[Tensor], Tensor]
"""From weights `(..., d)` to gradients `(..., d)`."""


def norm(v: Tensor) -> Tensor:
    """Euclidean norm over the last dimension, kept: `(..., d) -> (..., 1)`. It overflows only where it is too large itself.

    >>> norm(torch.tensor([[3., 4.]]))
    tensor([[5.]])
    >>> norm(torch.tensor([3e-30, 4e-30]))
    tensor([5.0000e-30])
    """
    n = _plain_norm(v)
    if _sound(n):
        return n
    factor = _factor(v)
    return _plain_norm(v * factor) / factor


def unit(v: Tensor, out: Tensor | None = None) -> Tensor:
    """`v / ||v||` over the last dimension, and 0 where `v` is 0; written to `out`, where it is given.

    >>> unit(torch.tensor([[3., 4.], [0., 0.]]))
    tensor([[0.6000, 0.8000], [0.0000, 0.0000]])
    """
    v, n = levelled(v)
    return torch.div(v, torch.where(n > 0, n, 1.0), out=out)


def stepped(w: Tensor, v: Tensor, rho: float | Tensor) -> Tensor:
    """`w + rho * unit(v)`, in one sweep over the vectors: `(..., d), (..., d) -> (..., d)`.

    Where `rho` is `(d,)`, what it leaves where it is does not count in the norm: see `moving`.

    >>> stepped(torch.tensor([1., 1.]), torch.tensor([3., 4.]), 0.5)
    tensor([1.3000, 1.4000])
    """
    v, n = levelled(moving(v, rho))
    # Only a zero vector has so small a norm here.
    inverse = n.clamp_min(torch.finfo(v.dtype).tiny).reciprocal()
    if isinstance(rho, Tensor):
        return torch.addcmul(w, v, rho * inverse)
    return torch.addcmul(w, v, inverse, value=rho)


def own(v: Tensor, *others: Any) -> Tensor | None:
    """`v`, which nobody else holds, as the place of a result in its shape and type (`out=`), where it may be written to.

    That saves a vector where memory is what a step costs. None while a graph is recorded or traced, in a transform of
    torch.func, and where the `others` of the result would make it wider or of another type.

    >>> v = torch.ones(2)
    >>> own(v) is None, own(v, torch.ones(3, 2)) is None
    (True, True)
    >>> with torch.no_grad():
    ...     own(v) is v, own(v, torch.ones(3, 2)) is None, own(v, torch.ones(2, dtype=torch.float64)) is None
    (True, True, True)
    """
    tensors = [t for t in others if isinstance(t, Tensor)]
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return None
    if any(torch._C._functorch.is_functorch_wrapped_tensor(t) for t in (v, *tensors)):
        return None
    fits = all(t.dtype == v.dtype and torch.broadcast_shapes(t.shape, v.shape) == v.shape for t in tensors)
    return v if fits else None


def moving(v: Tensor, rho: float | Tensor) -> Tensor:
    """`v`, but 0 in the coordinates whose own radius is 0: they stand still, and the others share the whole length.

    Only a `rho` with a number for every coordinate, `(d,)`, tells them apart.

    >>> moving(torch.tensor([3.0, 4.0]), torch.tensor([0.5, 0.0]))
    tensor([3., 0.])
    """
    return torch.where(rho > 0, v, 0.0) if isinstance(rho, Tensor) and rho.ndim and rho.shape[-1] > 1 else v


def with_length_of(g: Tensor, s: Tensor) -> Tensor:
    """The direction of `s` with the length of `g`, and 0 where either is 0: `(..., d), (..., d) -> (..., d)`.

    >>> with_length_of(torch.tensor([3., 4.]), torch.tensor([0., 2.]))
    tensor([0., 5.])
    """
    n = _plain_norm(g)
    if _sound(n):
        direction = unit(s)
        return torch.mul(n, direction, out=own(direction, n))
    factor = _factor(g)
    return _plain_norm(g * factor) * unit(s) / factor


def levelled(v: Tensor) -> tuple[Tensor, Tensor]:
    """A multiple of `v` by a power of two whose norm is free of overflow, and that norm; `v` itself where it is so already.

    >>> levelled(torch.tensor([1e-30, 0.0]))
    (tensor([0.6338, 0.0000]), tensor([0.6338]))
    """
    n = _plain_norm(v)
    if _sound(n):
        return v, n
    v = v * _factor(v)
    return v, _plain_norm(v)


def _plain_norm(v: Tensor) -> Tensor:
    return torch.linalg.vector_norm(v, dim=-1, keepdim=True)


def _sound(n: Tensor) -> bool:
    """Whether no square that mattered was lost in these norms; False where to look would stall, or cannot be done."""
    if n.device.type != "cpu" or torch.compiler.is_compiling() or torch._C._functorch.is_functorch_wrapped_tensor(n):
        return False
    if not n.numel():
        return True
    limits = torch.finfo(n.dtype)
    low, high = n.aminmax() if n.numel() != 1 else (n, n)
    return limits.tiny**0.3 < low.item() and high.item() <= limits.max


def _factor(v: Tensor) -> Tensor:
    """The power of two, `(..., 1)`, that brings the largest entry of `v` near 1, as far as it can be written."""
    largest = torch.linalg.vector_norm(v, math.inf, dim=-1, keepdim=True)
    limit = 1 - int(math.log2(torch.finfo(v.dtype).tiny))
    # Not frexp, which torch's compiler translates wrongly for float64; nor ldexp, whose power is a float32.
    return torch.exp2(-largest.log2().ceil().clamp(1 - limit, limit - 1))


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
