"""A sharp valley and a flat one, and what a penalty on the curvature makes of them."""

from __future__ import annotations

import torch
from torch import Tensor

from flatlab.landscape import Landscape

__all__ = ["Ravines"]


class Ravines(Landscape):
    r"""`L(w) = c/2 ||w||^2 - sum_k a_k exp(-q_k(w) / 2)` in the plane: two Gaussian valleys in a shallow bowl.

    Here $q_k(w) = \sum_i (w_i - m_{ki})^2 / s_{ki}^2$, with the depths $a_k$, the middles $m_k$ and the widths $s_k$ below:
    first the sharp valley, which is the deeper one, then the flat one. `w` has shape `(..., 2)`; all methods are closed
    forms. `penalized(w, weight)` is the loss of FA-regularization, $L + \mathit{weight} \cdot \mathrm{tr}(H^2)$.

    With $e_k = a_k \exp(-q_k / 2)$, $p_k = 1 / s_k^2$ and $z_k = p_k (w - m_k)$, entry by entry,

    - $\nabla L = c w + \sum_k e_k z_k$,
    - $H = c I + \sum_k e_k (\mathrm{diag}(p_k) - z_k z_k^\top)$,
    - $\nabla\, \mathrm{tr}(H^2) = 2 \sum_k e_k ((z_k^\top H z_k - p_k^\top \mathrm{diag}(H)) z_k - 2 p_k H z_k)$.

    >>> f, w = Ravines(), torch.tensor([[-0.9, 0.0], [0.9, 0.0]], dtype=torch.float64)
    >>> f.loss(w), f.hessian_frobenius(w)
    (tensor([-1.1206, -0.9595], dtype=torch.float64), tensor([824.1941,  10.0627], dtype=torch.float64))
    """

    d = 2
    bowl = 0.1
    depths = torch.tensor([1.15, 1.0], dtype=torch.float64)
    middles = torch.tensor([[-0.9, 0.0], [0.9, 0.0]], dtype=torch.float64)
    widths = torch.tensor([[0.2, 0.7], [0.6, 0.9]], dtype=torch.float64)

    def _parts(self, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`e`, `(..., 2)`, `p`, `(2, 2)`, and `z`, `(..., 2, 2)`: valleys in the dimension before the last of `p`, `z`."""
        p = self.widths.to(w) ** -2
        away = self.check(w)[..., None, :] - self.middles.to(w)
        return self.depths.to(w) * torch.exp(-(p * away * away).sum(-1) / 2), p, p * away

    def losses(self, w, batch=None):
        """The one term: `(..., 2) -> (..., 1)`."""
        e, _, _ = self._parts(w)
        return (self.bowl / 2 * w.square().sum(-1) - e.sum(-1))[..., None]

    def grad(self, w, batch=None):
        """`(..., 2) -> (..., 2)`."""
        e, _, z = self._parts(w)
        return self.bowl * w + (e[..., None] * z).sum(-2)

    def hessian(self, w: Tensor) -> Tensor:
        """`H(w)`: `(..., 2) -> (..., 2, 2)`."""
        e, p, z = self._parts(w)
        wells = torch.diag_embed(p) - z[..., :, None] * z[..., None, :]
        return self.bowl * torch.eye(2, dtype=w.dtype, device=w.device) + (e[..., None, None] * wells).sum(-3)

    def hvp(self, w, v, batch=None):
        """`H(w) v`: `(..., 2), (..., 2) -> (..., 2)`."""
        return (self.hessian(w) @ self.check(v)[..., None])[..., 0]

    def hessian_frobenius(self, w: Tensor) -> Tensor:
        """`tr(H(w)^2)`: `(..., 2) -> (...)`."""
        return self.hessian(w).square().sum((-2, -1))

    def hessian_frobenius_grad(self, w: Tensor) -> Tensor:
        """Gradient of `tr(H^2)`: `(..., 2) -> (..., 2)`."""
        e, p, z = self._parts(w)
        H = self.hessian(w)
        Hz = (H[..., None, :, :] @ z[..., None])[..., 0]
        diagonal = H.diagonal(dim1=-2, dim2=-1)[..., None, :]
        along = (z * Hz).sum(-1) - (p * diagonal).sum(-1)
        return 2 * (e[..., None] * (along[..., None] * z - 2 * p * Hz)).sum(-2)

    def penalized(self, w: Tensor, weight: float) -> Tensor:
        """`L + weight tr(H^2)`: `(..., 2) -> (...)`."""
        return self.loss(w) + weight * self.hessian_frobenius(w)

    def penalized_grad(self, w: Tensor, weight: float) -> Tensor:
        """Gradient of `penalized`: `(..., 2) -> (..., 2)`."""
        return self.grad(w) + weight * self.hessian_frobenius_grad(w)
