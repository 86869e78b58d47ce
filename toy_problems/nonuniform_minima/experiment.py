"""Who leaves the nonuniform minimum, method by method (Zhou et al., Figure 1)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from flatlab.runs.experiment import Experiment, option
from flatlab.runs.option import SEEDS
from toy_problems.nonuniform_minima.landscape import METHODS, NonuniformMinima, slope, step

__all__ = ["NonuniformEscape"]


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
