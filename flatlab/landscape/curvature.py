"""Second derivatives held against differences of first ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

__all__ = ["Refused", "Unnarrowed", "differences", "follows", "math_attention", "moved", "refusal", "shifted"]

STEP = 1e-8
"""Of a difference in float64, relative to the point: roundings and third derivatives are both far below 1e-3 of it."""
FINE = (1e-3, 1e-4, 1e-6, STEP, 1e-9, 1e-10)
"""Steps one of which must do: the more ReLUs there are, the shorter the way to the next one's kink; and a loss that goes
through float32 on its way wants long ones.
"""
COARSE = (3e-2, 1e-2, 3e-3, 1e-3)
"""The same in lower precisions."""
DIRECTIONS = 4
Map = Callable[[list[Tensor]], list[Tensor]]
NARROW = {torch.float32, torch.float16, torch.bfloat16}


class Refused(ValueError):
    """A derivative that is not what it should be."""


def refusal(what: str) -> Refused:
    """The error of a derivative that failed."""
    return Refused(
        f"{what} of this model is not the derivative of its {'gradient' if 'Hessian' in what else 'loss'}, by finite "
        "differences: activation checkpointing, a backward pass that cannot be differentiated (once_differentiable, a "
        "fused or compiled kernel), a detach or a straight-through estimator is in the way, or the loss bends so much at "
        "these weights that no step is small enough"
    )


def math_attention() -> AbstractContextManager:
    """Attention as matrix products, the one form of it that can be differentiated twice."""
    return sdpa_kernel(SDPBackend.MATH)


class Unnarrowed(TorchFunctionMode):
    """Meanwhile float64 stays float64: `x.float()` and its like do nothing.

    A model that goes through float32 on its way, in its loss say, has differences of rounding errors there, seven digits
    from the left. What its casts are derived by is the identity, so without them the derivatives are the same.

    >>> with Unnarrowed():
    ...     torch.ones(1).double().float().dtype, torch.ones(1).double().to(torch.int8).dtype
    (torch.float64, torch.int8)
    """

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func in CASTS and args[0].dtype == torch.float64:
            given = (*args[1:], *kwargs.values())
            others = [g.dtype if isinstance(g, Tensor) else g for g in given]
            if func not in (Tensor.to, Tensor.type, Tensor.type_as) or any(g in NARROW for g in others if is_type(g)):
                return args[0]
        return func(*args, **kwargs)


CASTS = {Tensor.float, Tensor.half, Tensor.bfloat16, Tensor.to, Tensor.type, Tensor.type_as}


def is_type(given: Any) -> bool:
    return isinstance(given, torch.dtype)


def differences(
    slope: Callable[[list[Tensor]], list[Tensor]], at: list[Tensor], v: list[Tensor], step: float
) -> list[Tensor]:
    """`(slope(at + h v) - slope(at - h v)) / 2 h`, the derivative of `slope` along `v`, with `h = step`.

    >>> differences(lambda at: [at[0] ** 2], [torch.ones(1).double()], [torch.ones(1).double()], 1e-6)[0].float()
    tensor([2.])
    """
    ahead, behind = (slope([a + s * step * b for a, b in zip(at, v, strict=True)]) for s in (1, -1))
    return [(a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True)]


def follows(product: Map, slope: Map, at: list[Tensor], free: list[Tensor] | None = None) -> bool:
    """Whether `product(v)` is the derivative of `slope` at `at` along a random `v`, tensor by tensor.

    One of a few directions must do: what is wrong is wrong along all, and along one a kink can be in the way. True also
    where the differences are not finite, so that nothing can be said. `free` are the numbers that `v` moves.

    >>> cube, at = lambda at: [3 * at[0] ** 2], [torch.tensor([1.0, 2.0])]
    >>> follows(lambda v: [6 * at[0] * v[0]], cube, at), follows(lambda v: [5 * at[0] * v[0]], cube, at)
    (True, False)
    """
    return any(_follows_along(seed, product, slope, at, free) for seed in range(1, 1 + DIRECTIONS))


def _follows_along(seed: int, product: Map, slope: Map, at: list[Tensor], free: list[Tensor] | None) -> bool:
    g = torch.Generator().manual_seed(seed)
    v = [torch.randn(a.shape, generator=g, dtype=torch.float64, device="cpu").to(a) * (size(a) or 1) for a in at]
    if free is not None:
        v = [a * b for a, b in zip(v, free, strict=True)]
    fine = all(a.dtype == torch.float64 for a in at)
    found = product(v)
    share, floor = (0.02, 1e-3) if fine else (0.1, 0.03)
    for step in FINE if fine else COARSE:
        truth = differences(slope, at, v, step)
        whole = sum(float(t.double().square().sum()) for t in truth) ** 0.5
        if not whole < float("inf"):
            return True
        off = [float((a.double() - b.double()).norm()) for a, b in zip(found, truth, strict=True)]
        if all(e <= share * float(t.double().norm()) + floor * whole for e, t in zip(off, truth, strict=True)):
            return True
    return False


def moved(slopes: list[Tensor]) -> list[Tensor]:
    """The numbers with a slope, where their tensor has any: a padding row of an embedding is held still on purpose, and a
    whole weight without a slope is a mistake, if the loss depends on it.
    """
    return [g != 0 if bool((g != 0).any()) else torch.ones_like(g, dtype=torch.bool) for g in slopes]


def shifted(at: list[Tensor]) -> list[Tensor]:
    """A point nearby: at the weights where a network begins, errors can cancel."""
    g = torch.Generator().manual_seed(2)
    noise = [torch.randn(a.shape, generator=g, dtype=torch.float64, device="cpu").to(a) for a in at]
    return [a.detach() + (0.1 * size(a) + 0.01) * b for a, b in zip(at, noise, strict=True)]


def size(t: Tensor) -> float:
    return float(t.detach().double().square().mean() ** 0.5) if t.numel() else 0.0
