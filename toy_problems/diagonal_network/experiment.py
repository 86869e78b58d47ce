"""SGD, SAM and SAMGCM on sparse regression with fewer samples than features (Zhou et al. 2026, Figure 4)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from flatlab import rules
from flatlab.landscape import Landscape
from flatlab.runs.experiment import Experiment, option
from flatlab.runs.option import SEEDS
from toy_problems.diagonal_network.landscape import DiagonalNetwork, responses

__all__ = ["SparseRegression", "direction"]


@dataclass(frozen=True)
class SparseRegression(Experiment):
    """Figure 4 of the nonuniformity paper: SGD, SAM and SAMGCM on sparse regression with fewer samples than features.

    Inputs are standard normal, the true coefficients are `value` on the first `nonzeros` features and 0 elsewhere; only
    the training labels are noisy. Every seed has data and a start of its own; all methods share them and the order
    of the batches. With `alternating`, `v` is updated after `u` and by the new `u`, each factor with an ascent of its
    own; without, both at once.
    """

    experiment: ClassVar[str] = "diagonal_network"  # that of the landscape, which has the class's name
    formerly: ClassVar[tuple[str, ...]] = ("sparse",)

    features: int = option(150, "coefficients of the linear model", least=1)
    samples: int = option(100, "training samples n", least=2)
    tests: int = option(1000, "test samples, without noise", least=1)
    nonzeros: int = option(3, "true coefficients that are not 0, at most the features", least=1)
    value: float = option(1.0, "size of these")
    noise: float = option(0.2, "standard deviation of the noise on the training labels", least=0)
    init: float = option(0.2, "standard deviation of u and v at the start", above=0)
    scale: float = option(0.25, "factor of the mean squared error in the training loss", above=0)
    lr: float = option(0.05, "learning rate", above=0)
    batch: int = option(10, "samples a step; it divides samples", least=2)
    epochs: int = option(400, "passes over the training set", least=1)
    sam_rhos: tuple[float, ...] = option((0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7), "SAM's radii", least=0, empty=True)
    gcm_rhos: tuple[float, ...] = option(
        (0.00005, 0.0001, 0.0002, 0.0003, 0.0004, 0.0005, 0.0007, 0.001, 0.005), "SAMGCM's radii", least=0, empty=True
    )
    matched_rhos: tuple[float, ...] = option(
        (), "SAMGCM's radii whose ascents lend SAM their length, step by step", least=0, empty=True
    )
    dampings: tuple[float, ...] = option(
        (1e-6,), "added to SAMGCM's covariance", above=0, unit="units of squared gradients"
    )
    alternating: bool = option(True, "whether v is updated after u")
    points: int = option(30, "epochs at which the curves are read, evenly spaced in their logarithm", least=2)
    seeds: int = option(10, "problems", least=1)
    seed: int = option(1, "of the first problem", **SEEDS)

    def __post_init__(self):
        super().__post_init__()
        if self.nonzeros > self.features:
            raise ValueError(f"nonzeros must be at most the {self.features} features, got {self.nonzeros}")
        if self.samples % self.batch:
            raise ValueError(f"batch must divide the {self.samples} samples, got {self.batch}")

    def truth(self) -> Tensor:
        """The true coefficients, shape `(features,)`."""
        theta = torch.zeros(self.features, dtype=torch.float64)
        theta[: self.nonzeros] = self.value
        return theta

    def draw(self) -> tuple[DiagonalNetwork, DiagonalNetwork, Tensor]:
        """Training and test problem, `seeds` of them side by side, and the starts, shape `(seeds, 2 features)`."""
        drawn = [self._one(torch.Generator().manual_seed(self.seed + k)) for k in range(self.seeds)]
        x, y, x_test, w0 = (torch.stack(parts) for parts in zip(*drawn, strict=True))
        test = DiagonalNetwork(x_test, responses(x_test, self.truth()), self.scale)
        return DiagonalNetwork(x, y, self.scale), test, w0

    def _one(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        def normal(*shape):
            return torch.randn(*shape, dtype=torch.float64, generator=generator)

        x = normal(self.samples, self.features)
        y = responses(x, self.truth()) + self.noise * normal(self.samples)
        return x, y, normal(self.tests, self.features), self.init * normal(2 * self.features)

    def curves(self) -> list[tuple[str, dict[str, float]]]:
        """`(method, settings)` of every curve: SGD once, SAM at every radius, SAMGCM at every radius and damping.

        "matched" is a control, SAM with the length that SAMGCM's ascent would have at the same weights and batch.
        """
        gcm, matched = (
            [{"rho": r, "damping": d} for d in self.dampings for r in rhos] for rhos in (self.gcm_rhos, self.matched_rhos)
        )
        sam = [("SAM", {"rho": r}) for r in self.sam_rhos]
        return [("SGD", {}), *sam, *(("SAMGCM", o) for o in gcm), *(("matched", o) for o in matched)]

    def marks(self) -> list[int]:
        """The epochs at which the curves are read, 0 first."""
        spaced = torch.logspace(0, math.log10(self.epochs), self.points)
        return [0, *sorted({round(e) for e in spaced.tolist()})]

    def run(self, report: Callable[[str], None] = lambda line: None) -> dict:
        """Each curve's `test` and `train` loss, `l1` norm of the coefficients, balance `alpha` and length of the
        `ascent`, all of shape `(marks, seeds)`, and the `coefficients` of the first problem, `(features,)`.

        `alpha` is the mean over the coordinates of `sqrt |u v|`, which gradient flow keeps as it was; `ascent` the mean
        over the steps since the mark before, with `alternating` of the root mean square of both factors'. A run that
        diverges holds None from there on. `report` gets a line a curve.
        """
        train, test, w0 = self.draw()
        curves = []
        for method, options in self.curves():
            began, rows, w = time.perf_counter(), [], w0
            for w, ascent in self._marked(method, options, train, w0):
                u, v = w.chunk(2, -1)
                found = train.predictor(w)
                alpha = (u * v).abs().sqrt().mean(-1)
                rows.append(torch.stack([test.loss(w), train.loss(w), found.abs().sum(-1), alpha, ascent]))
            values = dict(zip(("test", "train", "l1", "alpha", "ascent"), torch.stack(rows, 1), strict=True))
            values["coefficients"] = train.predictor(w)[0]
            curves.append({"method": method, **options} | {k: _digits(v) for k, v in values.items()})
            label = ", ".join([method, *(f"{k} {v:g}" for k, v in options.items())])
            report(f"{label:<34} {time.perf_counter() - began:6.1f} s")
        return {"epochs": self.marks(), "truth": self.truth().tolist(), "curves": curves}

    def _marked(self, method: str, options: dict, train: DiagonalNetwork, w: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The weights at every mark, and the mean length of the ascents since the last."""
        marks, generator = set(self.marks()), torch.Generator().manual_seed(self.seed)
        yield w, torch.zeros(self.seeds, dtype=torch.float64)
        lengths = []
        for epoch in range(1, self.epochs + 1):
            # One order for all seeds: their data are exchangeable, so the runs stay independent.
            for batch in torch.randperm(self.samples, generator=generator).split(self.batch):
                w, length = self.step(method, options, train, w, batch)
                lengths.append(length)
            if epoch in marks:
                yield w, torch.stack(lengths).mean(0)
                lengths = []

    def step(
        self, method: str, options: dict[str, float], train: DiagonalNetwork, w: Tensor, batch: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One step of a method with its `options` (`rho`, `damping`), `(..., d) -> (..., d)`, and its ascent's length."""
        if not self.alternating:
            down, length = direction(method, options, train, w, batch)
            return w - self.lr * down, length
        parts, lengths = list(w.chunk(2, -1)), []
        for k in (0, 1):
            one = train.factor(torch.cat(parts, -1), k)
            down, length = direction(method, options, one, parts[k], batch)
            parts[k] = parts[k] - self.lr * down
            lengths.append(length)
        return torch.cat(parts, -1), torch.stack(lengths).square().mean(0).sqrt()


def direction(
    method: str, options: dict[str, float], landscape: Landscape, w: Tensor, batch: Tensor | None
) -> tuple[Tensor, Tensor]:
    """What SGD, SAM, SAMGCM or the control descends along on the batch, and how far from `w` its gradient was taken.

    SAMGCM's covariance is that of the batch: `(..., d) -> (..., d), (...)`.
    """
    far = w

    def grad(v):
        nonlocal far
        far = v
        return landscape.grad(v, batch)

    if method == "SGD":
        down = rules.gd(w, grad)
    elif method == "SAM":
        down = rules.sam(w, grad, **options)
    elif method == "matched":
        _, length = direction("SAMGCM", options, landscape, w, batch)
        down = rules.sam(w, grad, length[..., None])
    else:
        samples = partial(landscape.per_sample_grads, batch=batch)
        down = rules.sam_gcm(w, grad, samples, form="low_rank", relative=False, **options)
    return down, (far - w).norm(dim=-1)


def _digits(values: Tensor) -> list:
    """Nested lists of four significant digits, None where not finite."""
    if values.ndim > 1:
        return [_digits(row) for row in values]
    return [float(f"{v:.4g}") if abs(v) < float("inf") else None for v in values.tolist()]
