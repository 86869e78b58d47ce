"""Derivatives of the single losses along one direction."""

from __future__ import annotations

import torch
from torch import Tensor

from flatlab.landscape import Landscape
from flatlab.landscape.curvature import math_attention
from flatlab.landscape.memory import ran_out
from flatlab.landscape.pullback import pullback

__all__ = ["directional_derivatives"]

NUMBERS = 2**24
"""Numbers of per-sample gradients held at a time, where they have to be formed."""


def directional_derivatives(landscape: Landscape, w: Tensor, v: Tensor, chunk: int = 512) -> Tensor:
    """`<grad l_i(w), v>` for every term, shape `(n,)`, without forming gradients; `w` and `v` have shape `(d,)`.

    Reverse mode twice: `u -> sum_i u_i grad l_i` is linear, and its transpose takes `v` to what is wanted. Some
    losses of torch.nn have no forward mode. Gradients are formed after all where the mean of the derivatives is not that
    of the loss.

    >>> net = Landscape.of(torch.nn.Linear(2, 1, bias=False), torch.nn.functional.mse_loss,
    ...                    (torch.tensor([[1., 2.], [3., 4.]]), torch.zeros(2, 1)))
    >>> directional_derivatives(net, torch.ones(2), torch.tensor([1., 0.]))
    tensor([ 6., 42.])
    """

    def along(index: Tensor) -> Tensor:
        with math_attention():
            ones = torch.ones(len(index), dtype=w.dtype, device=w.device)

            def summed(u: Tensor) -> Tensor:
                return pullback(lambda p: landscape.losses(p, index), w, along=u)

            return pullback(summed, ones, along=v).detach()

    def formed(index: Tensor) -> Tensor:
        size = max(1, NUMBERS // landscape.d)
        return torch.cat([landscape.per_sample_grads(w, some).detach() @ v for some in index.split(size)])

    chunks = torch.arange(landscape.n, device=w.device).split(chunk)
    try:
        found = along(chunks[0])
        # Their mean is the loss's slope, or a backward pass through a backward pass went wrong.
        slope, size = torch.dot(landscape.grad(w, chunks[0]).detach(), v), found.abs().max()
        fast = not bool((found.mean() - slope).abs() > 30 * torch.finfo(w.dtype).eps ** 0.5 * size)
    except (RuntimeError, NotImplementedError) as error:  # what torch.func, or a second backward pass, cannot take
        if ran_out(error):
            raise
        fast = False
    if not fast:
        return torch.cat([formed(index) for index in chunks])
    return torch.cat([found, *(along(index) for index in chunks[1:])])
