"""The Hessian of a loss in the outputs of a network, in closed form for cross-entropy and squared loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flatlab.landscape import Network
from flatlab.landscape.memory import ran_out
from flatlab.landscape.samples import floats, widened

__all__ = ["FORMS", "everywhere"]


def _entropy(outputs: Tensor, y: Tensor, matrix: Tensor) -> Tensor:
    """Of cross-entropy: `tr(W^T (diag p - p p^T) W)`, as a sum over pairs of classes, where nothing cancels."""
    if not isinstance(y, Tensor) or y.ndim != 1 or y.is_floating_point():
        raise ValueError("cross-entropy takes labels")
    wide = torch.promote_types(outputs.dtype, torch.float32)
    p, matrix = outputs.to(wide).softmax(1), matrix.to(wide)
    apart = torch.cdist(matrix, matrix, compute_mode="donot_use_mm_for_euclid_dist").square()
    return (p @ apart * p).sum(1) / 2


def _entropy_product(outputs: Tensor, v: Tensor) -> Tensor:
    p = outputs.softmax(1)
    return p * (v - (p * v).sum(1, keepdim=True))


def _squared(outputs: Tensor, y: Tensor, matrix: Tensor) -> Tensor:
    """Of squared loss, averaged over outputs too."""
    return (2 / outputs.shape[1] * matrix.square().sum()).expand(len(outputs))


def _squared_product(outputs: Tensor, v: Tensor) -> Tensor:
    return 2 / outputs.shape[1] * v


FORMS = (_entropy, _entropy_product), (_squared, _squared_product)
"""Of each loss with the Hessian `D_i` `(k, k)`: the traces `tr(W^T D_i W)` from `(outputs, y, W)`, and `D_i v_i`."""


def everywhere(landscape: Network, outputs: Tensor, y: Any, product: Callable) -> bool:
    """Whether the loss's second derivatives in the outputs are those of a closed form, `product(outputs, v)`.

    For each of these samples by itself, along a random direction: a few do not show that a rare label weighs more.
    """
    v = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0), device="cpu").to(outputs)
    for dtype in (torch.float64, outputs.dtype):  # a function with tensors of its own may run in its precision alone
        z, along = outputs.detach().to(dtype).requires_grad_(), v.to(dtype)
        try:
            with torch.inference_mode(False), torch.enable_grad():
                loss = landscape.scalar(widened(landscape.loss_fn, dtype)(z, floats(y, dtype))) * len(z)
                slope = torch.autograd.grad(loss, z, create_graph=True, materialize_grads=True)[0]
                found = torch.autograd.grad((slope * along).sum(), z, materialize_grads=True)[0]
        except (RuntimeError, TypeError) as error:
            if ran_out(error):
                raise
            continue
        closed, eps = product(z.detach(), along), torch.finfo(dtype).eps
        slack = eps**0.5 * closed.norm(dim=1) + 100 * eps * along.norm(dim=1)
        return bool(((found - closed).norm(dim=1) <= slack).all())
    return False
