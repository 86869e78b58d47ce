"""Losses at many perturbed points."""

from __future__ import annotations

import torch
from torch import Tensor

from flatlab.landscape import Landscape
from flatlab.measures.preconditions import is_network

__all__ = ["losses_at"]


def losses_at(landscape: Landscape, points: Tensor) -> Tensor:
    """`L` at every row of `points`, shape `(s, d)`: `(s,)` in float64, without gradients.

    A toy takes all points in one call. A network takes them one by one: mapped over weights, its layers become
    batched products and grouped convolutions, which take more memory and on a processor more time.

    >>> class Bowl(Landscape):
    ...     d = 2
    ...     def losses(self, w, batch=None):
    ...         return (w * w).sum(-1, keepdim=True)
    >>> losses_at(Bowl(), torch.tensor([[1., 2.], [0., 3.]]))
    tensor([5., 9.], dtype=torch.float64)
    """
    with torch.no_grad():
        if is_network(landscape):
            return torch.stack([landscape.loss(p) for p in points]).double()
        return landscape.loss(points).double()
