"""The Hessian at one point, as a function of a vector."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flatlab.landscape import Landscape
from flatlab.measures.point import point

__all__ = ["dense", "hessian_product"]


def hessian_product(landscape: Landscape, w: Tensor) -> Callable[[Tensor], Tensor]:
    """`v -> H(w) v` for one `w` and many `v`, each of shape `(d,)`; see `Landscape.hessian_product`.

    >>> class Bowl(Landscape):
    ...     d = 2
    ...     def losses(self, w, batch=None):
    ...         return (torch.tensor([1., 3.]) * w * w).sum(-1, keepdim=True)
    >>> hessian_product(Bowl(), torch.zeros(2))(torch.tensor([1., 1.]))
    tensor([2., 6.])
    """
    return landscape.hessian_product(point(landscape, w))


def dense(product: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """The symmetric matrix of `product`, shape `(d, d)`, from `d` products; `like` has shape `(d,)`.

    >>> dense(lambda v: 2 * v, torch.zeros(2))
    tensor([[2., 0.], [0., 2.]])
    """
    matrix = torch.stack([product(e) for e in torch.eye(len(like), dtype=like.dtype, device=like.device)])
    return (matrix + matrix.T) / 2
