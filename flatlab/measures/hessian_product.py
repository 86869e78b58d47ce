"""The Hessian at one point, as a function of a vector."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flatlab.landscape import Landscape
from flatlab.measures.preconditions import is_network

__all__ = ["dense", "hessian_product"]


def hessian_product(landscape: Landscape, w: Tensor) -> Callable[[Tensor], Tensor]:
    """`v -> H(w) v` for `w` and `v` of shape `(d,)`.

    A closed-form `hvp` of the landscape is used as it is, and so is that of a network whose data do not fit into one
    pass. Otherwise the gradient is recorded once and every product is one more backward pass through it, less than
    half the work of a product from nothing.

    >>> class Bowl(Landscape):
    ...     d = 2
    ...     def losses(self, w, batch=None):
    ...         return (torch.tensor([1., 3.]) * w * w).sum(-1, keepdim=True)
    >>> hessian_product(Bowl(), torch.zeros(2))(torch.tensor([1., 1.]))
    tensor([2., 6.])
    """
    in_parts = is_network(landscape) and len(landscape.parts(w.detach())) > 1
    if in_parts or (type(landscape).hvp is not Landscape.hvp and not is_network(landscape)):
        return lambda v: landscape.hvp(w, v)
    point = w.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(landscape.loss(point), point, create_graph=True)
    if not gradient.requires_grad:  # a loss linear in w
        return torch.zeros_like
    return lambda v: torch.autograd.grad(gradient, point, v, retain_graph=True, materialize_grads=True)[0]


def dense(product: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """The symmetric matrix of `product`, shape `(d, d)`, from `d` products; `like` has shape `(d,)`.

    >>> dense(lambda v: 2 * v, torch.zeros(2))
    tensor([[2., 0.], [0., 2.]])
    """
    matrix = torch.stack([product(e) for e in torch.eye(len(like), dtype=like.dtype, device=like.device)])
    return (matrix + matrix.T) / 2
