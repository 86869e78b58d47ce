"""Sparse regression by a diagonal linear network (Zhou et al. 2026, section 3.2 and Figure 4; Woodworth et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor

from flatlab.landscape import Landscape

__all__ = ["DiagonalNetwork", "implicit_regularizer"]


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
        turned = self._pull(responses(x, 2 * (a * da - b * db)), x)
        return 4 * self.scale * torch.cat([turned * a + p * da, -turned * b - p * db], -1)

    def factor(self, w: Tensor, which: int) -> Landscape:
        """The loss as a function of `u` alone (`which = 0`) or of `v` (`1`), the other one as it stands in `w`."""
        return _Factor(self, w, which)

    def _data(self, batch: Tensor | None) -> tuple[Tensor, Tensor]:
        return (self.x, self.y) if batch is None else (self.x[..., batch, :], self.y[..., batch])

    @staticmethod
    def _residuals(predictor: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return responses(x, predictor) - y

    @staticmethod
    def _pull(r: Tensor, x: Tensor) -> Tensor:
        """`mean_i r_i x_i`."""
        return (r[..., None, :] @ x)[..., 0, :] / r.shape[-1]


def responses(x: Tensor, v: Tensor) -> Tensor:
    """`x . v`, row by row: `(..., n, features), (..., features) -> (..., n)`."""
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

    >>> import math
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
