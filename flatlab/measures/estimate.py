"""A number that carries its standard error, and the sampling that stops on that error alone."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor

__all__ = ["Estimate", "check_sampling", "check_whole", "exactly", "finite", "generator_for", "sample_mean"]

FIRST_BLOCK = 16  # fewer samples than this say too little about their own spread to stop on it


@dataclass(frozen=True)
class Estimate:
    """A sample mean: `value`, its standard error `stderr` in the same unit, and the number of `samples` behind it.

    `stderr` is 0 where the value is exact, and `nan` where a single sample tells nothing about the spread.

    >>> e = Estimate(2.0, 0.1, 25)
    >>> float(e), e.stderr
    (2.0, 0.1)
    """

    value: float
    stderr: float
    samples: int

    def __float__(self) -> float:
        return self.value


def generator_for(seed: int | torch.Generator, device: torch.device) -> torch.Generator:
    """`seed` itself if it is a generator, else a fresh one on `device` with that seed.

    >>> generator_for(3, torch.device("cpu")).initial_seed()
    3
    """
    if isinstance(seed, torch.Generator):
        return seed
    return torch.Generator(device=device).manual_seed(seed)


def check_whole(name: str, value: int, least: int = 1) -> None:
    """A `ValueError` with that name if `value` is no whole number from `least` on.

    >>> check_whole("chunk", 2.5)
    Traceback (most recent call last):
    ValueError: chunk must be a whole number, got 2.5
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def check_sampling(samples: int | None, rtol: float | None) -> None:
    """A `ValueError` if `samples` is no whole number from 1 on, or `rtol` not positive."""
    if samples is not None:
        check_whole("samples", samples)
    if rtol is not None and not 0 < rtol < math.inf:
        raise ValueError(f"rtol must be positive and finite, got {rtol}")


def finite(value: float, what: str = "the Hessian") -> float:
    """`value`, or a `FloatingPointError` that says what is not finite.

    >>> finite(8.0)
    8.0
    """
    if not math.isfinite(value):
        raise FloatingPointError(f"{what} is not finite at this point")
    return value


def exactly(value: float, samples: int) -> Estimate:
    """What was computed and not sampled. Raises `FloatingPointError` if it is not finite.

    >>> exactly(8.0, 2)
    Estimate(value=8.0, stderr=0.0, samples=2)
    """
    return Estimate(finite(value), 0.0, samples)


def sample_mean(draw: Callable[[int], Tensor], samples: int | None, rtol: float | None, offset: float = 0.0) -> Estimate:
    """`offset` plus the mean of independent draws; `draw(k)` returns `k` of them, shape `(k,)`.

    Without `rtol`, exactly `samples` draws (100 if None). With it, draws until the standard error is at most
    `rtol * |value|`, and never more than `samples` (10,000 if None); a cap that is reached first is a warning, and
    the returned error says how far the sampling got. There are at least 16 draws before the first decision.

    Raises `ValueError` if `samples` or `rtol` is not positive, `FloatingPointError` if a draw is not finite.

    >>> from itertools import count
    >>> numbers = count()
    >>> sample_mean(lambda k: torch.tensor([float(next(numbers) % 2) for _ in range(k)]), 4, None)
    Estimate(value=0.5, stderr=0.2886..., samples=4)
    """
    check_sampling(samples, rtol)
    cap = samples or (100 if rtol is None else 10_000)
    n, mean, squares = 0, 0.0, 0.0
    block = cap if rtol is None else min(cap, FIRST_BLOCK)
    while True:
        new = draw(block).detach().double()
        if not torch.isfinite(new).all():
            raise FloatingPointError("a sample is not finite: the loss or its curvature overflows at this point")
        # Chan's update: the squares of small deviations survive a large mean.
        m, k = new.mean().item(), len(new)
        squares += (new - m).square().sum().item() + (m - mean) ** 2 * n * k / (n + k)
        mean, n = mean + (m - mean) * k / (n + k), n + k
        value = offset + mean
        stderr = math.sqrt(squares / (n - 1) / n) if n > 1 else math.nan
        if n >= cap or (rtol is not None and stderr <= rtol * abs(value)):
            break
        needed = math.inf if value == 0 else n * (stderr / (rtol * abs(value))) ** 2
        block = int(min(max(math.ceil(needed) - n, 1), n, cap - n))  # at most doubled: the spread is itself a guess
    if rtol is not None and not stderr <= rtol * abs(value):
        warnings.warn(f"rtol {rtol} not reached in {n} samples: {value} +- {stderr}", RuntimeWarning, stacklevel=4)
    return Estimate(value, stderr, n)
