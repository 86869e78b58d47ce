"""A rule run on a landscape, for a whole batch of starting points at once."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from flatlab.rules import Gradient

__all__ = ["can_fuse", "milestones", "trajectory"]


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

    A run that diverges stays in the result as it is, `inf` and `nan` included: it is the caller's to draw it as
    diverged. Raises `ValueError` if `lr` is not positive and finite, `steps` no whole number, or the start not
    finite.

    >>> from flatlab.rules import gd
    >>> trajectory(gd, lambda w: w, torch.tensor([8.0]), lr=0.5, steps=3).ravel()
    tensor([8., 4., 2., 1.])
    """
    _checked(w0, lr, steps)
    path = [w0]
    for _ in range(steps):
        path.append(path[-1] - lr * rule(path[-1], grad, **options))
    return torch.stack(path)


def milestones(
    rule: Callable,
    grad: Gradient,
    w0: Tensor,
    *,
    lr: float | Tensor,
    at: Sequence[int],
    fused: int = 1,
    **options: float | Tensor,
) -> Iterator[Tensor]:
    """The iterates of `trajectory` at the step counts `at` (increasing), without keeping the others: each `(..., d)`.

    `fused > 1` compiles that many steps into one kernel with `torch.compile`, for millions of starts of a toy. It
    needs a C++ compiler; the result is the same. Errors as in `trajectory`, and `ValueError` if `at` does not
    increase.

    >>> from flatlab.rules import gd
    >>> list(milestones(gd, lambda w: w, torch.tensor([8.0]), lr=0.5, at=(1, 3)))
    [tensor([4.]), tensor([1.])]
    """
    if list(at) != sorted(set(at)) or not at:
        raise ValueError(f"at must be increasing step counts, got {tuple(at)}")
    _checked(w0, lr, at[0])
    w, done = w0, 0
    if fused > 1:
        advance = _fused(rule, grad, fused)
        options = {k: torch.as_tensor(v, dtype=w.dtype) for k, v in options.items()}
        lr = torch.as_tensor(lr, dtype=w.dtype)
    for stop in at:
        while done < stop:
            if 1 < fused <= stop - done:
                w, done = advance(w, lr, **options), done + fused
            else:
                w, done = w - lr * rule(w, grad, **options), done + 1
        yield w


@functools.cache
def can_fuse() -> bool:
    """Whether `torch.compile` can build a kernel on this machine; if not, a warning says why."""
    try:
        torch.compile(lambda v: v + 1, dynamic=False)(torch.zeros(8))
    except Exception as error:  # what Inductor raises depends on what it misses
        warnings.warn(f"torch.compile does not work here ({type(error).__name__}): slower, same result", stacklevel=2)
        return False
    return True


@functools.cache
def _fused(rule: Callable, grad: Gradient, count: int) -> Callable:
    def advance(w, lr, **options):
        for _ in range(count):
            w = w - lr * rule(w, grad, **options)
        return w

    return torch.compile(advance, dynamic=False)
