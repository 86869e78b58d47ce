"""Derivatives of the single losses along one direction."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, vjp, vmap

from flatlab.landscape import Landscape
from flatlab.measures.preconditions import is_network, named_weights

__all__ = ["directional_derivatives"]


def directional_derivatives(landscape: Landscape, w: Tensor, v: Tensor, chunk: int = 512) -> Tensor:
    """`<grad l_i(w), v>` for every term, shape `(n,)`, without forming gradients; `w` and `v` have shape `(d,)`.

    Reverse mode twice: `u -> sum_i u_i grad l_i` is linear, and its transpose takes `v` to what is wanted. Some
    losses of torch.nn have no forward mode.

    >>> net = Landscape.of(torch.nn.Linear(2, 1, bias=False), torch.nn.functional.mse_loss,
    ...                    (torch.tensor([[1., 2.], [3., 4.]]), torch.zeros(2, 1)))
    >>> directional_derivatives(net, torch.ones(2), torch.tensor([1., 0.]))
    tensor([ 6., 42.])
    """

    def terms(index: Tensor):
        if not is_network(landscape):
            return lambda u: landscape.losses(u, index)
        x, y = landscape.x[index], landscape.y[index]

        def network(u):
            outputs = functional_call(landscape.model, named_weights(landscape, u), (x,))
            return vmap(lambda a, b: landscape.loss_fn(a[None], b[None]))(outputs, y)

        return network

    def along(losses: Callable[[Tensor], Tensor], count: int) -> Tensor:
        pull = vjp(losses, w)[1]
        return vjp(lambda u: pull(u)[0], torch.ones(count, dtype=w.dtype, device=w.device))[1](v)[0]

    chunks = torch.arange(landscape.n, device=w.device).split(chunk)
    return torch.cat([along(terms(index), len(index)).detach() for index in chunks])
