"""StableASAM: ASAM's direction with the length of the gradient before the climb."""

from __future__ import annotations

from torch import Tensor

from flatlab.methods.asam import ASAM, adaptive_ascent
from flatlab.methods.vectors import Gradient, with_length_of


def stable_asam(
    w: Tensor, grad: Gradient, rho: float | Tensor = 0.5, eta: float = 0.01, scaled: Tensor | None = None
) -> Tensor:
    """ASAM's direction with the plain gradient's length; arguments and errors as in `asam`.

    Source: Tan et al. 2025, section 5.3.

    >>> import torch
    >>> stable_asam(torch.tensor([2.0]), lambda w: 3 * w, rho=0.5)
    tensor([6.])
    """
    g = grad(w)
    return with_length_of(g, grad(adaptive_ascent(w, g, rho, eta, scaled)))


class StableASAM(ASAM):
    r"""ASAM's direction with the plain gradient's length: $\|g\|\, s / \|s\|$ with $s$ what `ASAM` steps along.

    Arguments and errors as in `ASAM`, but `no_sync` raises `ValueError`, as in `StableSAM`. With `rho = 0` it is the
    base optimizer up to rounding.

    Source: Tan et al. 2025, section 5.3.

    >>> import torch
    >>> from flatlab.optim import StableASAM
    >>> w = torch.tensor([[2.0]], requires_grad=True)
    >>> opt = StableASAM(torch.optim.SGD([w], lr=0.1), rho=0.5)
    >>> def closure():
    ...     opt.zero_grad()
    ...     loss = (1.5 * w**2).sum()
    ...     loss.backward()
    ...     return loss
    >>> _ = opt.step(closure)
    >>> w.data                          # 2 - 0.1 * 6
    tensor([[1.4000]])
    """

    rule = staticmethod(stable_asam)
    source = "Tan et al. 2025, section 5.3"
    about = "ASAM with the far gradient brought to the length of the near one, after Tan et al."
    colour, dash, place = "#6257e8", "dash", 4
    local_ascent = False
