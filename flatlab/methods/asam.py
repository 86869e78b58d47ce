"""ASAM: climbs in a ball that is stretched along large weights."""

from __future__ import annotations

import torch
from torch import Tensor

from flatlab.methods.method import Method, Option
from flatlab.methods.vectors import Gradient, levelled, moving, non_negative, own, unit


def adaptive_ascent(w: Tensor, g: Tensor, rho: float | Tensor, eta: float, scaled: Tensor | None) -> Tensor:
    """`w + rho * T^2 g / ||T g||`; arguments and errors as in `asam`."""
    non_negative("rho", rho), non_negative("eta", eta)
    size = w.abs()
    scale = torch.add(size, eta, out=own(size, eta))
    if scaled is not None:
        scale = torch.where(scaled, scale, 1.0)
    along = scale * levelled(moving(g, rho))[0]
    along = unit(along, own(along))
    along = torch.mul(along, scale, out=own(along, scale))
    if isinstance(rho, Tensor):
        return torch.addcmul(w, along, rho, out=own(along, w, rho))
    return torch.add(w, along, alpha=rho, out=own(along, w))


def asam(w: Tensor, grad: Gradient, rho: float | Tensor = 0.5, eta: float = 0.01, scaled: Tensor | None = None) -> Tensor:
    """Adaptive SAM: `grad(w + rho * T^2 g / ||T g||)` with `g = grad(w)` and `T = diag(|w| + eta)`.

    `scaled`, a boolean tensor of shape `(d,)`, says which coordinates are measured against their own size; the others
    get `T = 1`. None means all of them. The published settings differ in just this (biases in or out), and the best
    `rho` with it: about 0.5 with biases out, 2.0 with them in. Raises `ValueError` if `rho` or `eta` is negative or
    not finite.

    Source: Kwon et al. 2021, equation (10) and Algorithm 1.

    >>> asam(torch.tensor([2.0]), lambda w: 3 * w, rho=0.5, eta=0.0)    # 3 * (2 + 0.5 * 2)
    tensor([9.])
    """
    return grad(adaptive_ascent(w, grad(w), rho, eta, scaled))


class ASAM(Method):
    r"""Adaptive SAM: steps along $\nabla L(w + \rho\, T^2 g / \|T g\|)$ with $T = \mathrm{diag}(|w| + \eta)$.

    - `rho`: the radius of the ascent step relative to the weights' own size, >= 0.
    - `eta`: what keeps a weight of zero from standing still, in the units of the weights, >= 0.
    - `scale_1d`: whether biases and the weights of norm layers (parameters of fewer than two dimensions) are measured
      against their own size, too. False gives them `T = 1` and goes with `rho` about 0.5, True with about 2.0.

    All three are group options. Other arguments and errors as in `SAM`; `eta` is refused where `rho` would be. With
    `rho = 0` it is the base optimizer, to the bit.

    Source: Kwon et al. 2021, equation (10) and Algorithm 1.

    >>> import torch
    >>> from flatlab.optim import ASAM
    >>> w = torch.tensor([[2.0]], requires_grad=True)
    >>> opt = ASAM(torch.optim.SGD([w], lr=0.1), rho=0.5, eta=0.0)
    >>> def closure():
    ...     opt.zero_grad()
    ...     loss = (1.5 * w**2).sum()
    ...     loss.backward()
    ...     return loss
    >>> _ = opt.step(closure)
    >>> w.data                          # 2 - 0.1 * 3 * (2 + 0.5 * 2)
    tensor([[1.1000]])
    """

    rule = staticmethod(asam)
    rho = Option(0.5, "radius of the ascent", least=0, unit="the weights' own size")
    eta = Option(0.01, "added to the size of every weight", least=0, unit="the weights")
    scale_1d = Option(
        False,
        "whether biases and norm layers scale the ascent, too",
        mask="scaled",
        each=lambda p, scale_1d: p.ndim >= 2 or bool(scale_1d),
    )
    source = "Kwon et al. 2021, equation (10) and Algorithm 1"
    about = "adaptive SAM of Kwon et al., whose ball is stretched along large weights"
    colour, dash, place = "#5094b0", "solid", 3
