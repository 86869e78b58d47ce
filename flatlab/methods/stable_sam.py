"""StableSAM: SAM's direction with the length of the gradient before the climb."""

from __future__ import annotations

from torch import Tensor

from flatlab.methods.method import Method, Option
from flatlab.methods.vectors import Gradient, non_negative, stepped, with_length_of


def stable_sam(w: Tensor, grad: Gradient, rho: float | Tensor = 0.05) -> Tensor:
    """SAM's direction with the plain gradient's length: `||g|| s / ||s||`, `s = grad(w + rho * g / ||g||)`.

    Zero where `s` is zero. Raises `ValueError` if `rho` is negative or not finite.

    Source: Tan et al. 2025, Algorithm 1.

    >>> import torch
    >>> stable_sam(torch.tensor([2.0]), lambda w: 3 * w, rho=0.5)
    tensor([6.])
    """
    g = grad(w)
    return with_length_of(g, grad(stepped(w, g, non_negative("rho", rho))))


class StableSAM(Method):
    r"""SAM's direction with the plain gradient's length: $\|g\|\, s / \|s\|$, $s = \nabla L(w + \rho\, g / \|g\|)$.

    Arguments and errors as in `SAM`, but `no_sync` raises `ValueError`: each worker would give the averaged direction
    the length of its own first gradient, and the replicas would drift apart. With `rho = 0` it is the base optimizer
    up to rounding.

    Source: Tan et al. 2025, Algorithm 1.

    >>> import torch
    >>> from flatlab.optim import StableSAM
    >>> w = torch.tensor([2.0], requires_grad=True)
    >>> opt = StableSAM(torch.optim.SGD([w], lr=0.1), rho=0.5)
    >>> def closure():
    ...     opt.zero_grad()
    ...     loss = (1.5 * w**2).sum()
    ...     loss.backward()
    ...     return loss
    >>> _ = opt.step(closure)
    >>> w.data                          # 2 - 0.1 * 6
    tensor([1.4000])
    """

    rule = staticmethod(stable_sam)
    rho = Option(0.05, "radius of the ascent", least=0, unit="the weights")
    source = "Tan et al. 2025, Algorithm 1"
    about = "SAM with the far gradient brought to the length of the near one, after Tan et al."
    colour, dash, place = "#0072b2", "dash", 2
    local_ascent = False
