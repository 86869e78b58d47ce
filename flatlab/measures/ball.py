"""The loss over a ball around a point: its average, and how far it swings about that average."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flatlab.landscape import Landscape
from flatlab.measures.estimate import Estimate, check_whole, generator_for, sample_mean
from flatlab.measures.point import point
from flatlab.measures.precision import without_autocast
from flatlab.rules import non_negative, unit

__all__ = ["in_ball", "local_average", "local_oscillation"]

POINTS = 2**22
"""Numbers of perturbed weights held at a time."""


def in_ball(count: int, like: Tensor, rho: float, generator: torch.Generator) -> Tensor:
    """`count` points uniform in the ball of radius `rho` around 0, shape `(count, d)`, for `like` of shape `(d,)`.

    A Gaussian's direction times `rho U^(1/d)`: the volume within radius r grows as `r^d`.

    >>> in_ball(1000, torch.zeros(2), 3.0, torch.Generator().manual_seed(0)).norm(dim=1).max() <= 3
    tensor(True)
    """
    options = {"dtype": like.dtype, "device": like.device, "generator": generator}
    direction = unit(torch.randn(count, len(like), **options))
    return direction * rho * torch.rand(count, 1, **options) ** (1 / len(like))


@without_autocast
def local_average(
    landscape: Landscape,
    w: Tensor,
    rho: float,
    samples: int | None = None,
    rtol: float | None = None,
    seed: int | torch.Generator = 0,
    antithetic: bool = False,
) -> Estimate:
    """`E[L(w + u)]`, `u` uniform in the ball of radius `rho`: the local mean loss that LSAM descends.

    On a quadratic it is exactly `L(w) + rho^2 / (2 (d + 2)) Tr H`. `w` has shape `(d,)`; the value is in units of the
    loss, `rho` in those of `w`. With `antithetic=True` a sample is the mean over `u` and `-u` (two losses): the
    gradient's part, most of the variance away from a minimum, cancels.

    `samples`, `rtol` and errors as in `sample_mean`; `ValueError` if `rho` is negative. Source: "Local-Integrability
    Flatness" (LSAM), equations (7) and (8).

    >>> class Line(Landscape):
    ...     d = 1
    ...     def losses(self, w, batch=None):
    ...         return 3 * w
    >>> local_average(Line(), torch.ones(1), rho=0.5, antithetic=True)
    Estimate(value=3.0, stderr=0.0..., samples=100)
    """
    w = point(landscape, w)
    non_negative("rho", rho)
    generator = generator_for(seed, w.device)

    def draw(count: int) -> Tensor:
        values = []
        for size in _blocks(count, landscape.d):
            u = in_ball(size, w, rho, generator)
            value = landscape.losses_at(w + u)
            values.append((value + landscape.losses_at(w - u)) / 2 if antithetic else value)
        return torch.cat(values)

    return sample_mean(draw, samples, rtol)


@without_autocast
def local_oscillation(
    landscape: Landscape, w: Tensor, rho: float, samples: int = 1000, seed: int | torch.Generator = 0
) -> Estimate:
    """`E |L(w + u) - E L(w + u)|`, `u` uniform in the ball of radius `rho`: the mean swing of the loss there.

    `w` has shape `(d,)`; the value is in units of the loss. The inner mean is that of the same `samples` (at least
    2), which makes the deviations too small by about `sqrt(1 - 1 / samples)`; they are divided by just that, and the
    standard error counts what the inner mean's own error adds.

    Raises `ValueError` if `rho` is negative or `samples` below 2, `FloatingPointError` if a loss is not finite.
    Source: "Local-Integrability Flatness" (LSAM), term (III) of equation (10), and equation (23).

    >>> class Line(Landscape):
    ...     d = 1
    ...     def losses(self, w, batch=None):
    ...         return 3 * w
    >>> swing = local_oscillation(Line(), torch.ones(1), rho=0.5)       # 3 * 0.5 / 2
    >>> abs(swing.value - 0.75) < 3 * swing.stderr
    True
    """
    w = point(landscape, w)
    non_negative("rho", rho)
    check_whole("samples", samples, 2)
    generator = generator_for(seed, w.device)
    values = torch.cat(
        [landscape.losses_at(w + in_ball(size, w, rho, generator)) for size in _blocks(samples, landscape.d)]
    )
    if not torch.isfinite(values).all():
        raise FloatingPointError("the loss is not finite somewhere in the ball")
    deviation = values - values.mean()
    swing = deviation.abs() / math.sqrt(1 - 1 / samples)
    # E|L - m| moves with m at the rate P(L < m) - P(L > m): the influence of one sample on the result.
    influence = swing - torch.sign(deviation).mean() * deviation
    return Estimate(swing.mean().item(), influence.std().item() / math.sqrt(samples), samples)


def _blocks(count: int, d: int) -> list[int]:
    size = max(1, POINTS // d)
    return [min(size, count - i) for i in range(0, count, size)]
