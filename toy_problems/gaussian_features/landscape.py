"""Four Gaussians in feature space, and inputs whose features they are (Petzka et al. 2021, section 6)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from flatlab.landscape import Landscape
from flatlab.rules import non_negative

__all__ = ["LAYOUTS", "LOSSES", "FeatureMap", "FourGaussians", "GaussianFeatures"]

LAYOUTS = ("rectangle", "crossed", "drawn")
CLASSES = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
"""The class of each of the four Gaussians."""


@dataclass(frozen=True)
class Margin:
    """A loss of the output `z` and the label `y`, 1 or -1, with its first two derivatives by `z`, number by number."""

    value: Callable[[Tensor, Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]
    curvature: Callable[[Tensor, Tensor], Tensor]


def _spread(z: Tensor, y: Tensor) -> Tensor:
    return torch.sigmoid(z) * torch.sigmoid(-z)


LOSSES: dict[str, Margin] = {
    "squared": Margin(lambda z, y: (z - y).square(), lambda z, y: 2 * (z - y), lambda z, y: torch.full_like(z, 2.0)),
    "logistic": Margin(lambda z, y: softplus(-y * z), lambda z, y: -y * torch.sigmoid(-y * z), _spread),
}


class GaussianFeatures(Landscape):
    r"""`L(w) = mean_i loss(w . phi_i, y_i)`: a linear classifier without bias on features `phi`, labels 1 and -1.

    `phi` has shape `(..., n, m)` and `y` `(..., n)`; their leading dimensions are data sets side by side and broadcast
    against those of `w`, shape `(..., m)`. `loss` is `"squared"` or `"logistic"`. All methods are closed forms. Raises
    `ValueError` if the shapes do not fit or there is no such loss.

    Source: Petzka et al. 2021, section 6.

    >>> four = GaussianFeatures(torch.tensor([[1., 0.], [0., 2.]]), torch.tensor([1., -1.]))
    >>> w = torch.tensor([1., 1.])
    >>> four.loss(w), four.grad(w), four.relative_flatness(w)         # the residuals are 0 and 3; 2 * (1 + 4) / 2 * 2
    (tensor(4.5000), tensor([0., 6.]), tensor(10.))
    """

    def __init__(self, phi: Tensor, y: Tensor, loss: str = "squared"):
        if phi.ndim < 2 or phi.shape[:-1] != y.shape:
            raise ValueError(f"phi must be (..., n, m) and y (..., n), got {tuple(phi.shape)} and {tuple(y.shape)}")
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
        self.phi, self.y, self.margin, self.name = phi, y, LOSSES[loss], loss
        self.n, self.d = phi.shape[-2:]

    def _at(self, w: Tensor, batch: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        phi, y = (self.phi, self.y) if batch is None else (self.phi[..., batch, :], self.y[..., batch])
        return phi, y, _apply(phi, self.check(w))

    def losses(self, w, batch=None):
        """`loss(w . phi_i, y_i)`: `(..., m) -> (..., b)`."""
        _, y, z = self._at(w, batch)
        return self.margin.value(z, y)

    def per_sample_grads(self, w, batch=None):
        """`loss'(w . phi_i, y_i) phi_i`: `(..., m) -> (..., b, m)`."""
        phi, y, z = self._at(w, batch)
        return self.margin.slope(z, y)[..., None] * phi

    def grad(self, w, batch=None):
        """Their mean: `(..., m) -> (..., m)`."""
        phi, y, z = self._at(w, batch)
        return _pull(self.margin.slope(z, y), phi)

    def hvp(self, w, v, batch=None):
        """`mean_i loss''(w . phi_i, y_i) (phi_i . v) phi_i`: `(..., m), (..., m) -> (..., m)`."""
        phi, y, z = self._at(w, batch)
        return _pull(self.margin.curvature(z, y) * _apply(phi, self.check(v)), phi)

    def hessian(self, w: Tensor) -> Tensor:
        """`mean_i loss''(w . phi_i, y_i) phi_i phi_i^T`: `(..., m) -> (..., m, m)`."""
        phi, y, z = self._at(w, None)
        return (phi * self.margin.curvature(z, y)[..., None]).mT @ phi / self.n

    def relative_flatness(self, w: Tensor) -> Tensor:
        """`kappa = ||w||^2 Tr H(w)` with `Tr H = mean_i loss''(w . phi_i, y_i) ||phi_i||^2`: `(..., m) -> (...)`.

        Source: Petzka et al. 2021, Definition 3, for one output.
        """
        phi, y, z = self._at(w, None)
        return w.square().sum(-1) * (self.margin.curvature(z, y) * phi.square().sum(-1)).mean(-1)

    def minimizer(self, penalty: float = 0.0, steps: int = 60) -> Tensor:
        """The `w` that minimizes `L(w) + penalty ||w||^2`, shape `(..., m)`.

        A linear system for the squared loss; at most `steps` of Newton's method with backtracking for the logistic one.
        Raises `ValueError` if `penalty` is negative, `FloatingPointError` if the steps do not arrive, or if the logistic
        loss has no minimum: no penalty, and classes that can be separated without error.
        """
        ridge = 2 * non_negative("penalty", penalty) * torch.eye(self.d, dtype=self.phi.dtype, device=self.phi.device)
        w = torch.zeros(*self.phi.shape[:-2], self.d, dtype=self.phi.dtype, device=self.phi.device)
        if self.name == "squared":
            return -torch.linalg.solve(self.hessian(w) + ridge, self.grad(w))

        def objective(w: Tensor) -> Tensor:
            return self.loss(w) + penalty * w.square().sum(-1)

        value = objective(w)
        for _ in range(steps):
            down = torch.linalg.solve(self.hessian(w) + ridge, self.grad(w) + 2 * penalty * w)
            # Newton's decrement, in units of the loss: half of it is what the step can still gain.
            if (down * (self.grad(w) + 2 * penalty * w)).sum(-1).max() < 1e-18:
                if penalty == 0 and bool((_apply(self.phi, w) * self.y > 0).all(-1).any()):
                    raise FloatingPointError("separable classes and no penalty: the logistic loss has no minimum")
                return w
            length = torch.ones_like(value)
            for _ in range(30):
                trial = objective(w - length[..., None] * down)
                worse = trial > value + 1e-15
                if not worse.any():
                    break
                length = torch.where(worse, length / 2, length)
            w, value = w - length[..., None] * down, torch.minimum(trial, value)
        raise FloatingPointError(f"Newton did not arrive in {steps} steps at penalty {penalty}")


def _apply(phi: Tensor, w: Tensor) -> Tensor:
    return (phi @ w[..., None])[..., 0]


def _pull(values: Tensor, phi: Tensor) -> Tensor:
    """`mean_i values_i phi_i`."""
    return (values[..., None, :] @ phi)[..., 0, :] / values.shape[-1]


class FourGaussians:
    """A mixture of four Gaussians of equal weight in `m` dimensions, two for each of the classes 1 and -1.

    `centres` has shape `(..., 4, m)`, the first two of class 1; `roots`, shape `(..., 4, m, m)`, hold a matrix `R` each
    with covariance `R R^T`, None for the identity. Leading dimensions are distributions side by side.

    >>> four = FourGaussians.of("rectangle", separation=6.0, m=2)
    >>> four.centres
    tensor([[ 3.,  3.],
            [ 3., -3.],
            [-3.,  3.],
            [-3., -3.]], dtype=torch.float64)
    >>> four.risk(torch.tensor([1., 0.], dtype=torch.float64), "squared")       # (3 - 1)^2 + 1
    tensor(5., dtype=torch.float64)
    """

    def __init__(self, centres: Tensor, roots: Tensor | None = None):
        if centres.ndim < 2 or centres.shape[-2] != 4:
            raise ValueError(f"centres must be (..., 4, m), got {tuple(centres.shape)}")
        if roots is not None and roots.shape != (*centres.shape, centres.shape[-1]):
            raise ValueError(f"roots must be (..., 4, m, m) as the centres, got {tuple(roots.shape)}")
        self.centres, self.roots, self.m = centres, roots, centres.shape[-1]

    @classmethod
    def of(
        cls, layout: str, separation: float, m: int, sets: int | None = None, generator: torch.Generator | None = None
    ) -> FourGaussians:
        """A layout in `m` dimensions, with neighbouring centres `separation` apart; the rest of the dimensions is noise.

        `"rectangle"`: the corners of a square, each class on one side. `"crossed"`: each class on one diagonal, which no
        linear classifier tells apart. `"drawn"`: `sets` different distributions, each with four vertices of a cube (of a
        square for m = 2), drawn without replacement, and covariances `A A^T` with entries of `A` uniform on [-1, 1];
        shifted so that the mean of all is 0. Raises `ValueError` for another layout, `m < 2` or a separation that is
        not positive.
        """
        if layout not in LAYOUTS:
            raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
        if m < 2:
            raise ValueError(f"m must be at least 2, got {m}")
        if not 0 < separation < math.inf:
            raise ValueError(f"separation must be finite and > 0, got {separation}")
        if layout != "drawn":
            corners = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
            if layout == "crossed":
                corners[[1, 3]] = corners[[3, 1]]
            centres = torch.zeros(4, m, dtype=torch.float64)
            centres[:, :2] = separation / 2 * corners
            return cls(centres)
        sets, edges = sets or 1, min(3, m)
        order = torch.rand(sets, 2**edges, generator=generator).argsort(-1)[:, :4]
        vertices = (order[..., None] >> torch.arange(edges)) & 1
        centres = torch.zeros(sets, 4, m, dtype=torch.float64)
        centres[..., :edges] = separation * (vertices - 0.5)
        roots = 2 * torch.rand(sets, 4, m, m, dtype=torch.float64, generator=generator) - 1
        return cls(centres - centres.mean(-2, keepdim=True), roots)

    def draw(self, n: int, sets: int | None = None, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """`n` features of each distribution and the classes of the Gaussians they came from: `(..., n, m)` and `(..., n)`.

        With `sets`, so many data sets of the one distribution.
        """
        shape = (*self.centres.shape[:-2], *(() if sets is None else (sets,)))
        which = torch.randint(4, (*shape, n), generator=generator)
        z = torch.randn(*shape, n, self.m, dtype=torch.float64, generator=generator)
        if self.roots is None:
            centres = self.centres.expand(*shape, 4, self.m)
            return z + torch.take_along_dim(centres, which[..., None], -2), CLASSES[which]
        x = torch.empty_like(z)
        for k in range(4):
            moved = self.centres[..., k : k + 1, :] + z @ self.roots[..., k, :, :].mT
            x = torch.where((which == k)[..., None], moved, x)
        return x, CLASSES[which]

    def log_density(self, phi: Tensor) -> Tensor:
        """Logarithm of the density of each Gaussian, a quarter included, for unit covariances: `(..., m) -> (..., 4)`."""
        if self.roots is not None:
            raise ValueError("log_density is for unit covariances")
        squares = (phi[..., None, :] - self.centres).square().sum(-1)
        return -squares / 2 - self.m / 2 * math.log(2 * math.pi) - math.log(4)

    def label(self, phi: Tensor) -> Tensor:
        """The more likely class at `phi`, 1 or -1: `(..., m) -> (...)`."""
        parts = self.log_density(phi)
        return torch.where(parts[..., :2].logsumexp(-1) >= parts[..., 2:].logsumexp(-1), 1.0, -1.0).to(phi.dtype)

    def risk(self, w: Tensor, loss: str, nodes: int = 64) -> Tensor:
        """The expected `loss` of the classifier `w`: exact for `"squared"` and `"error"` (the share of wrong signs), by a
        Gauss-Hermite rule for `"logistic"`: `(..., m) -> (...)`. Each Gaussian's output is Gaussian, in one dimension.
        """
        mean = _apply(self.centres, w)
        spread = w[..., None, :] if self.roots is None else (w[..., None, None, :] @ self.roots)[..., 0, :]
        var = spread.square().sum(-1)
        if loss == "squared":
            return ((mean - CLASSES).square() + var).mean(-1)
        if loss == "error":
            return torch.special.ndtr(-CLASSES * mean / var.sqrt()).mean(-1)
        if loss != "logistic":
            raise ValueError(f"loss must be one of squared, logistic, error, got {loss!r}")
        at, weight = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(nodes))
        z = mean[..., None] + var.sqrt()[..., None] * at
        return (LOSSES["logistic"].value(z, CLASSES[:, None]) @ weight).mean(-1) / math.sqrt(2 * math.pi)


class FeatureMap(nn.Module):
    """A network of four layers from inputs to features, both of dimension `m`, that can be run backwards exactly.

    Each layer is `z -> h(Q z + b)` with a random orthogonal `Q` and the smooth leaky ReLU

        h(z) = 0.6 z + 0.4 (sqrt(z^2 + 1) - 1),

    whose slope runs from 0.2 to 1. Its inverse is a root of a quadratic, that of `Q` is `Q^T`; no layer stretches by
    more than 5 backwards, so that rounding stays rounding. Raises `ValueError` if `m` or `layers` is below 1. Weights
    are drawn from `seed` in float64 and are no parameters: the map is fixed.

    >>> phi = FeatureMap(3, seed=1)
    >>> features = torch.tensor([[1., -2., 30.]], dtype=torch.float64)
    >>> bool((phi(phi.inverse(features)) - features).abs().max() < 1e-12)
    True
    """

    def __init__(self, m: int, layers: int = 4, seed: int = 0):
        super().__init__()
        if m < 1 or layers < 1:
            raise ValueError(f"m and layers must be at least 1, got {m} and {layers}")
        generator = torch.Generator().manual_seed(seed)
        raw = torch.randn(layers, m, m, dtype=torch.float64, generator=generator)
        self.register_buffer("turns", torch.linalg.qr(raw).Q)
        self.register_buffer("shifts", torch.randn(layers, m, dtype=torch.float64, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        """Features of the inputs: `(..., m) -> (..., m)`."""
        for turn, shift in zip(self.turns, self.shifts, strict=True):
            z = x @ turn.mT + shift
            x = 0.6 * z + 0.4 * ((z * z + 1).sqrt() - 1)
        return x

    def inverse(self, features: Tensor) -> Tensor:
        """The inputs that have these features: `(..., m) -> (..., m)`."""
        x = features
        for turn, shift in zip(self.turns.flip(0), self.shifts.flip(0), strict=True):
            h = x + 0.4  # h = 0.6 z + 0.4 sqrt(z^2 + 1), so (h - 0.6 z)^2 = 0.16 (z^2 + 1)
            # 0.2 z^2 - 1.2 h z + h^2 - 0.16 = 0: the root without cancellation on either side.
            root = (0.16 * h * h + 0.032).sqrt()
            z = torch.where(h > 0, (h * h - 0.16) / (0.6 * h + root), (0.6 * h - root) / 0.2)
            x = (z - shift) @ turn
        return x
