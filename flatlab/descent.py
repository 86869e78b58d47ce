"""A rule run on a landscape, for a whole batch of starting points at once."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from flatlab.rules import Gradient

__all__ = ["endpoint", "trajectory"]


def _checked(w0: Tensor, lr: float | Tensor, steps: int) -> None:
    rate = torch.as_tensor(lr, dtype=torch.float64)
    if not bool((torch.isfinite(rate) & (rate > 0)).all()):
        raise ValueError(f"lr must be finite and > 0, got {lr}")
    if steps < 0 or steps != int(steps):
        raise ValueError(f"steps must be a whole number >= 0, got {steps}")
    if not bool(torch.isfinite(w0).all()):
        raise ValueError(f"the start must be finite, got {w0[~torch.isfinite(w0)][0].item()} among {tuple(w0.shape)}")


def trajectory(
    rule: Callable, grad: Gradient, w0: Tensor, *, lr: float | Tensor, steps: int, **options: float | Tensor
) -> Tensor:
    """Every iterate of `w <- w - lr * rule(w, grad, **options)`: `(..., d) -> (steps + 1, ..., d)`, `w0` first.

    A run that diverges stays in the result as it is, `inf` and `nan` included: it is the caller's to draw it as diverged.
    Raises `ValueError` if `lr` is not positive and finite, `steps` no whole number, or the start not finite.

    >>> from flatlab.rules import gd
    >>> trajectory(gd, lambda w: w, torch.tensor([8.0]), lr=0.5, steps=3).ravel()
    tensor([8., 4., 2., 1.])
    """
    _checked(w0, lr, steps)
    path = [w0]
    for _ in range(steps):
        path.append(path[-1] - lr * rule(path[-1], grad, **options))
    return torch.stack(path)


def endpoint(
    rule: Callable,
    grad: Gradient,
    w0: Tensor,
    *,
    lr: float | Tensor,
    steps: int,
    fused: int = 1,
    **options: float | Tensor,
) -> Tensor:
    """The last iterate of `trajectory`, without keeping the others: `(..., d) -> (..., d)`.

    `fused > 1` compiles that many steps into one kernel with `torch.compile`, for millions of starts of a toy. It needs a
    C++ compiler; errors as in `trajectory`.

    >>> from flatlab.rules import gd
    >>> endpoint(gd, lambda w: w, torch.tensor([8.0]), lr=0.5, steps=3)
    tensor([1.])
    """
    _checked(w0, lr, steps)
    w, whole = w0, steps // fused if fused > 1 else 0
    if whole:
        advance = _fused(rule, grad, fused)
        options = {k: torch.as_tensor(v, dtype=w.dtype) for k, v in options.items()}
        lr = torch.as_tensor(lr, dtype=w.dtype)
        for _ in range(whole):
            w = advance(w, lr, **options)
    for _ in range(steps - whole * fused):
        w = w - lr * rule(w, grad, **options)
    return w


@functools.cache
def _fused(rule: Callable, grad: Gradient, count: int) -> Callable:
    def advance(w, lr, **options):
        for _ in range(count):
            w = w - lr * rule(w, grad, **options)
        return w

    return torch.compile(advance, dynamic=False)
