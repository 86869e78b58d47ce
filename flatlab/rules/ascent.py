"""Rules that climb once, along the gradient, and descend along the gradient found there."""

from __future__ import annotations

import torch
from torch import Tensor

from flatlab.rules.vectors import Gradient, non_negative, norm, stepped, unit

__all__ = ["asam", "gd", "sam", "stable_asam", "stable_sam", "usam"]


def gd(w: Tensor, grad: Gradient) -> Tensor:
    """Gradient descent: `grad(w)`. With a minibatch gradient this is SGD.

    >>> gd(torch.tensor([2.0]), lambda w: 3 * w)
    tensor([6.])
    """
    return grad(w)


def sam(w: Tensor, grad: Gradient, rho: float | Tensor = 0.05) -> Tensor:
    """Sharpness-aware minimization: `grad(w + rho * g / ||g||)` with `g = grad(w)`.

    `rho` is the radius of the ascent step, in the units of `w`. Raises `ValueError` if it is negative or not finite.

    Source: Foret et al. 2021, equation (2) and Algorithm 1.

    >>> sam(torch.tensor([2.0]), lambda w: 3 * w, rho=0.5)      # 3 * (2 + 0.5)
    tensor([7.5000])
    """
    return grad(stepped(w, grad(w), non_negative("rho", rho)))


def usam(w: Tensor, grad: Gradient, rho: float | Tensor = 0.05) -> Tensor:
    """Unnormalized SAM: `grad(w + rho * grad(w))`; `rho` multiplies the gradient, it is not a radius.

    Raises `ValueError` if `rho` is negative or not finite.

    Source: Andriushchenko and Flammarion 2022, equation (3).

    >>> usam(torch.tensor([2.0]), lambda w: 3 * w, rho=0.5)     # 3 * (2 + 0.5 * 6)
    tensor([15.])
    """
    return grad(w + non_negative("rho", rho) * grad(w))


def _adaptive_ascent(w: Tensor, g: Tensor, rho: float | Tensor, eta: float, scaled: Tensor | None) -> Tensor:
    scale = w.abs() + non_negative("eta", eta)
    if scaled is not None:
        scale = torch.where(scaled, scale, 1.0)
    return w + non_negative("rho", rho) * scale * unit(scale * g)


def asam(
    w: Tensor, grad: Gradient, rho: float | Tensor = 0.5, eta: float = 0.01, scaled: Tensor | None = None
) -> Tensor:
    """Adaptive SAM: `grad(w + rho * T^2 g / ||T g||)` with `g = grad(w)` and `T = diag(|w| + eta)`.

    `scaled`, a boolean tensor of shape `(d,)`, says which coordinates are measured against their own size; the others
    get `T = 1`. None means all of them. The published settings differ in just this (biases in or out), and the best
    `rho` with it: about 0.5 with biases out, 2.0 with them in. Raises `ValueError` if `rho` or `eta` is negative or
    not finite.

    Source: Kwon et al. 2021, equation (10) and Algorithm 1.

    >>> asam(torch.tensor([2.0]), lambda w: 3 * w, rho=0.5, eta=0.0)    # 3 * (2 + 0.5 * 2)
    tensor([9.])
    """
    return grad(_adaptive_ascent(w, grad(w), rho, eta, scaled))


def stable_sam(w: Tensor, grad: Gradient, rho: float | Tensor = 0.05) -> Tensor:
    """SAM's direction with the plain gradient's length: `||g|| s / ||s||`, `s = grad(w + rho * g / ||g||)`.

    Zero where `s` is zero. Raises `ValueError` if `rho` is negative or not finite.

    Source: Tan et al. 2025, Algorithm 1.

    >>> stable_sam(torch.tensor([2.0]), lambda w: 3 * w, rho=0.5)
    tensor([6.])
    """
    g = grad(w)
    return norm(g) * unit(grad(stepped(w, g, non_negative("rho", rho))))


def stable_asam(
    w: Tensor, grad: Gradient, rho: float | Tensor = 0.5, eta: float = 0.01, scaled: Tensor | None = None
) -> Tensor:
    """ASAM's direction with the plain gradient's length; arguments and errors as in `asam`.

    Source: Tan et al. 2025, section 5.3.

    >>> stable_asam(torch.tensor([2.0]), lambda w: 3 * w, rho=0.5)
    tensor([6.])
    """
    g = grad(w)
    return norm(g) * unit(grad(_adaptive_ascent(w, g, rho, eta, scaled)))
