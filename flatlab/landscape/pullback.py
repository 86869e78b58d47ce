"""Reverse mode as a transform, without loading torch's compiler."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

try:
    from torch._functorch.eager_transforms import (
        _create_differentiable,
        _undo_create_differentiable,
        _wrap_all_tensors,
        grad_increment_nesting,
    )
except ImportError:  # private names: another torch may lack them, and then its own transforms serve
    grad_increment_nesting = None

__all__ = ["pullback"]


def pullback(f: Callable[..., Tensor], w: Tensor, *rest: Any, along: Tensor | None = None) -> Tensor:
    """`J^T along`, `J` the Jacobian of `f(w, *rest)` in `w`, in the shape of `w`: the gradient of a scalar without `along`.

    That is `torch.func.grad` or `torch.func.vjp`, to the bit, and goes inside and around `vmap` as they do. Theirs loads
    `torch._dynamo` to switch compiled autograd off, which takes seconds; where nobody has loaded it there is none.

    >>> pullback(lambda v, k: (v**k).sum(), torch.tensor([1., 2.]), 3)
    tensor([ 3., 12.])
    >>> pullback(lambda v: v**3, torch.tensor([1., 2.]), along=torch.tensor([0., 1.]))
    tensor([ 0., 12.])
    """
    if "torch._dynamo" in sys.modules or grad_increment_nesting is None:
        if along is None:
            return torch.func.grad(f)(w, *rest)
        return torch.func.vjp(lambda v: f(v, *rest), w)[1](along)[0]
    return unloaded(f, w, *rest, along=along)


def unloaded(f: Callable[..., Tensor], w: Tensor, *rest: Any, along: Tensor | None) -> Tensor:
    """What `pullback` does before the compiler is loaded.

    >>> unloaded(lambda v: v @ v, torch.tensor([1., 2.]), along=None)
    tensor([2., 4.])
    """
    with grad_increment_nesting() as level, torch.enable_grad():
        point = _create_differentiable(_wrap_all_tensors(w, level), level)
        value = f(point, *_wrap_all_tensors(rest, level))
        if not value.requires_grad:
            return torch.zeros_like(w)
        if along is None and value.ndim:
            raise RuntimeError(f"the gradient is that of a scalar, got a value of {value.ndim} dimensions")
        (found,) = torch.autograd.grad(value, point, along, create_graph=True, materialize_grads=True)
        return _undo_create_differentiable(found, level)
