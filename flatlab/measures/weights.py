"""The norm of the weights."""

from __future__ import annotations

import torch
from torch import Tensor

from flatlab.landscape import Landscape
from flatlab.measures.estimate import finite
from flatlab.measures.point import point
from flatlab.measures.precision import without_autocast

__all__ = ["weight_norm"]


@without_autocast
def weight_norm(landscape: Landscape, w: Tensor, order: float = 2.0) -> float:
    """`||w||_p` with `p = order`, of all parameters, biases too; `w` has shape `(d,)`.

    Raises `ValueError` if `order` is less than 1. Source: the baseline `L2` of Petzka et al. 2021, Figure 5.

    >>> class Plane(Landscape):
    ...     d = 2
    >>> weight_norm(Plane(), torch.tensor([3., 4.]))
    5.0
    """
    if not order >= 1:
        raise ValueError(f"order must be at least 1, got {order}")
    return finite(torch.linalg.vector_norm(point(landscape, w).double(), order).item(), "the norm of the weights")
