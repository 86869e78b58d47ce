"""Gradient descent, the rule that all others change."""

from __future__ import annotations

from torch import Tensor

from flatlab.methods.vectors import Gradient


def gd(w: Tensor, grad: Gradient) -> Tensor:
    """Gradient descent: `grad(w)`. With a minibatch gradient this is SGD.

    >>> import torch
    >>> gd(torch.tensor([2.0]), lambda w: 3 * w)
    tensor([6.])
    """
    return grad(w)
