"""Rules that average gradients: over points of a ball (LSAM), over micro-batches that climb apart (m-SAM)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from flatlab.rules.ascent import sam
from flatlab.rules.vectors import Gradient, non_negative, unit

__all__ = ["ball", "lsam", "m_sam", "micro_gradients"]


def ball(w: Tensor, rho: float | Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Uniform in the ball of radius `rho` about 0, one draw for each row of `w`: `(..., d) -> (..., d)`.

    A Gaussian vector over its norm, times `rho * U^(1/d)` with `U` uniform on (0, 1). `generator` must be on the
    device of `w`; None takes torch's own.

    >>> length = ball(torch.zeros(100_000, 2), 3.0, torch.Generator().manual_seed(0)).norm(dim=-1)
    >>> bool((length < 3).all()), (length < 1.5).float().mean().round(decimals=2)       # a quarter of the area
    (True, tensor(0.2500))
    """
    direction = torch.randn(w.shape, generator=generator, dtype=w.dtype, device=w.device)
    u = torch.rand((*w.shape[:-1], 1), generator=generator, dtype=w.dtype, device=w.device)
    return rho * u ** (1 / w.shape[-1]) * unit(direction)


def check_draws(k: int, antithetic: bool) -> None:
    """A `ValueError` if `k` draws cannot be made: fewer than 1, or an odd number of antithetic ones."""
    if k < 1 or k != int(k) or (antithetic and k % 2):
        raise ValueError(f"k must be a whole number >= 1{', and even with antithetic=True' * antithetic}, got {k}")


def lsam(
    w: Tensor,
    grad: Gradient,
    rho: float | Tensor = 0.05,
    k: int = 2,
    *,
    antithetic: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Local-average SAM: `mean_i grad(w + u_i)` over `k` draws `u_i`, uniform in the ball of radius `rho`.

    An unbiased estimate of the gradient of the loss averaged over that ball, which on a quadratic of Hessian `H` is
    $L(w) + \frac{\rho^2}{2 (d + 2)} \mathrm{Tr}\, H$. `antithetic` draws pairs `u, -u`: half the draws, and no
    error of odd order in `u`, so on a quadratic none at all. `rho` is in the units of `w`; every row of `w` has draws
    of its own. `grad` is called `k` times.

    Raises `ValueError` if `rho` is negative or not finite, `k` is below 1, or odd with `antithetic`.

    Source: "Local-Integrability Flatness" (LSAM), Algorithm 1 and equation (4).

    >>> lsam(torch.tensor([2.0]), lambda w: 3 * w, rho=0.5, k=2, antithetic=True)       # 3 * mean(2 + u, 2 - u)
    tensor([6.])
    """
    non_negative("rho", rho)
    check_draws(k, antithetic)
    total = torch.zeros_like(w)
    for _ in range(k // 2 if antithetic else k):
        u = ball(w, rho, generator)
        total = total + grad(w + u)
        if antithetic:
            total = total + grad(w - u)
    return total / k


def m_sam(w: Tensor, grads: Gradient, rho: float | Tensor = 0.05) -> Tensor:
    """m-SAM: the mean over micro-batches of SAM's gradient, each of them climbing along its own gradient.

    `grads` gives the gradient of each of `q` micro-batches at a point of its own, `(..., q, d) -> (..., q, d)`, and
    takes `(..., 1, d)` for one point that all share; `micro_gradients(landscape, m)` is such a function. Parts of
    one sample are the per-sample perturbation, a single one of all `n` is `sam`. `rho` is in the units of `w`.

    Raises `ValueError` if `rho` is negative or not finite.

    Source: Foret et al. 2021, section 4.1 (m-sharpness); Andriushchenko and Flammarion 2022, equation (2).

    >>> slopes = torch.tensor([[3.0], [-1.0]])          # l_1 = 1.5 w^2, l_2 = -0.5 w^2
    >>> m_sam(torch.tensor([2.0]), lambda w: slopes * w, rho=0.5)       # (3 * 2.5 - 1 * 1.5) / 2
    tensor([3.])
    """
    if isinstance(rho, Tensor) and rho.ndim:
        rho = rho.unsqueeze(-2)
    return sam(w.unsqueeze(-2), grads, rho).mean(-2)


def check_cut(n: int, m: int) -> None:
    """A `ValueError` if `n` samples cannot be cut into micro-batches of `m`."""
    if m < 1 or m != int(m) or n % m:
        raise ValueError(
            f"m must be a whole number >= 1 that divides the {n} samples, got {m}: "
            "make the batches equal (DataLoader's drop_last=True), or take another m"
        )


def micro_gradients(landscape: Any, m: int, batch: Tensor | None = None) -> Gradient:
    """The gradients of a landscape's micro-batches of `m` terms, each at its own point, in one batched pass.

    The function returned maps `(..., q, d) -> (..., q, d)`, or `(..., 1, d)` where all share a point, for the
    `q = b / m` micro-batches of the `b` terms in `batch` (all `n` if None), cut in their order. It holds `q`
    gradients at once: `q * d` numbers for each point.

    Raises `ValueError` if `m` is no whole number >= 1 or does not divide `b`: a ragged part would be perturbed by
    another sharpness than the others.

    >>> from flatlab.landscape import Landscape
    >>> class Bowls(Landscape):
    ...     d, n = 1, 4
    ...     def losses(self, w, batch=None):
    ...         return torch.arange(4.0)[... if batch is None else batch] * w**2
    >>> micro_gradients(Bowls(), 2)(torch.tensor([[1.0]]))      # the means of 0, 2 and of 4, 6
    tensor([[1.],
            [5.]])
    """
    index = torch.arange(landscape.n) if batch is None else batch
    check_cut(len(index), m)
    parts = index.view(-1, m)

    def gradient(w: Tensor) -> Tensor:
        each = parts.to(w.device)
        if len(each) == 1:  # no vmap of one: it slows convolutions down
            return landscape.grad(w.squeeze(-2), each[0]).unsqueeze(-2)
        w = w.expand(*w.shape[:-2], len(each), w.shape[-1])
        rows = vmap(landscape.grad)  # over micro-batches
        if w.ndim == 2:
            return rows(w, each)
        return vmap(rows, in_dims=(0, None))(w.reshape(-1, *w.shape[-2:]), each).reshape(w.shape)

    return gradient
