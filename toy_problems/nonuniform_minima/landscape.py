"""Two minima of one curvature whose terms disagree at one of them only (Wu, Ma and E 2018; Zhou et al., Figure 1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flatlab import rules
from flatlab.landscape import Landscape

__all__ = ["METHODS", "NonuniformMinima", "linearized", "slope", "step"]

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
    them to `toy_problems.nonuniform_minima.random_product`. Raises `ValueError` for another method.

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
