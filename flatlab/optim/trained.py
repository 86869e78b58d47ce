"""A network's landscape, seen over the parameters that an optimizer trains."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from flatlab.landscape import Landscape
from flatlab.methods.m_sam import MicroGradients, micro_gradients

__all__ = ["Trained"]


class Trained(Landscape):
    """`whole` over the trained parameters alone, in their order; the model's other weights stay as they are.

    Raises `ValueError` if the model lacks a trained parameter or is wrapped for several workers.

    >>> model = torch.nn.Linear(2, 1)
    >>> whole = Landscape.of(model, torch.nn.functional.mse_loss, (torch.ones(3, 2), torch.zeros(3, 1)))
    >>> whole.d, Trained(whole, [model.weight]).d
    (3, 2)
    """

    def __init__(self, whole: Landscape, params: list[Tensor]):
        self.whole, self.n, self.d = whole, whole.n, sum(p.numel() for p in params)
        self.rest: Tensor | None = None
        model: Any = getattr(whole, "model", None)
        if model is None:
            if self.d != whole.d:
                raise ValueError(f"the landscape takes points of {whole.d} numbers, and {self.d} are trained")
            return
        if isinstance(model, DistributedDataParallel):
            raise ValueError(
                "a landscape's gradients are not averaged over workers, got a model in DistributedDataParallel: "
                "write opt.step(closure, x, y)"
            )
        own = list(whole.parameters.values())
        starts, at = {}, 0
        for p in own:
            starts[p], at = at, at + p.numel()
        missing = [p for p in params if p not in starts]
        if missing:
            raise ValueError(f"the landscape's model lacks a trained parameter of shape {tuple(missing[0].shape)}")
        if len(own) != len(params) or any(a is not b for a, b in zip(own, params, strict=True)):
            device = params[0].device
            self.rest = torch.cat([p.detach().reshape(-1) for p in own])
            self.at = torch.cat([torch.arange(starts[p], starts[p] + p.numel(), device=device) for p in params])

    def _whole(self, v: Tensor) -> Tensor:
        if self.rest is None:
            return v
        return self.rest.expand(*v.shape[:-1], -1).index_copy(-1, self.at, v)

    def _own(self, g: Tensor) -> Tensor:
        return g if self.rest is None else g[..., self.at]

    def __call__(self, w: Tensor) -> Tensor:
        """The gradient, as a rule asks for it."""
        return self.grad(w)

    def parts(self, m: int) -> MicroGradients:
        """The gradients of micro-batches of `m` terms."""
        return micro_gradients(self, m)

    def samples(self, w: Tensor) -> Tensor:
        """The gradients of the single terms."""
        return self.per_sample_grads(w)

    def losses(self, w: Tensor, batch: Tensor | None = None) -> Tensor:
        """The terms, as of `whole`."""
        return self.whole.losses(self._whole(w), batch)

    def loss(self, w: Tensor, batch: Tensor | None = None) -> Tensor:
        """Their mean, as of `whole`."""
        return self.whole.loss(self._whole(w), batch)

    def grad(self, w: Tensor, batch: Tensor | None = None) -> Tensor:
        """Its gradient in the trained parameters."""
        return self._own(self.whole.grad(self._whole(w), batch))

    def per_sample_grads(self, w: Tensor, batch: Tensor | None = None) -> Tensor:
        """The terms' gradients in the trained parameters."""
        return self._own(self.whole.per_sample_grads(self._whole(w), batch))
