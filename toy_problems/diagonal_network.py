"""Sparse regression by a diagonal linear network (Zhou et al. 2026, section 3.2 and Figure 4; Woodworth et al. 2020)."""

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

__all__ = ["DiagonalNetwork", "SparseRegression", "implicit_regularizer"]


class DiagonalNetwork(Landscape):
    r"""`L(w) = scale * mean_i ((u^2 - v^2) . x_i - y_i)^2` with `w = (u, v)`: a linear model that is not linear in `w`.

    `x` has shape `(..., n, features)` and `y` `(..., n)`; their leading dimensions are problems side by side and
    broadcast against those of `w`, shape `(..., 2 features)`. `scale = 1/4` is the paper's. All methods are closed
    forms. Raises `ValueError` if the shapes do not fit or `scale` is not positive.

    Source: Zhou et al. 2026, equation (12); Woodworth et al. 2020, section 4.

    >>> net = DiagonalNetwork(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([3.0, 0.0]))
    >>> w = torch.tensor([1.0, 1.0, 0.0, 1.0])
    >>> net.predictor(w), net.loss(w), net.grad(w)              # the residuals are -2 and 0
    (tensor([1., 0.]), tensor(0.5000), tensor([-1.,  0.,  0.,  0.]))
    """

    def __init__(self, x: Tensor, y: Tensor, scale: float = 0.25):
        if x.ndim < 2 or x.shape[:-1] != y.shape:
            raise ValueError(f"x must be (..., n, features) and y (..., n), got {tuple(x.shape)} and {tuple(y.shape)}")
        if not 0 < scale < float("inf"):
            raise ValueError(f"scale must be finite and > 0, got {scale}")
        self.x, self.y, self.scale = x, y, scale
        self.n, self.d = x.shape[-2], 2 * x.shape[-1]

    def predictor(self, w: Tensor) -> Tensor:
        """The coefficients `u^2 - v^2` of the linear model: `(..., 2 features) -> (..., features)`."""
        u, v = self.check(w).chunk(2, -1)
        return u * u - v * v

    def losses(self, w, batch=None):
        """`scale * r_i^2` with the residuals `r`: `(..., d) -> (..., b)`."""
        return self.scale * self._residuals(self.predictor(w), *self._data(batch)).square()

    def grad(self, w, batch=None):
        """`4 scale (p u, -p v)` with `p = mean_i r_i x_i`: `(..., d) -> (..., d)`."""
        x, y = self._data(batch)
        p = self._pull(self._residuals(self.predictor(w), x, y), x)
        return 4 * self.scale * torch.cat([p, -p], -1) * w

    def per_sample_grads(self, w, batch=None):
        """`4 scale r_i (x_i u, -x_i v)`: `(..., d) -> (..., b, d)`."""
        x, y = self._data(batch)
        p = self._residuals(self.predictor(w), x, y)[..., None] * x
        return 4 * self.scale * torch.cat([p, -p], -1) * w[..., None, :]

    def hvp(self, w, v, batch=None):
        """`H(w) v`: `(..., d), (..., d) -> (..., d)`."""
        x, y = self._data(batch)
        (a, b), (da, db) = self.check(w).chunk(2, -1), self.check(v).chunk(2, -1)
        p = self._pull(self._residuals(self.predictor(w), x, y), x)
        turned = self._pull(_apply(x, 2 * (a * da - b * db)), x)
        return 4 * self.scale * torch.cat([turned * a + p * da, -turned * b - p * db], -1)

    def factor(self, w: Tensor, which: int) -> Landscape:
        """The loss as a function of `u` alone (`which = 0`) or of `v` (`1`), the other one as it stands in `w`."""
        return _Factor(self, w, which)

    def _data(self, batch: Tensor | None) -> tuple[Tensor, Tensor]:
        return (self.x, self.y) if batch is None else (self.x[..., batch, :], self.y[..., batch])

    @staticmethod
    def _residuals(predictor: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return _apply(x, predictor) - y

    @staticmethod
    def _pull(r: Tensor, x: Tensor) -> Tensor:
        """`mean_i r_i x_i`."""
        return (r[..., None, :] @ x)[..., 0, :] / r.shape[-1]


def _apply(x: Tensor, v: Tensor) -> Tensor:
    return (x @ v[..., None])[..., 0]


class _Factor(Landscape):
    def __init__(self, net: DiagonalNetwork, w: Tensor, which: int):
        self.net, self.n, self.d = net, net.n, net.d // 2
        self.sign = 1 - 2 * which
        self.other = -self.sign * w.chunk(2, -1)[1 - which].square()

    def _residuals(self, a, batch):
        x, y = self.net._data(batch)
        return self.net._residuals(self.sign * a * a + self.other, x, y), x

    def losses(self, w, batch=None):
        return self.net.scale * self._residuals(self.check(w), batch)[0].square()

    def grad(self, w, batch=None):
        return 4 * self.net.scale * self.sign * w * self.net._pull(*self._residuals(self.check(w), batch))

    def per_sample_grads(self, w, batch=None):
        r, x = self._residuals(self.check(w), batch)
        return 4 * self.net.scale * self.sign * w[..., None, :] * r[..., None] * x


def implicit_regularizer(theta: Tensor, alpha: float | Tensor) -> Tensor:
    r"""`Q = alpha^2 sum_i q(theta_i / alpha^2)` with `q(z) = 2 - sqrt(4 + z^2) + z asinh(z / 2)`: `(..., d) -> (...)`.

    Of all interpolators of the data, gradient flow from `u = v = alpha` finds the one that minimizes it. For large
    `alpha` it is `||theta||_2^2 / (4 alpha^2)`, for small `alpha` `||theta||_1 log(1 / alpha^2)`, both up to lower
    order. `alpha` is the initialization, > 0, a number or one a coordinate.

    Source: Woodworth et al. 2020, Theorem 1.

    >>> theta = torch.tensor([3.0, -4.0], dtype=torch.float64)
    >>> implicit_regularizer(theta, 100.0) * 4 * 100**2                     # 9 + 16
    tensor(25.0000, dtype=torch.float64)
    >>> implicit_regularizer(theta, 1e-30) / math.log(1e60)                 # 3 + 4, slowly
    tensor(7.0133, dtype=torch.float64)
    """
    square = torch.as_tensor(alpha, dtype=theta.dtype) ** 2
    if not bool((square > 0).all()):
        raise ValueError(f"alpha must be > 0, got {alpha}")
    z = theta / square
    root = (4 + z * z).sqrt()
    # 2 - root loses all digits for small z; its conjugate form does not.
    return (square * (z * torch.asinh(z / 2) - z * z / (2 + root))).sum(-1)


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
        test = DiagonalNetwork(x_test, _apply(x_test, self.truth()), self.scale)
        return DiagonalNetwork(x, y, self.scale), test, w0

    def _one(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        def normal(*shape):
            return torch.randn(*shape, dtype=torch.float64, generator=generator)

        x = normal(self.samples, self.features)
        y = _apply(x, self.truth()) + self.noise * normal(self.samples)
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
