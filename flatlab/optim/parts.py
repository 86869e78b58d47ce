"""Methods that look at parts of the batch, which a closure cannot show them: they step on a landscape."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._utils import _unflatten_dense_tensors
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from flatlab import rules
from flatlab.landscape import Landscape
from flatlab.optim.engine import Groups, RuleOptimizer
from flatlab.optim.passes import all_finite, capturing
from flatlab.rules.nonuniformity import Form

__all__ = ["MSAM", "SAMGCM"]


class _PartsOptimizer(RuleOptimizer):
    @torch.no_grad()
    def step(self, landscape: Landscape | None = None) -> Tensor:
        """One step on the batch as a landscape, `Landscape.of(model, loss_fn, (x, y))`; returns its loss before it.

        Weights, norm statistics and gradients are not touched in between: the passes run on copies, and `.grad`
        is set to the direction when it is known. A parameter that the loss does not use gets a zero gradient.

        Raises `TypeError` for a closure; `ValueError` if the model lacks a trained parameter or is wrapped for
        several workers, if a group option is out of range, or as the method says; `FloatingPointError` if the loss or
        the direction is not finite.
        """
        name = type(self).__name__
        if not isinstance(landscape, Landscape):
            raise TypeError(
                f"{name}.step needs the batch as a landscape, to look at its parts, got {type(landscape).__name__}: "
                "write opt.step(Landscape.of(model, loss_fn, (x, y)))"
            )
        self._complete()
        groups = self._trained()
        params = [p for _, members in groups for p in members]
        trained = _Trained(landscape, params)
        w = torch.cat([p.reshape(-1) for p in params])
        loss = trained.loss(w)
        direction = self.direction(w, trained, groups)
        if self.check_finite and not capturing(w):
            finite = [bool(all_finite(loss)), bool(all_finite(direction))]
            if not all(finite):
                raise FloatingPointError(self._diagnosis(finite))
        self.zero_grad()
        for p, part in zip(params, _unflatten_dense_tensors(direction, params), strict=True):
            p.grad = torch.empty_like(p).copy_(part)
        self.settle(params, True)
        self.base.step()
        return loss


class MSAM(_PartsOptimizer):
    r"""m-SAM: steps along the mean over micro-batches of `m` samples of SAM's gradient, each with its own ascent.

        loss = opt.step(Landscape.of(model, loss_fn, (x, y)))

    - `rho`: the radius of each ascent, in the units of the weights, >= 0.
    - `m`: the size of a micro-batch, >= 1. It must divide the batch; the samples are cut in their order. With `m = 1`
      every sample climbs for itself, with `m` the whole batch it is `SAM`.

    All micro-batches run in one batched pass, which holds a gradient for each. BatchNorm and dropout in train mode
    are refused by `Landscape.of`, mixed precision needs no scaler here. Other arguments and errors as in `SAM`.

    Source: Foret et al. 2021, section 4.1.

    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.constant_(model.weight, 2.0)
    >>> batch = torch.tensor([[1.0], [-2.0]]), torch.tensor([[0.0], [0.0]])
    >>> opt = MSAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.5, m=1)
    >>> opt.step(Landscape.of(model, torch.nn.functional.mse_loss, batch))      # mean of 2^2 and 4^2
    tensor(10.)
    >>> model.weight.data               # 2 - 0.1 * mean(2, 8) * 2.5
    tensor([[0.7500]])
    """

    rule = staticmethod(rules.m_sam)
    carried = ("m",)

    def __init__(
        self, base_optimizer: Optimizer, rho: float | Tensor = 0.05, m: int = 1, *, check_finite: bool = True
    ):
        if m < 1 or m != int(m):
            raise ValueError(f"m must be a whole number >= 1, got {m}")
        self.m = m
        self._wrap(base_optimizer, check_finite, None, rho=rho)

    def direction(self, w: Tensor, landscape: Landscape, groups: Groups) -> Tensor:
        """The rule's direction, over the micro-batches of the landscape."""
        return self.rule(w, rules.micro_gradients(landscape, self.m), **self.arguments(w, groups))


class SAMGCM(_PartsOptimizer):
    r"""SAM within the ellipsoid of the minibatch's gradient covariance, see `flatlab.rules.sam_gcm`.

        loss = opt.step(Landscape.of(model, loss_fn, (x, y)))

    - `rho`: the radius in the metric of the covariance, in the units of the loss, >= 0.
    - `form`, `damping`, `relative`: as in the rule; `"low_rank"` and `"diagonal"` are the forms for a network.

    One batched pass gives the gradients of all samples, which it holds at once. BatchNorm and dropout in train mode
    are refused by `Landscape.of`, mixed precision needs no scaler here. Other arguments and errors as in `SAM`, and
    those of the rule.

    Source: Zhou et al. ("Beyond Sharpness"), Lemma 1 and equation (11).

    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.constant_(model.weight, 2.0)
    >>> batch = torch.tensor([[1.0], [-2.0]]), torch.tensor([[0.0], [0.0]])
    >>> opt = SAMGCM(torch.optim.SGD(model.parameters(), lr=0.1), rho=3.0, form="full", damping=0.0)
    >>> _ = opt.step(Landscape.of(model, torch.nn.functional.mse_loss, batch))
    >>> model.weight.data               # gradients 4, 16, of deviation 6: 2 - 0.1 * 5 * (2 + 3 / 6)
    tensor([[0.7500]])
    """

    rule = staticmethod(rules.sam_gcm)
    carried = ("form", "damping", "relative")

    def __init__(
        self,
        base_optimizer: Optimizer,
        rho: float | Tensor = 0.05,
        form: Form = "low_rank",
        damping: float = 0.01,
        relative: bool = True,
        *,
        check_finite: bool = True,
    ):
        rules.nonuniformity.check_metric(form, damping)
        self.form, self.damping, self.relative = form, damping, relative
        self._wrap(base_optimizer, check_finite, None, rho=rho)

    def direction(self, w: Tensor, landscape: Landscape, groups: Groups) -> Tensor:
        """The rule's direction, with the covariance over the landscape's terms."""
        metric = {"form": self.form, "damping": self.damping, "relative": self.relative}
        return self.rule(w, landscape.grad, landscape.per_sample_grads, **metric, **self.arguments(w, groups))


class _Trained(Landscape):
    """A landscape over the trained parameters alone, in their order; the model's other weights stay as they are."""

    def __init__(self, whole: Landscape, params: list[Tensor]):
        self.whole, self.n, self.d = whole, whole.n, sum(p.numel() for p in params)
        self.rest: Tensor | None = None
        model: Any = getattr(whole, "model", None)
        if model is None:
            if self.d != whole.d:
                raise ValueError(f"the landscape takes points of {whole.d} numbers, and {self.d} are trained")
            return
        if isinstance(model, DistributedDataParallel):
            raise ValueError("the model must be a bare one, got DistributedDataParallel: the parts are not averaged")
        own = list(model.parameters())
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

    def losses(self, w: Tensor, batch: Tensor | None = None) -> Tensor:
        return self.whole.losses(self._whole(w), batch)

    def loss(self, w: Tensor, batch: Tensor | None = None) -> Tensor:
        return self.whole.loss(self._whole(w), batch)

    def grad(self, w: Tensor, batch: Tensor | None = None) -> Tensor:
        return self._own(self.whole.grad(self._whole(w), batch))

    def per_sample_grads(self, w: Tensor, batch: Tensor | None = None) -> Tensor:
        return self._own(self.whole.per_sample_grads(self._whole(w), batch))
