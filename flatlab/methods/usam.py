"""USAM: climbs by a multiple of the gradient, whose length counts."""

from __future__ import annotations

from torch import Tensor

from flatlab.methods.method import Method, Option
from flatlab.methods.vectors import Gradient, non_negative


def usam(w: Tensor, grad: Gradient, rho: float | Tensor = 0.05) -> Tensor:
    """Unnormalized SAM: `grad(w + rho * grad(w))`; `rho` multiplies the gradient, it is not a radius.

    Raises `ValueError` if `rho` is negative or not finite.

    Source: Andriushchenko and Flammarion 2022, equation (3).

    >>> import torch
    >>> usam(torch.tensor([2.0]), lambda w: 3 * w, rho=0.5)     # 3 * (2 + 0.5 * 6)
    tensor([15.])
    """
    return grad(w + non_negative("rho", rho) * grad(w))


class USAM(Method):
    r"""Unnormalized SAM: steps along $\nabla L(w + \rho\, \nabla L(w))$.

    Arguments and errors as in `SAM`, but `rho` multiplies the gradient and is no radius; its unit is that of weights
    over gradients. With `rho = 0` it is the base optimizer, to the bit.

    Source: Andriushchenko and Flammarion 2022, equation (3).

    >>> import torch
    >>> from flatlab.optim import USAM
    >>> w = torch.tensor([2.0], requires_grad=True)
    >>> opt = USAM(torch.optim.SGD([w], lr=0.1), rho=0.5)
    >>> def closure():
    ...     opt.zero_grad()
    ...     loss = (1.5 * w**2).sum()
    ...     loss.backward()
    ...     return loss
    >>> _ = opt.step(closure)
    >>> w.data                          # 2 - 0.1 * 3 * (2 + 0.5 * 6)
    tensor([0.5000])
    """

    rule = staticmethod(usam)
    rho = Option(0.05, "factor of the gradient in the ascent", least=0, unit="weights over gradients")
    source = "Andriushchenko and Flammarion 2022, equation (3)"
    about = "the unnormalized SAM of Andriushchenko and Flammarion, whose ascent is longer where the gradient is"
    colour, dash, place = "#5c6f1b", "dot", 8
