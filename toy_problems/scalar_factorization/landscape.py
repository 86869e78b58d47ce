"""One number as a product of two weights: a curved valley of minima (Zhou et al., Example 1)."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from flatlab.landscape import Landscape
from flatlab.measures.noise import minibatch_factor

__all__ = ["ScalarFactorization"]


class ScalarFactorization(Landscape):
    r"""`L(w) = (1 / 2n) sum_i (w_1 w_2 x_i - y_i)^2` on `n` pairs: the minima are the hyperbola `w_1 w_2 = b / a`.

    Here `a` is the mean of $x_i^2$ and `b` that of $x_i y_i$. The loss depends on `w`, shape `(..., 2)`, by the product
    $p = w_1 w_2$ only; all methods are closed forms. With the residuals $r_i = p x_i - y_i$ the gradient of a term is
    $r_i x_i\, (w_2, w_1)$, so that

    - $\mathrm{Tr}\, H = a \lVert w\rVert^2$,
    - $\mathrm{Tr}\, C = \hat\alpha\, V(p)\, \lVert w\rVert^2$ with $V$ the variance of $r_i x_i$, a quadratic in `p`.

    Raises `ValueError` if `x` and `y` are no two equally long vectors.

    Source: Zhou et al. ("Beyond Sharpness"), Example 1.

    >>> f = ScalarFactorization(torch.tensor([1., 2.]), torch.tensor([1., 2.]))
    >>> f.loss(torch.tensor([[2., 0.5], [2., 1.]])), f.grad(torch.tensor([2., 1.]))          # p = 1 fits, p = 2 does not
    (tensor([0.0000, 1.2500]), tensor([2.5000, 5.0000]))
    >>> f.hessian_trace(torch.tensor([2., 0.5])), f.gradient_noise(torch.tensor([2., 1.]))
    (tensor(10.6250), tensor(11.2500))
    """

    d = 2

    def __init__(self, x: Tensor, y: Tensor):
        if x.ndim != 1 or x.shape != y.shape:
            raise ValueError(f"x and y must be vectors of one length, got {tuple(x.shape)} and {tuple(y.shape)}")
        self.x, self.y, self.n = x, y, len(x)

    @classmethod
    def sample(
        cls, n: int = 5000, theta: tuple[float, float] = (0.1, -0.1), scale: float = 2.0, noise: float = 1.0, seed: int = 0
    ) -> ScalarFactorization:
        """The toy on `n` random pairs: `x = scale N(0, 1)`, `y = theta_1 theta_2 x + noise N(0, 1)`, in float64."""
        z = torch.randn(2, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        return cls(scale * z[0], theta[0] * theta[1] * scale * z[0] + noise * z[1])

    @cached_property
    def a(self) -> Tensor:
        """Mean of `x_i^2`, the curvature in `p`."""
        return self.x.square().mean()

    @cached_property
    def b(self) -> Tensor:
        """Mean of `x_i y_i`."""
        return (self.x * self.y).mean()

    @property
    def valley(self) -> Tensor:
        """The product `b / a` at which the loss is least."""
        return self.b / self.a

    @property
    def least_norm(self) -> Tensor:
        """The least `||w||` on the valley, `sqrt(2 |b / a|)`, where `|w_1| = |w_2|`."""
        return (2 * self.valley.abs()).sqrt()

    def variance(self, p: Tensor) -> Tensor:
        """`V(p)`, the variance of `r_i x_i` over the `n` terms, of the shape of `p`."""
        q2, q1, q0 = self._variance
        return q2 * p * p - 2 * q1 * p + q0

    def hessian_trace(self, w: Tensor) -> Tensor:
        """`Tr H = a ||w||^2`: `(..., 2) -> (...)`."""
        return self.a * self.check(w).square().sum(-1)

    def gradient_noise(self, w: Tensor, batch_size: int = 1) -> Tensor:
        """`Tr C = (n - b) / (b (n - 1)) V(w_1 w_2) ||w||^2`, the noise of minibatches of b drawn without replacement:
        `(..., 2) -> (...)`.
        """
        return minibatch_factor(self.n, batch_size) * self.variance(self.check(w).prod(-1)) * w.square().sum(-1)

    def gradient_noise_grad(self, w: Tensor, batch_size: int = 1) -> Tensor:
        """Gradient of `gradient_noise`: `(..., 2) -> (..., 2)`."""
        (q2, q1, _), p = self._variance, self.check(w).prod(-1, keepdim=True)
        steep = 2 * (q2 * p - q1) * w.square().sum(-1, keepdim=True)
        return minibatch_factor(self.n, batch_size) * (steep * w.flip(-1) + 2 * self.variance(p) * w)

    def resting_product(self, weight: float) -> float:
        """Where `L + weight * V(w_1 w_2) ||w||^2` has the minimum next to the valley: the product `w_1 w_2` there.

        For the penalty `lambda Tr C` of minibatches of b, `weight` is `lambda (n - b) / (b (n - 1))`. At the minimum
        `|w_1| = |w_2|`, which leaves a quadratic equation for the product. It is 0 where the
        penalty leaves no other minimum; where the data have little noise, no weight brings it far from the valley.

        Raises `ValueError` if `weight` is negative or not finite.

        >>> f = ScalarFactorization.sample(theta=(1, 1), seed=3)
        >>> [round(f.resting_product(weight), 2) for weight in (0.0, 0.1, 10.0)]
        [1.01, 0.97, 0.95]
        >>> ScalarFactorization.sample(theta=(0.1, -0.1), seed=3).resting_product(0.1)
        0.0
        """
        if not (weight >= 0 and math.isfinite(weight)):
            raise ValueError(f"weight must be finite and >= 0, got {weight}")
        q2, q1, q0 = (q.item() for q in self._variance)
        a, b = self.a.item(), self.b.item()
        side = math.copysign(1.0, b)
        # The penalized loss along |p| = s rises by 2 A s^2 + 2 B s + C; its minimum is the larger root.
        A, B, C = 3 * weight * q2, a / 2 - 4 * weight * q1 * side, 2 * weight * q0 - abs(b)
        inside = B * B - 2 * A * C
        if inside < 0:
            return 0.0
        top = B + math.sqrt(inside)  # the root as C over this: no digits lost where A is small, or 0
        return side * max(0.0, -C / top if B > 0 else (math.sqrt(inside) - B) / (2 * A))

    @cached_property
    def _variance(self) -> tuple[Tensor, Tensor, Tensor]:
        xx, xy = self.x.square() - self.a, self.x * self.y - self.b
        return xx.square().mean(), (xx * xy).mean(), xy.square().mean()

    def _picked(self, batch: Tensor | None) -> tuple[Tensor, Tensor]:
        return (self.x, self.y) if batch is None else (self.x[batch], self.y[batch])

    def _slope(self, w: Tensor, batch: Tensor | None) -> Tensor:
        x, y = self._picked(batch)
        a, b = (self.a, self.b) if batch is None else (x.square().mean(), (x * y).mean())
        return a * self.check(w).prod(-1, keepdim=True) - b

    def losses(self, w, batch=None):
        """`(w_1 w_2 x_i - y_i)^2 / 2`: `(..., 2) -> (..., b)`."""
        x, y = self._picked(batch)
        return (self.check(w).prod(-1, keepdim=True) * x - y).square() / 2

    def per_sample_grads(self, w, batch=None):
        """`r_i x_i (w_2, w_1)`: `(..., 2) -> (..., b, 2)`."""
        x, y = self._picked(batch)
        slopes = (self.check(w).prod(-1, keepdim=True) * x - y) * x
        return slopes[..., None] * w.flip(-1)[..., None, :]

    def grad(self, w, batch=None):
        """`(a p - b) (w_2, w_1)`: `(..., 2) -> (..., 2)`."""
        return self._slope(w, batch) * w.flip(-1)

    def hvp(self, w, v, batch=None):
        """`a <u, v> u + (a p - b) (v_2, v_1)` with `u = (w_2, w_1)`: `(..., 2), (..., 2) -> (..., 2)`."""
        x, _ = self._picked(batch)
        u, slope = w.flip(-1), self._slope(w, batch)
        return x.square().mean() * (u * self.check(v)).sum(-1, keepdim=True) * u + slope * v.flip(-1)
