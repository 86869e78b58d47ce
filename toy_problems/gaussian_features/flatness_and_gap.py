"""Does relative flatness follow the generalization gap? (Petzka et al. 2021, section 6, Figures 3 and 4.)"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch
from sklearn.datasets import make_classification
from torch import Tensor

from flatlab.runs.experiment import Experiment, option
from flatlab.runs.option import SEEDS
from toy_problems.gaussian_features.landscape import LAYOUTS, LOSSES, FourGaussians, GaussianFeatures

__all__ = ["FlatnessAndGap", "Representativeness", "correlation", "first_order", "limit_correlation"]

GENERATORS = (*LAYOUTS, "halved", "published")
CHUNK = 2**23
"""Numbers of a block of data sets that are solved together."""


@dataclass(frozen=True)
class FlatnessAndGap(Experiment):
    """Figure 3: correlation of relative flatness and generalization gap over data sets, by class separation.

    Each curve is a generator of data sets, a dimension of the features, a loss and a penalty; a classifier is trained on
    each data set, and kappa and the gap of its loss are measured. `rectangle` and `crossed` draw all data sets from the
    same four Gaussians, `drawn` from four of their own each (see `FourGaussians.of`), `published` by scikit-learn's
    `make_classification` as the paper's code does (10 features, centred here), `halved` labels the rectangle's
    features by the more likely class, so that the label is a function of the features.
    """

    formerly: ClassVar[tuple[str, ...]] = ("features",)

    generators: tuple[str, ...] = option(
        ("rectangle", "crossed", "halved", "drawn", "published"), "of the data sets", allowed=GENERATORS
    )
    dimensions: tuple[int, ...] = option((2, 10, 40), "of the features; the published generator has 10 only", least=2)
    losses: tuple[str, ...] = option(("squared", "logistic"), "of the classifier", allowed=tuple(LOSSES))
    penalties: tuple[float, ...] = option((1e-5, 2e-3, 0.2), "factors of ||w||^2 beside the mean loss", above=0)
    separations: tuple[float, ...] = option((0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0), "between centres", above=0)
    samples: int = option(500, "of a data set", least=2)
    sets: int = option(200, "data sets a point", least=10)
    tests: int = option(20_000, "test samples where the risk has no closed form (halved, published)", least=2)
    resamples: int = option(1000, "of the bootstrap", least=100)
    reference: int = option(50_000, "samples behind the first-order prediction", least=1000)
    seed: int = option(1, "of all draws", **SEEDS)

    def curves(self) -> list[dict]:
        """The settings of every curve."""
        out = []
        for name, m, loss, penalty in product(self.generators, self.dimensions, self.losses, self.penalties):
            m = 10 if name == "published" else m
            row = {"generator": name, "m": m, "loss": loss, "penalty": penalty}
            if row not in out:
                out.append(row)
        return out

    def run(self, report: Callable[[str], None] = lambda line: None) -> dict:
        """For every curve and separation: the correlation of kappa and gap (`pearson`), its 95% bootstrap interval, that
        of the ranks (`rank`), of kappa and training loss (`kappa_train`), of gap and training loss (`gap_train`), the
        first-order prediction (`limit`, None where distributions differ), means and standard deviations of kappa and gap.
        The `points` of the first curve are the numbers themselves. `report` gets a line a curve.
        """
        rows, points = [], None
        for curve in self.curves():
            began, columns, kept = time.perf_counter(), [], []
            for separation in self.separations:
                kappa, gap, train = (torch.cat(parts) for parts in zip(*self.measured(curve, separation), strict=True))
                columns.append(self._summary(kappa, gap, train) | {"limit": self._limit(curve, separation)})
                kept.append({"kappa": _digits(kappa), "gap": _digits(gap)})
            rows.append(curve | {name: [column[name] for column in columns] for name in columns[0]})
            points = points or kept
            label = ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in curve.values())
            report(f"{label:<36} {time.perf_counter() - began:6.1f} s")
        return {"curves": rows, "points": points}

    def measured(self, curve: dict, separation: float) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Kappa, gap and training loss of the trained classifiers, shape `(sets,)` in blocks."""
        generator = torch.Generator().manual_seed(self.seed)
        m = curve["m"]
        drawn = self.samples + (self.tests if curve["generator"] == "published" else 0)
        block = max(1, CHUNK // (drawn * m))
        for first in range(0, self.sets, block):
            sets = min(block, self.sets - first)
            phi, y, risk = self.draw(curve["generator"], separation, m, sets, self.seed + first, generator)
            four = GaussianFeatures(phi, y, curve["loss"])
            w = four.minimizer(curve["penalty"])
            train = four.loss(w)
            yield four.relative_flatness(w), risk(w, curve["loss"]) - train, train

    def draw(
        self, name: str, separation: float, m: int, sets: int, seed: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Callable[[Tensor, str], Tensor]]:
        """`sets` data sets, `(sets, samples, m)` and `(sets, samples)`, and the risk of classifiers on them."""
        if name == "published":
            made = (self._published(separation, seed + k) for k in range(sets))
            phi, y = (torch.stack(parts) for parts in zip(*made, strict=True))
            test = phi[:, self.samples :], y[:, self.samples :]
            phi, y = phi[:, : self.samples], y[:, : self.samples]
            return phi, y, lambda w, loss: GaussianFeatures(*test, loss).loss(w)
        if name == "drawn":
            four = FourGaussians.of(name, separation, m, sets, generator)
            return *four.draw(self.samples, generator=generator), four.risk
        four = FourGaussians.of("rectangle" if name == "halved" else name, separation, m)
        phi, y = four.draw(self.samples, sets, generator)
        if name != "halved":
            return phi, y, four.risk
        test, _ = four.draw(self.tests, generator=generator)
        # One test set for all: what it errs by is nearly the same for all of them, and does not blur the correlation.
        return phi, phi[..., 0].sign(), lambda w, loss: GaussianFeatures(test, test[:, 0].sign(), loss).loss(w)

    def _published(self, separation: float, seed: int) -> tuple[Tensor, Tensor]:
        recipe = {"n_features": 10, "n_informative": 3, "n_redundant": 4, "class_sep": separation / 2}
        x, labels = make_classification(self.samples + self.tests, **recipe, random_state=seed)
        # class_sep is half a side of the cube. The model has no bias, so the features are centred.
        phi = torch.from_numpy(x)
        return phi - phi.mean(0), torch.from_numpy(2.0 * labels - 1)

    def _limit(self, curve: dict, separation: float) -> float | None:
        if curve["generator"] in ("drawn", "published"):
            return None
        sizes = {"samples": self.reference, "tests": 2}
        one = FlatnessAndGap(**sizes)
        phi, y, _ = one.draw(curve["generator"], separation, curve["m"], 1, 0, torch.Generator().manual_seed(self.seed))
        return float(f"{first_order(GaussianFeatures(phi[0], y[0], curve['loss']), curve['penalty']):.4f}")

    def _summary(self, kappa: Tensor, gap: Tensor, train: Tensor) -> dict:
        generator = torch.Generator().manual_seed(self.seed)
        again = torch.randint(len(kappa), (self.resamples, len(kappa)), generator=generator)
        values = correlation(kappa[again], gap[again])
        ranks = [v.argsort().argsort().double() for v in (kappa, gap)]
        ends = torch.nanquantile(values, torch.tensor([0.025, 0.975], dtype=torch.float64))
        named = {"pearson": correlation(kappa, gap), "low": ends[0], "high": ends[1], "rank": correlation(*ranks)}
        named |= {"kappa_train": correlation(kappa, train), "gap_train": correlation(gap, train)}
        named |= {"kappa": kappa.mean(), "kappa_sd": kappa.std(), "gap": gap.mean(), "gap_sd": gap.std()}
        return {name: float(f"{v:.4g}") for name, v in named.items()}


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation along the last dimension: `(..., k), (..., k) -> (...)`.

    >>> correlation(torch.tensor([1., 2., 4.]), torch.tensor([3., 2., 0.]))
    tensor(-1.)
    """
    a, b = (v - v.mean(-1, keepdim=True) for v in (a, b))
    return (a * b).sum(-1) / (a.square().sum(-1) * b.square().sum(-1)).sqrt()


def first_order(four: GaussianFeatures, penalty: float = 0.0) -> float:
    r"""The correlation of kappa and gap over large data sets from the distribution that `four` is a large sample of.

    To first order both are means over a data set. The gap is `-mean_i (loss_i - E loss)` at the minimizer `w` of the
    expected loss, since the gradients of both its terms agree there. Kappa moves by `mean_i` of

        ||w||^2 loss''_i ||phi_i||^2 - (d kappa / d w) . (Hessian + 2 penalty)^-1 (grad loss_i + 2 penalty w) ,

    directly and through the minimizer. The correlation of the two over single samples is that over data sets.

    >>> big = FourGaussians.of("rectangle", 2.0, 10).draw(100_000, generator=torch.Generator().manual_seed(0))
    >>> abs(first_order(GaussianFeatures(*big)) - limit_correlation(2.0, 10)) < 0.01
    True
    """
    w = four.minimizer(penalty).requires_grad_()
    kappa = four.relative_flatness(w)
    (slope,) = torch.autograd.grad(kappa, w)
    w = w.detach()
    z = four.phi @ w
    own = w.square().sum() * four.margin.curvature(z, four.y) * four.phi.square().sum(-1)
    ridge = 2 * penalty * torch.eye(four.d, dtype=w.dtype, device=w.device)
    pulls = four.per_sample_grads(w) @ torch.linalg.solve(four.hessian(w) + ridge, slope)
    return correlation(own - pulls, -four.losses(w)).item()


def limit_correlation(separation: float, m: int) -> float:
    r"""What `first_order` estimates, in closed form: the rectangle in `m` dimensions, squared loss, no penalty.

    With `a = separation / 2`, `q = 1 / (1 + a^2)` and `T = m + 2 a^2`, the mean of `||phi||^2`, the minimizer is `w = a q`
    along the first axis. In the Hermite polynomials `h1 = z` and `h2 = (z^2 - 1) / sqrt 2` of the noise `z` along it, minus
    the loss is `q^2 a (2 h1 - sqrt 2 a h2)` and kappa `2 w (A1 h1 + A2 h2)` and a part that has nothing to do with `z`:
    `A1 = 2 a w + 2 T q^2 (1 - a^2)`, `A2 = sqrt 2 w - 2 sqrt 2 T q^2 a`. It tends to 1 for small separations and is
    about `1 / separation` for large ones.

    >>> limit_correlation(1e-6, 10), limit_correlation(100.0, 10) * 100
    (1.0000, 1.00...)
    """
    a = separation / 2
    q, t = 1 / (1 + a * a), m + 2 * a * a
    w = a * q
    one, two = 2 * a * w + 2 * t * q * q * (1 - a * a), math.sqrt(2) * (w - 2 * t * q * q * a)
    other = w * w * (4 * a * a + 2 * m - 2)
    return (2 * one - math.sqrt(2) * a * two) / math.sqrt((4 + 2 * a * a) * (one * one + two * two + other))


@dataclass(frozen=True)
class Representativeness(Experiment):
    """Figure 4: the gap beside kappa's term and representativeness, the latter known here and estimated from the sample.

    Squared loss, features of the rectangle labelled by the more likely class, so that risk, gap and the representativeness
    of equation (3) are known. The local densities around a feature `phi` have the root mean square radius
    `delta ||phi||`.
    """

    dimensions: tuple[int, ...] = option((2, 10), "of the features", least=2)
    separations: tuple[float, ...] = option((0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0), "between centres", above=0)
    deltas: tuple[float, ...] = option((0.05, 0.1, 0.2, 0.4, 0.8), "relative size of the perturbations", above=0)
    folds: int = option(10, "random splits of the sample, each leaving out one part in so many", least=2)
    samples: int = option(500, "of a data set, as many as folds or more", least=2)
    sets: int = option(100, "data sets a point", least=2)
    directions: int = option(64, "random directions behind the loss with true labels", least=1)
    densities: int = option(10, "data sets whose density estimate is held against the true density", least=1)
    points: int = option(2000, "samples behind that distance", least=1)
    penalty: float = option(0.0, "factor of ||w||^2 beside the mean loss", least=0)
    seed: int = option(1, "of all draws", **SEEDS)

    def __post_init__(self):
        super().__post_init__()
        if self.samples < self.folds:
            raise ValueError(f"samples must be at least the {self.folds} folds, got {self.samples}")

    def run(self, report: Callable[[str], None] = lambda line: None) -> dict:
        """For each dimension and separation: `gap` and `kappa`, shape `(sets,)`; and for each delta `split`, the
        estimate of representativeness by splits, `true`, the feature robustness with true labels, both `(sets,)`, and
        `distance`, the mean over a few data sets of the L1 distance of density and kernel density estimate.
        `held`, that with labels held, is `delta^2 kappa / (2 m)` exactly and not kept. `most` is the mean over data
        sets of the largest loss. `report` gets a line a point.
        """
        rows = []
        for m, separation in product(self.dimensions, self.separations):
            began = time.perf_counter()
            rows.append({"m": m, "separation": separation} | self.point(m, separation))
            report(f"m = {m:<3} separation {separation:<5g} {time.perf_counter() - began:6.1f} s")
        return {"points": rows}

    def point(self, m: int, separation: float) -> dict:
        """One dimension and separation; see `run`."""
        generator = torch.Generator().manual_seed(self.seed)
        four = FourGaussians.of("rectangle", separation, m)
        phi, _ = four.draw(self.samples, self.sets, generator)
        data = GaussianFeatures(phi, phi[..., 0].sign())
        w = data.minimizer(self.penalty)
        losses = data.losses(w)
        gap = halved_risk(w, separation) - losses.mean(-1)
        unit = torch.randn(self.directions, *phi.shape[1:], dtype=phi.dtype, generator=generator)
        unit = unit / unit.norm(dim=-1, keepdim=True)
        left = torch.stack([torch.randperm(self.samples, generator=generator) for _ in range(self.folds)])
        left = left[:, : self.samples // self.folds]
        out = {"gap": _digits(gap), "kappa": _digits(data.relative_flatness(w)), "most": losses.amax(-1).mean().item()}
        by_delta = []
        for delta in self.deltas:
            moves = delta * phi.norm(dim=-1, keepdim=True)
            true = torch.zeros(self.sets, dtype=phi.dtype)
            for u in unit:  # with u and -u: the part that is linear in delta cancels
                for at in (phi + moves * u, phi - moves * u):
                    true += GaussianFeatures(at, at[..., 0].sign()).loss(w) / (2 * self.directions)
            split = split_error(losses, delta**2 / m * phi.square().sum(-1) * w.square().sum(-1, keepdim=True), left)
            few = phi[: self.densities]
            by_delta.append(
                {
                    "split": _digits(split),
                    "true": _digits(true - losses.mean(-1)),
                    "distance": float(f"{density_error(four, few, delta, self.points, generator):.4g}"),
                }
            )
        return out | {name: [row[name] for row in by_delta] for name in by_delta[0]}


def halved_risk(w: Tensor, separation: float) -> Tensor:
    """The expected squared loss of `w` on the rectangle's features labelled by the sign of the first: `(..., m) -> (...)`.

    `1 - 2 w_1 E|phi_1| + ||w||^2 + (w_1^2 + w_2^2) a^2` with `a = separation / 2` and
    `E|phi_1| = sqrt(2 / pi) exp(-a^2 / 2) + a erf(a / sqrt 2)`.

    >>> halved_risk(torch.tensor([0., 0.]), 2.0)
    tensor(1.)
    """
    a = separation / 2
    folded = math.sqrt(2 / math.pi) * math.exp(-a * a / 2) + a * math.erf(a / math.sqrt(2))
    return 1 - 2 * w[..., 0] * folded + w.square().sum(-1) + a * a * w[..., :2].square().sum(-1)


def split_error(losses: Tensor, rises: Tensor, left: Tensor) -> Tensor:
    """`mean_k |mean_(i in test k) losses_i - mean_(i in train k) (losses_i + rises_i)|`: `(..., n), (..., n) -> (...)`.

    Equation (3) of the paper with a part of the sample, row k of `left`, shape `(folds, tests)`, in the place of the
    distribution, and densities around the rest of it. `rises` is what each density adds to the loss, labels held.

    >>> split_error(torch.tensor([1., 2., 6.]), torch.zeros(3), torch.tensor([[2]]))
    tensor(4.5000)
    """
    n, tests = losses.shape[-1], left.shape[-1]
    test, lost = losses[..., left].mean(-1), (losses + rises)[..., left].sum(-1)
    train = ((losses + rises).sum(-1, keepdim=True) - lost) / (n - tests)
    return (test - train).abs().mean(-1)


def density_error(four: FourGaussians, phi: Tensor, delta: float, points: int, generator: torch.Generator) -> float:
    """`int |p - p_hat|`, between 0 and 2, for the kernel density estimate `p_hat` around `phi`, shape `(sets, n, m)`.

    The kernel around a feature is Gaussian with standard deviation `delta ||phi_i|| / sqrt m` a coordinate. Both densities
    integrate to 1, so the integral is `2 E_p max(0, 1 - p_hat / p)`: bounded, and estimated from `points` samples of p.
    """
    at, _ = four.draw(points, generator=generator)
    log_p = four.log_density(at).logsumexp(-1)
    total = 0.0
    for sample in phi:
        width = delta * sample.norm(dim=-1) / math.sqrt(four.m)
        squares = torch.cdist(at, sample).square() / width.square()
        logs = -squares / 2 - four.m * width.log() - four.m / 2 * math.log(2 * math.pi)
        ratio = (logs.logsumexp(-1) - math.log(len(sample)) - log_p).exp()
        total += 2 * (1 - ratio).clamp_min(0).mean().item()
    return total / len(phi)


def _digits(values: Tensor) -> list[float]:
    """Four significant digits."""
    return [float(f"{v:.4g}") for v in values.tolist()]
