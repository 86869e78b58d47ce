"""Who escapes from the saddle: the success rates of Tan et al. 2025, Figure 4."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from flatlab import rules
from flatlab.descent import can_fuse, milestones
from flatlab.runs.experiment import Experiment, option
from flatlab.runs.option import SEEDS
from toy_problems.lucchi.landscape import Lucchi

__all__ = ["LucchiSuccessRate"]


@dataclass(frozen=True)
class LucchiSuccessRate(Experiment):
    """How many of many runs find a minimum of the toy, against the learning rate, for GD, SAM and StableSAM.

    The paper leaves out `steps` and `radii`, so there are several of each.

    A run succeeds, after so many steps and for such a radius, if its iterate lies within that Euclidean distance of
    one of the two minima. Starts are uniform on `[-plane, plane]^2`, the same for every curve.
    """

    formerly: ClassVar[tuple[str, ...]] = ("lucchi",)

    learning_rates: int = option(100, "learning rates, evenly spaced in their logarithm", least=1)
    lr_min: float = option(0.001, "smallest learning rate", above=0)
    lr_max: float = option(0.3, "largest learning rate", above=0)
    starts: int = option(10_000, "runs of each curve and learning rate", least=1)
    plane: float = option(2.0, "starts are uniform on [-plane, plane]^2", above=0)
    rhos: tuple[float, ...] = option((0.05, 0.1, 0.2, 0.5), "radii of the ascent", least=0, increasing=True)
    steps: tuple[int, ...] = option(
        (100, 200, 300, 500, 1000), "step counts at which the runs are counted", least=0, increasing=True
    )
    radii: tuple[float, ...] = option(
        (0.01, 0.02, 0.05, 0.1, 0.2, 0.5), "a run so near to a minimum succeeds", least=0, increasing=True
    )
    seed: int = option(1, "of the starts", **SEEDS)

    def __post_init__(self):
        super().__post_init__()
        if self.lr_min > self.lr_max:
            raise ValueError(f"lr_max must be at least the lr_min of {self.lr_min}, got {self.lr_max}")

    def rates(self) -> Tensor:
        """The learning rates, log-spaced, shape `(learning_rates,)`."""
        ends = torch.tensor([self.lr_min, self.lr_max], dtype=torch.float64).log10()
        return torch.logspace(*ends, self.learning_rates, dtype=torch.float64)

    def sample(self) -> Tensor:
        """The starting points, shape `(starts, 2)`."""
        generator = torch.Generator().manual_seed(self.seed)
        return (2 * torch.rand(self.starts, 2, dtype=torch.float64, generator=generator) - 1) * self.plane

    def curves(self) -> list[tuple[str, Callable, dict[str, float]]]:
        """`(method, rule, options)` of every curve: GD once, SAM and StableSAM at every rho."""
        both = [("SAM", rules.sam), ("StableSAM", rules.stable_sam)]
        return [("GD", rules.gd, {})] + [(name, rule, {"rho": r}) for r in self.rhos for name, rule in both]

    def run(self, report: Callable[[str], None] = lambda line: None, fused: int | None = None) -> dict:
        """Where the runs are, curve by curve: `success` and `saddle`, shape `(learning_rates, steps, radii)`, count
        the iterates near a minimum and near the saddle; `diverged`, shape `(learning_rates, steps)`, those no longer
        finite.

        `fused` steps are compiled into one kernel: 4 unless given, 1 (with the same result, slower) where nothing can
        be compiled. `report` gets a line of text a curve.
        """
        fused = fused or (4 if can_fuse() else 1)
        rates, starts, curves = self.rates(), self.sample(), []
        for method, rule, options in self.curves():
            began = time.perf_counter()
            counts = self._count(rule, options, rates, starts, fused)
            curves.append({"method": method, **options} | {name: c.tolist() for name, c in counts.items()})
            label = ", ".join([method, *(f"{k} {v}" for k, v in options.items())])
            report(f"{label:<20} {time.perf_counter() - began:6.1f} s")
        return {"learning_rates": rates.tolist(), "curves": curves}

    def _count(self, rule, options, rates, starts, fused) -> dict[str, Tensor]:
        toy, radii = Lucchi(), torch.tensor(self.radii, dtype=torch.float64)
        success = torch.zeros(len(rates), len(self.steps), len(radii), dtype=torch.int64)
        saddle, diverged = torch.zeros_like(success), torch.zeros_like(success[..., 0])
        for rows in torch.arange(len(rates)).split(4):  # four rates of 10,000 starts stay in the processor's cache
            # Columns apart, as Lucchi.grad returns them: the compiled step is then specialized once.
            w0 = starts.T.expand(len(rows), -1, -1).movedim(1, 0).contiguous().movedim(0, -1)
            passing = milestones(rule, toy.grad, w0, lr=rates[rows, None, None], at=self.steps, fused=fused, **options)
            for k, w in enumerate(passing):
                nearest = torch.stack([(w - m).norm(dim=-1) for m in toy.minima.double()]).amin(0)
                success[rows, k] = (nearest[..., None] <= radii).sum(1)
                saddle[rows, k] = (w.norm(dim=-1, keepdim=True) <= radii).sum(1)
                diverged[rows, k] = (~torch.isfinite(w).all(-1)).sum(1)
        return {"success": success, "saddle": saddle, "diverged": diverged}
