"""SGD, SAM and penalties on the noise along the valley of minima (Zhou et al., Figure 2)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch

from flatlab import rules
from flatlab.measures.noise import minibatch_factor
from flatlab.runs.experiment import Experiment, option
from flatlab.runs.option import SEEDS
from toy_problems.scalar_factorization.landscape import ScalarFactorization

__all__ = ["PENALIZED", "ValleyRuns"]


PENALIZED = {"COV": True, "COV, whole": False}
"""The penalized methods, and whether their penalty has the minibatch factor."""


@dataclass(frozen=True)
class ValleyRuns(Experiment):
    """SGD, SAM and two penalties on the noise from one start in the valley of minima, over many data sets.

    Minibatches are drawn with replacement, the same for all methods. SAM climbs and descends on the same minibatch; *COV*
    adds `lam * Tr C` of minibatches of that size, *COV, whole* the same without the factor `(n - b) / (b (n - 1))`, both
    over all `n` terms and in closed form.
    """

    experiment: ClassVar[str] = "factorization_valley"  # the explorable has the class's name
    formerly: ClassVar[tuple[str, ...]] = ("valley",)

    n: int = option(5000, "pairs in a data set", least=2)
    scale: float = option(2.0, "standard deviation of x", above=0)
    theta: tuple[float, ...] = option((0.1, -0.1), "the weights that made the data", count=2)
    noise: float = option(1.0, "standard deviation of the noise in y", least=0)
    start: tuple[float, ...] = option((0.1, 0.19), "where all runs start", count=2)
    batch: int = option(100, "minibatch size, at most n", least=1)
    lr: float = option(0.01, "learning rate", above=0)
    steps: int = option(10_000, "steps", least=1)
    rho: float = option(0.005, "SAM's radius", least=0)
    lam: float = option(0.3, "weight of the penalty", least=0)
    seeds: int = option(20, "data sets, each with draws of its own", least=1)
    spacing: int = option(100, "steps between two points of a curve", least=1)
    seed: int = option(1, "of data and draws", **SEEDS)

    def __post_init__(self):
        super().__post_init__()
        if self.batch > self.n:
            raise ValueError(f"batch must be at most n = {self.n}, got {self.batch}")

    def toys(self) -> list[ScalarFactorization]:
        """The data sets."""
        first = 1000 * self.seed
        return [
            ScalarFactorization.sample(self.n, self.theta, self.scale, self.noise, seed=first + k)
            for k in range(self.seeds)
        ]

    def run(self, report: Callable[[str], None] = lambda line: None) -> dict:
        """Curves of shape `(seeds, points)`, method by method: `norm`, `||w||`, and `product`, `w_1 w_2`; `path`, shape
        `(points, 2)`, is the first seed's. Of the data sets, `valley` and `rest`: the product of the minima, and that of
        the penalized loss's, by method. `report` gets a line of text at the end.
        """
        began, toys = time.perf_counter(), self.toys()
        x, y = (torch.stack([getattr(toy, name) for toy in toys]) for name in "xy")
        factor = minibatch_factor(self.n, self.batch)
        weight = {name: self.lam * (factor if scaled else 1.0) for name, scaled in PENALIZED.items()}
        q2, q1, q0 = (torch.stack(q)[:, None] for q in zip(*(toy._variance for toy in toys), strict=True))
        generator = torch.Generator().manual_seed(self.seed)
        start = torch.tensor(self.start, dtype=torch.float64).expand(self.seeds, 2)
        at = dict.fromkeys(("SGD", "SAM", *weight), start)
        kept = {name: [start] for name in at}
        for t in range(1, self.steps + 1):
            picks = torch.randint(self.n, (self.seeds, self.batch), generator=generator)
            xs, ys = x.gather(1, picks), y.gather(1, picks)
            a, b = xs.square().mean(1, keepdim=True), (xs * ys).mean(1, keepdim=True)
            grad = lambda w, a=a, b=b: (a * w.prod(-1, keepdim=True) - b) * w.flip(-1)  # noqa: E731
            for name, w in at.items():
                direction = rules.sam(w, grad, self.rho) if name == "SAM" else grad(w)
                if name in weight:
                    p, square = w.prod(-1, keepdim=True), w.square().sum(-1, keepdim=True)
                    variance = q2 * p * p - 2 * q1 * p + q0
                    direction = direction + weight[name] * (2 * (q2 * p - q1) * square * w.flip(-1) + 2 * variance * w)
                at[name] = w - self.lr * direction
                if t % self.spacing == 0:
                    kept[name].append(at[name])
        report(f"{self.steps} steps of {len(at)} methods on {self.seeds} data sets {time.perf_counter() - began:6.1f} s")
        rest = {name: [toy.resting_product(value) for toy in toys] for name, value in weight.items()}
        curves = []
        for name, points in kept.items():
            w = torch.stack(points, 1)
            shown = {"norm": w.norm(dim=-1), "product": w.prod(-1), "path": w[0]}
            curves.append({"method": name} | {key: rounded(value.tolist()) for key, value in shown.items()})
        data = {"valley": [toy.valley.item() for toy in toys], "rest": rest}
        return {"steps": [0, *range(self.spacing, self.steps + 1, self.spacing)], "data": rounded(data), "curves": curves}


def rounded(values: object) -> object:
    """The numbers within, to six digits; None where a run has left the numbers."""
    if isinstance(values, dict):
        return {key: rounded(value) for key, value in values.items()}
    if isinstance(values, list):
        return [rounded(value) for value in values]
    return float(f"{values:.6g}") if math.isfinite(values) else None
