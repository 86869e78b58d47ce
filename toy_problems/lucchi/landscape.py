"""The saddle of Lucchi et al. 2021 (Tan et al. 2025, section 5.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from flatlab.landscape import Landscape

__all__ = ["Lucchi"]


class Lucchi(Landscape):
    r"""`f(x, y) = x^4 / 4 - x y + y^2 / 2`: a strict saddle at the origin between two global minima.

    `w = (x, y)` has shape `(..., 2)`; all methods are closed forms. At a minimum `f = -1/4` and the Hessian's
    eigenvalues are `2 -+ sqrt 2`; at the saddle they are `(1 -+ sqrt 5) / 2`.

    Source: Lucchi et al. 2021; Tan et al. 2025, section 5.1.

    >>> f = Lucchi()
    >>> f.loss(f.minima), f.grad(f.minima), f.grad(f.saddle)
    (tensor([-0.2500, -0.2500]), tensor([[0., 0.], [0., 0.]]), tensor([0., 0.]))
    >>> torch.linalg.eigvalsh(f.hessian(f.minima[0]))
    tensor([0.5858, 3.4142])
    """

    d = 2
    n = 1
    saddle = torch.tensor([0.0, 0.0])
    minima = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])

    def losses(self, w, batch=None):
        """The one term, `f(w)`: `(..., 2) -> (..., 1)`."""
        x, y = self.check(w).unbind(-1)
        return (x**4 / 4 - x * y + y * y / 2)[..., None]

    def grad(self, w, batch=None):
        """`(x^3 - y, y - x)`: `(..., 2) -> (..., 2)`."""
        x, y = self.check(w).unbind(-1)
        # Stacked in front: a compiled step then works on contiguous columns and stays bit-identical to this one.
        return torch.stack([x * x * x - y, y - x]).movedim(0, -1)

    def hessian(self, w: Tensor) -> Tensor:
        """`[[3 x^2, -1], [-1, 1]]`: `(..., 2) -> (..., 2, 2)`."""
        x, _ = self.check(w).unbind(-1)
        one = torch.ones_like(x)
        return torch.stack([torch.stack([3 * x * x, -one], -1), torch.stack([-one, one], -1)], -2)

    def hvp(self, w, v, batch=None):
        """`H(w) v`: `(..., 2), (..., 2) -> (..., 2)`."""
        return (self.hessian(w) @ self.check(v)[..., None])[..., 0]
