"""Two minima of one curvature whose terms disagree at one of them only (Wu, Ma and E 2018; Zhou et al., Figure 1)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from flatlab import rules
from flatlab.landscape import Landscape
from flatlab.runs.experiment import Experiment, option
from flatlab.runs.option import SEEDS

__all__ = ["METHODS", "NonuniformEscape", "NonuniformMinima", "linearized", "step"]

METHODS = ("SGD", "Momentum", "Nesterov", "SAM", "SAM as published", "GD")


class NonuniformMinima(Landscape):
    r"""`L = (f_1 + f_2) / 2` with `f_i(x) = min(x^2, c_i (x - 1)^2)` and `c = (0.1, 1.9)`: two minima of curvature 2.

    At `x = 0` both terms have curvature 2, at `x = 1` they have 0.2 and 3.8. `w = (x)` has shape `(..., 1)`; all methods
    are closed forms. Where the two parabolas of a term meet, its derivative is that of `c_i (x - 1)^2`.

    `inner` is the interval about 0 where both terms are `x^2`, so that no gradient has noise; `outer` the one about 1
    where both are `c_i (x - 1)^2`.

    Source: Wu, Ma and E 2018; Zhou et al. ("Beyond Sharpness"), Figure 1.

    >>> f, w = NonuniformMinima(), torch.tensor([[0.0], [1.0], [1.1]])
    >>> f.loss(w), f.grad(w).ravel()
    (tensor([0.0000, 0.0000, 0.0100]), tensor([0.0000, 0.0000, 0.2000]))
    >>> f.per_sample_grads(w[2]).ravel(), f.hvp(w[:2], torch.ones(2, 1)).ravel()
    (tensor([0.0200, 0.3800]), tensor([2., 2.]))
    """

    d = 1
    n = 2
    curvatures = torch.tensor([0.1, 1.9], dtype=torch.float64)
    minima = torch.tensor([[0.0], [1.0]])
    inner = (-math.sqrt(0.1) / (1 - math.sqrt(0.1)), math.sqrt(0.1) / (1 + math.sqrt(0.1)))
    outer = (math.sqrt(1.9) / (1 + math.sqrt(1.9)), math.sqrt(1.9) / (math.sqrt(1.9) - 1))

    def _terms(self, w: Tensor, batch: Tensor | None) -> tuple[Tensor, Tensor]:
        c = self.curvatures.to(w)
        return self.check(w), c if batch is None else c[batch]

    def losses(self, w, batch=None):
        """`min(x^2, c_i (x - 1)^2)`: `(..., 1) -> (..., b)`."""
        x, c = self._terms(w, batch)
        return torch.minimum(x * x, c * (x - 1) ** 2)

    def per_sample_grads(self, w, batch=None):
        """`(..., 1) -> (..., b, 1)`."""
        return slope(*self._terms(w, batch))[..., None]

    def grad(self, w, batch=None):
        """`(..., 1) -> (..., 1)`."""
        return slope(*self._terms(w, batch)).mean(-1, keepdim=True)

    def hvp(self, w, v, batch=None):
        """`(..., 1), (..., 1) -> (..., 1)`: curvature 2 or `2 c_i` of each term, times `v`."""
        x, c = self._terms(w, batch)
        bent = torch.where(x * x < c * (x - 1) ** 2, torch.ones_like(c), c)
        return 2 * bent.mean(-1, keepdim=True) * self.check(v)


def slope(x: Tensor, c: Tensor) -> Tensor:
    """Derivative of `min(x^2, c (x - 1)^2)`; `x` and `c` broadcast, so that each run may have a term of its own.

    >>> slope(torch.tensor([0.5, 0.5]), torch.tensor([0.1, 1.9]))
    tensor([-0.1000,  1.0000])
    """
    away = x - 1
    steep = c * away
    return 2 * torch.where(x * x < steep * away, x, steep)


def step(
    method: str,
    w: Tensor,
    v: Tensor,
    grad: rules.Gradient,
    lr: float | Tensor,
    t: int,
    momentum: float = 0.5,
    rho: float = 0.01,
) -> tuple[Tensor, Tensor]:
    r"""One step, the t-th, counted from 1: new position and velocity, shapes `(..., d)`.

    - SGD and GD: $w - \eta g(w)$; which of the two is up to `grad`.
    - Momentum: $v \leftarrow \mu v - \eta g(w)$, $w \leftarrow w + v$, with $\mu$ = `momentum`.
    - Nesterov: $v \leftarrow \mu_t v - \eta g(w + \mu_t v)$, $w \leftarrow w + v$, with $\mu_t = t / (t + 2)$.
    - SAM: `flatlab.rules.sam`, ascent and descent on the same term.
    - SAM as published: $w - \eta g(w + \rho)$, the ascent always to the right, whatever the gradient's sign.

    Raises `ValueError` for another method. Source of the settings: the code published with Zhou et al., Figure 1.

    >>> step("Momentum", torch.tensor([1.0]), torch.tensor([0.5]), lambda w: 2 * w, 0.1, 1)
    (tensor([1.0500]), tensor([0.0500]))
    """
    if method in ("SGD", "GD"):
        return w - lr * rules.gd(w, grad), v
    if method == "Momentum":
        v = momentum * v - lr * grad(w)
        return w + v, v
    if method == "Nesterov":
        mu = t / (t + 2)
        v = mu * v - lr * grad(w + mu * v)
        return w + v, v
    if method == "SAM":
        return w - lr * rules.sam(w, grad, rho), v
    if method == "SAM as published":
        return w - lr * grad(w + rho), v
    raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")


def linearized(method: str, lr: float, momentum: float = 0.5, nesterov: float = 1.0) -> Tensor:
    r"""The two equally likely maps of one step about `x = 1`, on `(x - 1)` or `(x - 1, v)`: shape `(2, s, s)`.

    `nesterov` is the coefficient of that method, 1 for the limit of its schedule, which alone decides the growth in
    the long run. SAM's step is affine here, not linear; it shares the linear part of SGD. GD has one map, twice. Feed
    them to `toy_problems.random_product`. Raises `ValueError` for another method.

    >>> linearized("SGD", 0.5).ravel()
    tensor([ 0.9000, -0.9000], dtype=torch.float64)
    """
    h = 2 * NonuniformMinima.curvatures
    if method == "GD":
        h = h.mean().expand(2)
    if method in ("SGD", "SAM", "SAM as published", "GD"):
        return (1 - lr * h)[:, None, None]
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    ahead = nesterov * (1 - lr * h) if method == "Nesterov" else torch.full_like(h, momentum)
    return torch.stack([torch.stack([1 - lr * h, ahead], -1), torch.stack([-lr * h, ahead], -1)], -2)


@dataclass(frozen=True)
class NonuniformEscape(Experiment):
    """Who leaves the minimum at 1 and ends at 0, method by method, against the learning rate.

    All runs start at `start`; in each step each run draws one of the two terms (GD takes both). The draws are the same for
    all methods and learning rates. A run is *at 0* or *at 1* if it is within `radius` of it; it has *left* if it was ever
    outside the interval about 1 where both terms are parabolas around 1.
    """

    formerly: ClassVar[tuple[str, ...]] = ("escape",)

    learning_rates: int = option(40, "learning rates, evenly spaced", least=1)
    lr_min: float = option(0.2, "smallest learning rate", above=0)
    lr_max: float = option(0.98, "largest learning rate", above=0)
    runs: int = option(2000, "runs for each method and learning rate", least=1)
    steps: tuple[int, ...] = option((200, 500, 2000), "step counts at which the runs are counted", least=1, increasing=True)
    start: float = option(1.0001, "where all runs start")
    momentum: float = option(0.5, "coefficient of the method Momentum")
    v_momentum: float = option(0.05, "its velocity at the start")
    v_nesterov: float = option(0.01, "Nesterov's velocity at the start")
    rho: float = option(0.01, "SAM's radius", least=0)
    radius: float = option(
        0.24, "a run so near to a minimum is at it; about 0 there is no noise up to 0.24", above=0, below=0.5
    )
    seed: int = option(1, "of the draws", **SEEDS)

    def __post_init__(self):
        super().__post_init__()
        if self.lr_min > self.lr_max:
            raise ValueError(f"lr_max must be at least the lr_min of {self.lr_min}, got {self.lr_max}")

    def rates(self) -> Tensor:
        """The learning rates, shape `(learning_rates,)`."""
        return torch.linspace(self.lr_min, self.lr_max, self.learning_rates, dtype=torch.float64)

    def run(self, report: Callable[[str], None] = lambda line: None) -> dict:
        """Counts of runs, method by method, of shape `(steps, learning_rates)`: `zero` and `one`, at that minimum; `left`,
        ever outside; `diverged`, no longer finite. `report` gets a line of text a method.
        """
        curves = []
        for method in METHODS:
            began = time.perf_counter()
            counts = self._count(method)
            curves.append({"method": method} | {name: c.tolist() for name, c in counts.items()})
            report(f"{method:<18} {time.perf_counter() - began:6.1f} s")
        return {"learning_rates": self.rates().tolist(), "curves": curves}

    def _count(self, method: str) -> dict[str, Tensor]:
        runs = 1 if method == "GD" else self.runs  # without draws all runs are one
        # Small enough for the cache, and for one thread: more threads would wait for one another in every operation.
        blocks = [self._block(method, rates, runs) for rates in self.rates().split(max(1, 20_000 // runs))]
        return {name: torch.cat([block[name] for block in blocks], 1) * (self.runs // runs) for name in blocks[0]}

    def _block(self, method: str, rates: Tensor, runs: int) -> dict[str, Tensor]:
        c, (low, high) = NonuniformMinima.curvatures, NonuniformMinima.outer
        generator = torch.Generator().manual_seed(self.seed)
        w = torch.full((len(rates), runs, 1), self.start, dtype=torch.float64)
        v = torch.full_like(w, {"Momentum": self.v_momentum, "Nesterov": self.v_nesterov}.get(method, 0.0))
        left = torch.zeros_like(w, dtype=torch.bool)
        counts = {name: [] for name in ("zero", "one", "left", "diverged")}
        whole = NonuniformMinima()
        for t in range(1, self.steps[-1] + 1):
            drawn = c[torch.randint(2, (runs, 1), generator=generator)]
            grad = whole.grad if method == "GD" else lambda x, drawn=drawn: slope(x, drawn)
            w, v = step(method, w, v, grad, rates[:, None, None], t, self.momentum, self.rho)
            left |= (w - (low + high) / 2).abs() > (high - low) / 2
            if t in self.steps:
                now = {"zero": w.abs() <= self.radius, "one": (w - 1).abs() <= self.radius, "left": left}
                for name, where in (now | {"diverged": ~torch.isfinite(w)}).items():
                    counts[name].append(where.sum((1, 2)))
        return {name: torch.stack(rows) for name, rows in counts.items()}
