"""Losses of one weight whose average and maximum over an interval are closed forms (the LSAM paper's notions, drawn)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from flatlab.landscape import Landscape
from flatlab.rules import non_negative

__all__ = ["CURVES", "Curve", "Rough", "Step", "Table", "Valley", "Wells"]

EDGE = 2.0
"""Curves are drawn on `[-EDGE, EDGE]`, and are defined everywhere."""
POINTS = 513
"""Points of the grid on which minimizers are looked for: `k / 128 - 2`."""
MIDPOINTS = 200
"""Cells of the midpoint rule for the oscillation."""


class Curve(Landscape, ABC):
    r"""A loss `L` of one weight, shape `(..., 1)`, with a primitive `F` and the points where it may peak.

    Its average over the ball of radius $\rho$, here the interval $[w - \rho, w + \rho]$, is then exact:
    $(F(w + \rho) - F(w - \rho)) / (2\rho)$. So is its maximum, which lies at an end of the interval or at one of `peaks`.

    >>> CURVES["kink"].average(torch.tensor([0.0]), 0.5), CURVES["kink"].maximum(torch.tensor([0.0]), 0.5)
    (tensor(0.2500), tensor(0.5000))
    """

    d = 1
    n = 1
    peaks: Sequence[float] = ()

    @abstractmethod
    def value(self, x: Tensor) -> Tensor:
        """`L(x)`, number by number."""

    @abstractmethod
    def primitive(self, x: Tensor) -> Tensor:
        """A function whose derivative is `L` wherever `L` is continuous, number by number."""

    def losses(self, w, batch=None):
        """The one term, `L(w)`: `(..., 1) -> (..., 1)`."""
        return self.value(self.check(w))

    def average(self, w: Tensor, rho: float) -> Tensor:
        """Mean of `L` over `[w - rho, w + rho]`: `(..., 1) -> (...)`. `ValueError` if `rho` is negative."""
        x = self.check(w)[..., 0]
        if non_negative("rho", rho) == 0:
            return self.value(x)
        return (self.primitive(x + rho) - self.primitive(x - rho)) / (2 * rho)

    def maximum(self, w: Tensor, rho: float) -> Tensor:
        """Maximum of `L` over `[w - rho, w + rho]`: `(..., 1) -> (...)`. `ValueError` if `rho` is negative."""
        x = self.check(w)[..., 0]
        non_negative("rho", rho)
        ends = torch.maximum(torch.maximum(self.value(x - rho), self.value(x + rho)), self.value(x))
        if not len(self.peaks):
            return ends
        peaks = torch.as_tensor(self.peaks, dtype=x.dtype)
        inside = (peaks - x[..., None]).abs() <= rho
        return torch.maximum(ends, torch.where(inside, self.value(peaks), -math.inf).amax(-1))

    def oscillation(self, w: Tensor, rho: float, midpoints: int = MIDPOINTS) -> Tensor:
        """Mean of `|L(w + u) - average|` over `|u| <= rho`, by the midpoint rule: `(..., 1) -> (...)`.

        Term (III) of the LSAM paper's equation (10). `ValueError` if `rho` is negative.

        >>> CURVES["kink"].oscillation(torch.tensor([0.0]), 0.5)         # half of the average there
        tensor(0.1250)
        """
        x, average = self.check(w)[..., 0], self.average(w, rho)
        u = rho * ((torch.arange(midpoints, dtype=x.dtype) + 0.5) * 2 / midpoints - 1)
        return (self.value(x[..., None] + u) - average[..., None]).abs().mean(-1)

    def minimizers(self, rho: float) -> dict[str, float]:
        """Where `loss`, `average` and `maximum` are least on a grid of spacing 1/128; of several places, the leftmost.

        >>> CURVES["wells"].minimizers(0.1)                             # the maximum has left the narrow well already
        {'loss': -0.898..., 'average': -0.898..., 'maximum': 0.601...}
        """
        w = (torch.arange(POINTS, dtype=torch.float64) / 128 - EDGE)[:, None]
        rows = {"loss": self.value(w[:, 0]), "average": self.average(w, rho), "maximum": self.maximum(w, rho)}
        return {name: w[(row <= row.min() + 1e-12).nonzero()[0, 0], 0].item() for name, row in rows.items()}


class Wells(Curve):
    """`top - sum_j depth_j sech^2((x - centre_j) / width_j)`, with a triangular needle of half-width `thin` on top.

    Smooth but for the needle. `needle` is `(centre, height, thin)` or None.
    """

    def __init__(self, top: float, wells: Sequence[tuple[float, float, float]], needle: tuple | None = None):
        self.top, self.wells, self.needle = top, tuple(wells), needle

    def value(self, x):
        """The formula above."""
        out = self.top - sum(depth * (1 - torch.tanh((x - c) / s) ** 2) for depth, c, s in self.wells)
        if self.needle:
            c, height, thin = self.needle
            out = out + height * (1 - (x - c).abs() / thin).clamp_min(0)
        return out

    def primitive(self, x):
        """`top x - sum_j depth_j width_j tanh(...)`, and two parabolas for the needle."""
        out = self.top * x - sum(depth * s * torch.tanh((x - c) / s) for depth, c, s in self.wells)
        if self.needle:
            c, height, thin = self.needle
            t = ((x - c) / thin).clamp(-1, 1)
            out = out + height * thin * (t - t * t.abs() / 2)
        return out

    @cached_property
    def peaks(self) -> tuple[float, ...]:
        """The ridge between the outermost wells, by bisection of the slope, and the needle's tip."""
        low, high = min(c for _, c, _ in self.wells), max(c for _, c, _ in self.wells)
        low, high = low + 0.01, high - 0.01
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self._slope(middle) > 0 else (low, middle)
        return (low, self.needle[0]) if self.needle else (low,)

    def _slope(self, x: float) -> float:
        parts = ((depth / s, math.tanh((x - c) / s)) for depth, c, s in self.wells)
        return sum(2 * scale * t * (1 - t * t) for scale, t in parts)


class Valley(Curve):
    """`|x|`: the smallest loss on which the paper's equation (21) fails, at 0."""

    def value(self, x):
        """`|x|`."""
        return x.abs()

    def primitive(self, x):
        """`x |x| / 2`."""
        return x * x.abs() / 2


class Step(Curve):
    """`0.2 - 0.35 x` up to 0, and 0.5 beyond: the foot of a cliff, at 0, is the only point that is no Lebesgue point."""

    def value(self, x):
        """The formula above; the jump itself belongs to its lower side."""
        return torch.where(x <= 0, 0.2 - 0.35 * x, 0.5)

    def primitive(self, x):
        """`0.2 x - 0.175 x^2` up to 0, and `0.5 x` beyond."""
        return torch.where(x <= 0, 0.2 * x - 0.175 * x * x, 0.5 * x)


class Rough(Curve):
    r"""A Takagi-Landsberg curve upside down: `1 - height sum_k 2^(-alpha k) s(2^k t)`, `t = (x + 2) / 4` in [0, 1].

    `s` is the distance to the nearest whole number, and the loss is 1 outside. Without an end to the sum it would be
    Hoelder continuous with exponent `alpha` and no better, like Weierstrass's curve; with `terms` of them it is
    piecewise linear, so that all its averages and maxima stay exact.
    """

    def __init__(self, alpha: float = 0.5, terms: int = 11, height: float = 0.55):
        if not (0 < alpha < 1 and terms >= 1):
            raise ValueError(f"alpha must lie between 0 and 1 and terms be >= 1, got alpha {alpha} and terms {terms}")
        self.alpha, self.terms, self.height = alpha, terms, height

    @cached_property
    def peaks(self) -> Tensor:
        """The corners: `4 k 2^(-terms) - 2`."""
        return torch.arange(2**self.terms + 1, dtype=torch.float64) * 4 / 2**self.terms - 2

    def value(self, x):
        """The formula above."""
        t = ((x + 2) / 4).clamp(0, 1)
        total = torch.zeros_like(t)
        for k in range(self.terms):
            scaled = t * 2**k
            total = total + 2 ** (-self.alpha * k) * (scaled - torch.floor(scaled + 0.5)).abs()
        return 1 - self.height * total

    def primitive(self, x):
        """Term by term: a quarter of every whole period, and a parabola."""
        t = ((x + 2) / 4).clamp(0, 1)
        total = torch.zeros_like(t)
        for k in range(self.terms):
            scaled = t * 2**k
            r = scaled - torch.floor(scaled + 0.5)
            # From the whole number nearest to the point: r |r| / 2 away, after whole periods of mean 1/4.
            total = total + 2 ** (-(self.alpha + 1) * k) * ((scaled - r) / 4 + r * r.abs() / 2)
        return x - 4 * self.height * total


class Table(Curve):
    """The broken line through `values` at `start, start + step, ...`, level beyond its ends: a slice of a network."""

    def __init__(self, start: float, step: float, values: Sequence[float]):
        if len(values) < 2 or not step > 0:
            raise ValueError(f"a table needs 2 values and a step > 0, got {len(values)} and {step}")
        self.start, self.step = start, step
        self.values = torch.as_tensor(values, dtype=torch.float64)
        whole = (self.values[1:] + self.values[:-1]) / 2
        self.sums = step * torch.cat([torch.zeros(1, dtype=torch.float64), whole.cumsum(0)])

    @cached_property
    def peaks(self) -> Tensor:
        """Its corners."""
        return self.start + self.step * torch.arange(len(self.values), dtype=torch.float64)

    def _cell(self, x: Tensor) -> tuple[Tensor, Tensor]:
        t = (x - self.start) / self.step
        k = torch.floor(t).clamp(0, len(self.values) - 2).long()
        return k, (t - k).clamp(0, 1)

    def value(self, x):
        """Linear between the entries."""
        k, f = self._cell(x)
        return self.values[k] + f * (self.values[k + 1] - self.values[k])

    def primitive(self, x):
        """Sums of trapezoids."""
        k, f = self._cell(x)
        inside = self.sums[k] + self.step * (f * self.values[k] + f * f * (self.values[k + 1] - self.values[k]) / 2)
        below, above = (x - self.start).clamp_max(0), (x - self.peaks[-1]).clamp_min(0)
        return inside + below * self.values[0] + above * self.values[-1]


CURVES: dict[str, Curve] = {
    "wells": Wells(0.9, ((0.85, -0.9, 0.12), (0.6, 0.6, 0.6))),
    "needle": Wells(0.9, ((0.45, -1.2, 0.6), (0.75, 0.6, 0.5)), (0.6, 0.7, 0.02)),
    "kink": Valley(),
    "step": Step(),
    "rough": Rough(),
}
"""The curves of the explorable, by name."""
