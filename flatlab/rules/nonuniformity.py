"""Rules that climb by the noise of the gradient: in the ellipsoid of its covariance, or along its growth."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from flatlab.rules.vectors import Gradient, non_negative, stepped

__all__ = ["csam", "sam_gcm"]

Form = Literal["full", "diagonal", "low_rank"]


def check_metric(form: Form, damping: float) -> None:
    """A `ValueError` if there is no such form of the covariance, or it would have no inverse."""
    non_negative("damping", damping)
    if form not in ("full", "diagonal", "low_rank"):
        raise ValueError(f"form must be 'full', 'diagonal' or 'low_rank', got {form!r}")
    if form == "low_rank" and damping == 0:
        raise ValueError("damping must be > 0 with form='low_rank', got 0: the covariance has no inverse")


def sam_gcm(
    w: Tensor,
    grad: Gradient,
    samples: Gradient,
    rho: float | Tensor = 0.05,
    *,
    form: Form = "full",
    damping: float = 0.01,
    relative: bool = True,
) -> Tensor:
    r"""SAM within the ellipsoid of the gradient covariance: `grad(w + rho * D^-1 g / sqrt(g . D^-1 g))`.

    `samples(w)` gives per-sample gradients, `(..., d) -> (..., b, d)` (`Landscape.per_sample_grads`); `g` is their
    mean, `C` their covariance over `b`, and `D = C + damping * I`, with `damping` in units of the mean variance
    `Tr C / d` if `relative`, else in those of `C`, squared gradients. Without damping a direction free of noise would
    be climbed without end; an absolute one means something else as soon as the loss is scaled.

    - `form="full"`: `D` as it is, `d^3` operations, for toys; `damping=0` is allowed where `C` has an inverse.
    - `"low_rank"`: the same `D` by the Woodbury identity on the `b` gradients, `b^2 d` operations, for networks.
    - `"diagonal"`: the diagonal of `D`.

    The ascent has `eps . D eps = rho^2`: `rho` has the units of the loss, its length in `w` varies with the noise,
    and noisy directions are climbed less. The factor `(n - b) / (b (n - 1))` of a minibatch's own covariance is left
    out: it divides `rho` by its root. Where there is no noise at all, so no ellipsoid, there is no ascent
    (`relative`).

    Raises `ValueError` if `rho` or `damping` is negative or not finite, `form` is none of the three,
    `form="low_rank"` comes without damping, or there is but one sample.

    Source: Zhou et al. ("Beyond Sharpness"), Lemma 1 and equation (11).

    >>> spread = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])      # C = diag(0.5, 2)
    >>> seen = []
    >>> def grad(w):
    ...     seen.append(w)
    ...     return w
    >>> w = torch.tensor([1.0, 2.0])
    >>> d = sam_gcm(w, grad, lambda w: w + spread, rho=2.0, damping=0.0)
    >>> seen[0] - w             # 2 * (1 / 0.5, 2 / 2) / sqrt(1 / 0.5 + 4 / 2)
    tensor([2., 1.])
    """
    non_negative("rho", rho)
    check_metric(form, damping)
    gs = samples(w)
    b, d = gs.shape[-2:]
    if b < 2:
        raise ValueError(f"samples(w) must give at least 2 gradients, got {b}: one has no covariance")
    g = gs.mean(-2)
    a = (gs - g.unsqueeze(-2)) / math.sqrt(b)  # C = a^T a
    ridge = damping * (a.square().sum((-2, -1)).unsqueeze(-1) / d if relative else torch.ones_like(g[..., :1]))
    x = _solve(a, ridge, g, form)
    energy = (g * x).sum(-1, keepdim=True)
    climbs = energy > 0
    if damping > 0:
        climbs = climbs & (ridge > 0)
    length = rho / torch.where(climbs, energy, 1.0).sqrt()
    return grad(w + torch.where(climbs, length * x, 0.0))


def _solve(a: Tensor, ridge: Tensor, g: Tensor, form: Form) -> Tensor:
    """`(a^T a + ridge I)^-1 g`: `(..., b, d), (..., 1), (..., d) -> (..., d)`."""
    if form == "diagonal":
        return g / (a.square().sum(-2) + ridge)
    if form == "full":
        c = a.mT @ a + torch.diag_embed(ridge.expand_as(g))
        return torch.linalg.solve_ex(c, g.unsqueeze(-1))[0].squeeze(-1)
    small = a @ a.mT
    inner = small + torch.diag_embed(ridge.expand(small.shape[:-1]))
    y = torch.linalg.solve_ex(inner, a @ g.unsqueeze(-1))[0]
    return (g - (a.mT @ y).squeeze(-1)) / ridge


def csam(
    w: Tensor,
    grad: Gradient,
    mean: Tensor | None = None,
    rho: float | Tensor = 0.1,
    rho_cov: float | Tensor = 0.2,
    ema: float = 0.9,
) -> tuple[Tensor, Tensor]:
    """Climbs where the gradient noise grows; returns the direction and the moving average for the next step.

    With `g1 = grad(w)`, `g2 = grad(w + rho * g1 / ||g1||)` and `m = ema * mean + (1 - ema) * (g2 - g1)`, the
    direction is `grad(w + rho_cov * d / ||d||)` where `d = g2 - g1 - m`. `mean`, of shape `(..., d)`, is the `m` of
    the step before; None, at the first, counts as 0. `ema` is the paper's alpha; `rho` and `rho_cov` are radii, in
    the units of `w`.

    Three readings of the printed algorithm are settled here. The radius `rho_cov` is applied once, as in equation
    (14): lines 6 and 7 both multiply by it. The sign is that of line 6, the batch's difference minus the average. And
    as `m` holds the new difference already, `d = ema * (g2 - g1 - mean)`: `ema = 0` would leave `0 / 0`, and is
    refused. No constant is added to a norm; a zero `d` has no direction and leaves the plain gradient.

    Raises `ValueError` if `rho` or `rho_cov` is negative or not finite, or `ema` not between 0 and 1.

    Source: Zhou et al. ("Beyond Sharpness"), Algorithm 1.

    >>> w, grad = torch.tensor([2.0]), lambda w: 3 * w
    >>> csam(w, grad, None, rho=0.5, rho_cov=1.0, ema=0.5)        # 3 * (2 + 1), and (7.5 - 6) / 2
    (tensor([9.]), tensor([0.7500]))
    """
    non_negative("rho", rho)
    non_negative("rho_cov", rho_cov)
    if not isinstance(ema, Tensor) and not 0 < ema < 1:
        raise ValueError(f"ema must be between 0 and 1, got {ema}")
    g1 = grad(w)
    grown = grad(stepped(w, g1, rho)) - g1
    m = (1 - ema) * grown if mean is None else ema * mean + (1 - ema) * grown
    return grad(stepped(w, grown - m, rho_cov)), m
