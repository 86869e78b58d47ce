"""Methods that look at parts of the batch: their step takes the batch beside the closure, and cuts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from flatlab import rules
from flatlab.landscape import Landscape
from flatlab.optim.engine import Groups, NoSync, RuleOptimizer
from flatlab.optim.passes import Passes, all_finite, capturing
from flatlab.optim.trained import Trained
from flatlab.rules.nonuniformity import Form

__all__ = ["MSAM", "SAMGCM"]


class _PartsOptimizer(RuleOptimizer):
    @torch.no_grad()
    def step(
        self, closure: Callable[..., Tensor] | Landscape | None = None, *data: Tensor, scaler: GradScaler | None = None
    ) -> Tensor | float:
        """One step; returns the loss at the weights before it, detached.

        `closure(*part)` clears the gradients, runs forward and backward on the samples that it is given, and returns
        their mean loss. `data` are the tensors of the batch, `(n, ...)` each. They are cut along their first
        dimension and handed on part by part; a closure that needs something else takes indices, `torch.arange(n)`.
        With a `scaler` as in `SAM.step`.

        In place of both, a landscape, `opt.step(Landscape.of(model, loss_fn, (x, y)))`: all parts in one batched
        pass, for a network without BatchNorm and dropout in train mode. There a parameter that the loss does not use
        gets a zero gradient.

        Raises `TypeError` without data, or with data that are no tensors; `ValueError` if their lengths differ, or as
        the method says, and for a landscape with a scaler, with a model wrapped for several workers, or without a
        trained parameter. Other errors as in `SAM.step`.
        """
        name = type(self).__name__
        if isinstance(closure, Landscape):
            if data or (scaler is not None and scaler.is_enabled()):
                what = "data of its own and takes none" if data else "no scaled loss"
                raise ValueError(f"{name}.step: a landscape has {what}: write opt.step(closure, x, y, scaler=scaler)")
            return self._step_on(closure)
        if closure is None or not data:
            raise TypeError(
                f"{name}.step needs the batch beside the closure, to cut it, got {_told(closure)} alone: "
                "write opt.step(closure, x, y), with closure(x, y) on a part of the batch"
            )
        return super().step(_Batch(name, closure, data), scaler=scaler)

    def _step_on(self, landscape: Landscape) -> Tensor:
        self._complete()
        groups = self._trained()
        params = [p for _, members in groups for p in members]
        trained = Trained(landscape, params)
        w = torch.cat([p.reshape(-1) for p in params])
        loss = trained.loss(w)
        direction = self.direction_on(w, trained, groups)
        if self.check_finite and not capturing(w):
            finite = [bool(all_finite(loss)), bool(all_finite(direction))]
            if not all(finite):
                raise FloatingPointError(self._diagnosis(finite))
        self.zero_grad()
        for p, part in zip(params, direction.split([p.numel() for p in params]), strict=True):
            p.grad = torch.empty_like(p).copy_(part.view_as(p))
        self.settle(params, True)
        self.base.step()
        return loss

    def direction_on(self, w: Tensor, landscape: Landscape, groups: Groups) -> Tensor:
        """The rule's direction at the flat weights `w`, over the parts of a landscape: `(d,) -> (d,)`."""
        raise TypeError(f"{type(self).__name__} must define direction_on(w, landscape, groups)")


class MSAM(_PartsOptimizer):
    r"""m-SAM: steps along the mean over micro-batches of `m` samples of SAM's gradient, each with its own ascent.

        def closure(x, y):                          # on a micro-batch
            opt.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            return loss

        loss = opt.step(closure, x, y)              # on the batch

    - `rho`: the radius of each ascent, in the units of the weights, >= 0.
    - `m`: the size of a micro-batch, >= 1. It must divide the batch; the samples are cut in their order. With `m = 1`
      every sample climbs for itself, with `m` the whole batch it is `SAM`, to the bit.
    - `no_sync`: `ddp.no_sync`, so that each worker's micro-batches climb along their own gradients. Without it the
      workers' micro-batches climb together, `m` times the number of workers.

    The closure runs twice for each micro-batch, one after the other, in the memory of `SAM`. So BatchNorm normalizes
    a micro-batch by its own mean and variance, and its running statistics move once for each, at the unperturbed
    weights, as they do where gradients are accumulated over micro-batches. That takes `m >= 2`. Each micro-batch has
    a dropout mask of its own, the same in both passes.

    On a landscape all micro-batches run in one batched pass, which holds a gradient for each. That pays for small
    networks, where to start a pass costs more than the pass. Other arguments and errors as in `SAM`; a step also
    raises `ValueError` where `m` does not divide the batch, or is 1 and BatchNorm in train mode.

    Source: Foret et al. 2021, section 4.1.

    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.constant_(model.weight, 2.0)
    >>> opt = MSAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.5, m=1)
    >>> def closure(x, y):
    ...     opt.zero_grad()
    ...     loss = torch.nn.functional.mse_loss(model(x), y)
    ...     loss.backward()
    ...     return loss
    >>> opt.step(closure, torch.tensor([[1.0], [-2.0]]), torch.zeros(2, 1))     # mean of 2^2 and 4^2
    tensor(10.)
    >>> model.weight.data               # 2 - 0.1 * mean(2, 8) * 2.5
    tensor([[0.7500]])
    """

    rule = staticmethod(rules.m_sam)
    carried = ("m",)

    def __init__(
        self,
        base_optimizer: Optimizer,
        rho: float | Tensor = 0.05,
        m: int = 1,
        *,
        check_finite: bool = True,
        no_sync: NoSync | None = None,
    ):
        if m < 1 or m != int(m):
            raise ValueError(f"m must be a whole number >= 1, got {m}")
        self.m = m
        self._wrap(base_optimizer, check_finite, no_sync, rho=rho)

    def direction(self, w: Tensor, passes: Passes, groups: Groups) -> Tensor:
        """The mean over the micro-batches of the rule's direction on each."""
        batch: Any = passes.closure
        rules.averaged.check_cut(batch.n, self.m)
        parts = list(range(0, batch.n, self.m))
        options = self.arguments(w, groups)
        total = None
        for start in parts:
            passes.turn(batch.part(start, start + self.m))
            with self._needs_no_batch() if self.m == 1 and start == 0 else nullcontext():
                direction = rules.sam(w, passes, **options)  # what m_sam is for a single part
            if len(parts) == 1:
                return direction
            total = direction / len(parts) if total is None else total.add_(direction, alpha=1 / len(parts))
        return total

    def direction_on(self, w: Tensor, landscape: Landscape, groups: Groups) -> Tensor:
        """The rule's direction, over the micro-batches of the landscape."""
        return self.rule(w, rules.micro_gradients(landscape, self.m), **self.arguments(w, groups))

    def loss(self, passes: Passes) -> Tensor | float:
        """The mean over the micro-batches, each in its first pass of two."""
        return sum(passes.losses[::2]) / len(passes.losses[::2])

    @contextmanager
    def _needs_no_batch(self) -> Iterator[None]:
        """Refuses a BatchNorm layer that would normalize a sample by itself, before it runs."""
        for layer in self._norm_layers:
            _need_a_batch_of_two(layer, self.m)
        if self._seen:  # a hook would have a compiled model compiled anew
            yield
            return
        hook = register_module_forward_pre_hook(lambda module, _: _need_a_batch_of_two(module, self.m))
        try:
            yield
        finally:
            hook.remove()


class SAMGCM(_PartsOptimizer):
    r"""SAM within the ellipsoid of the minibatch's gradient covariance, see `flatlab.rules.sam_gcm`.

        loss = opt.step(closure, x, y)              # closure(x, y) as in MSAM

    - `rho`: the radius in the metric of the covariance, in the units of the loss, >= 0.
    - `form`, `damping`, `relative`: as in the rule; `"low_rank"` and `"diagonal"` are the forms for a network.
    - `no_sync`: `ddp.no_sync`, so that each worker climbs in the ellipsoid of its own samples. Required there.

    The closure runs on the batch, on every single sample, and on the batch again: `n + 2` calls, which hold `n`
    gradients. The gradient and the descent are the batch's, in train mode with one dropout mask. Single samples run as
    in evaluation, with running statistics and without dropout, since BatchNorm gives a sample no gradient of its own:
    the covariance alone is that of the network in evaluation. In the paper SAMGCM is for toys; its method for networks
    is `CSAM`, with three calls a step.

    On a landscape one batched pass gives the gradients of all samples, which pays for small networks. Other arguments
    and errors as in `SAM`, and those of the rule; a step also raises `ValueError` for a BatchNorm layer without
    running statistics, and for `DistributedDataParallel` without `no_sync`.

    Source: Zhou et al. ("Beyond Sharpness"), Lemma 1 and equation (11).

    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.constant_(model.weight, 2.0)
    >>> opt = SAMGCM(torch.optim.SGD(model.parameters(), lr=0.1), rho=3.0, form="full", damping=0.0)
    >>> def closure(x, y):
    ...     opt.zero_grad()
    ...     loss = torch.nn.functional.mse_loss(model(x), y)
    ...     loss.backward()
    ...     return loss
    >>> _ = opt.step(closure, torch.tensor([[1.0], [-2.0]]), torch.zeros(2, 1))
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
        no_sync: NoSync | None = None,
    ):
        rules.nonuniformity.check_metric(form, damping)
        self.form, self.damping, self.relative = form, damping, relative
        self._wrap(base_optimizer, check_finite, no_sync, rho=rho)

    def direction(self, w: Tensor, passes: Passes, groups: Groups) -> Tensor:
        """The rule's direction, with the covariance over the batch's samples, each in a pass of its own."""
        batch: Any = passes.closure
        g = passes(w)
        samples = w.new_empty(batch.n, len(w))
        for i in range(batch.n):
            passes.closure = partial(_alone, batch.part(i, i + 1), self.no_sync)
            samples[i] = passes(w)
        passes.closure = batch
        samples += g - samples.mean(0)  # about the batch's gradient, which the rule takes for their mean
        return self.rule(w, passes, lambda _: samples, **self._metric(), **self.arguments(w, groups))

    def direction_on(self, w: Tensor, landscape: Landscape, groups: Groups) -> Tensor:
        """The rule's direction, with the covariance over the landscape's terms."""
        options = self._metric() | self.arguments(w, groups)
        return self.rule(w, landscape.grad, landscape.per_sample_grads, **options)

    def _metric(self) -> dict[str, Any]:
        return {"form": self.form, "damping": self.damping, "relative": self.relative}


class _Batch:
    """A closure over the batch, which it can also run on a part of."""

    def __init__(self, name: str, closure: Callable[..., Tensor], data: tuple[Tensor, ...]):
        for t in data:
            if not isinstance(t, Tensor) or not t.ndim:
                raise TypeError(f"{name}.step cuts tensors of shape (n, ...), got {_told(t)}: give it indices instead")
        lengths = [len(t) for t in data]
        if min(lengths) < 1 or len(set(lengths)) > 1:
            raise ValueError(f"{name}.step needs data of one length, at least 1, got {lengths}")
        self.closure, self.data, self.n = closure, data, lengths[0]

    def __call__(self) -> Tensor:
        return self.closure(*self.data)

    def part(self, start: int, stop: int) -> Callable[[], Tensor]:
        return partial(self.closure, *(t[start:stop] for t in self.data))


def _told(given: Any) -> str:
    return f"a tensor of shape {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__


def _alone(closure: Callable[[], Tensor], no_sync: NoSync | None) -> Tensor:
    """The closure on a single sample, in evaluation. The modules are switched after `Passes` has met them in training."""
    with nullcontext() if no_sync is None else no_sync(), _as_in_evaluation(averages=no_sync is None):
        return closure()


def _need_a_batch_of_two(module: nn.Module, m: int) -> None:
    if torch.compiler.is_compiling():  # the compiled module was looked through when it was called
        return
    for inner in module.modules():
        if isinstance(inner, _BatchNorm) and (inner.training or inner.running_mean is None):
            raise ValueError(
                f"MSAM needs m >= 2 where BatchNorm is in train mode, got m={m} and a {type(inner).__name__} layer of "
                f"{inner.num_features} channels: it would normalize each sample by itself"
            )


@contextmanager
def _as_in_evaluation(averages: bool) -> Iterator[None]:
    """Every module that runs is in evaluation mode meanwhile; `averages` says that workers would average its gradient."""
    switched = []

    def switch(module: nn.Module, _: Any) -> None:
        if torch.compiler.is_compiling():
            return
        if isinstance(module, DistributedDataParallel) and averages:
            raise ValueError(
                "SAMGCM needs no_sync=ddp.no_sync for a model in DistributedDataParallel, got None: the covariance is "
                "over single samples, which are not averaged"
            )
        for inner in module.modules():
            if isinstance(inner, _BatchNorm) and inner.running_mean is None:
                raise ValueError(
                    "SAMGCM needs running statistics where it looks at single samples, got a "
                    f"{type(inner).__name__} layer with track_running_stats=False: use CSAM, which does not"
                )
            if inner.training and not isinstance(inner, nn.RNNBase):  # cuDNN differentiates those in train mode only
                inner.training = False
                switched.append(inner)

    hook = register_module_forward_pre_hook(switch)
    try:
        yield
    finally:
        hook.remove()
        for module in switched:
            module.training = True
