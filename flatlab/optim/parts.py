"""A batch that a method cuts: passes over its micro-batches, and over its single samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from flatlab.methods.m_sam import check_cut
from flatlab.optim.passes import Passes, watched

__all__ = ["Batch", "PartPasses", "told"]


class PartPasses(Passes):
    """Passes whose closure is a `Batch`."""

    closure: Batch

    def parts(self, m: int) -> Parts:
        """The micro-batches of `m` samples. Raises `ValueError` if `m` does not divide the batch."""
        check_cut(self.closure.n, m)
        return Parts(self, self.closure, m)

    def samples(self, w: Tensor) -> Tensor:
        """The gradient of each sample in a pass of its own, as in evaluation, about that of the batch: `(d,) -> (n, d)`."""
        batch = self.closure
        g = self(w)
        samples = w.new_empty(batch.n, len(w))
        self.replays = False  # evaluation is by the statistics that the batch's pass has left
        for i in range(batch.n):
            self.closure = partial(_alone, batch.name, batch.part(i, i + 1), self.no_sync)
            samples[i] = self(w)
        self.closure, self.replays = batch, True
        return samples.add_(g - samples.mean(0))


class Parts:
    """Micro-batches of a network's batch, one after the other."""

    def __init__(self, passes: PartPasses, batch: Batch, m: int):
        self.passes, self.batch, self.m = passes, batch, m

    def mean(self, rule: Callable[..., Tensor], w: Tensor, *options: Any) -> Tensor:
        """The mean of `rule(w, grad, *options)` over the gradients of the micro-batches: `(d,) -> (d,)`."""
        starts, total = range(0, self.batch.n, self.m), None
        for start in starts:
            self.passes.turn(self.batch.part(start, start + self.m))
            with self._needs_no_batch() if self.m == 1 and start == 0 else nullcontext():
                direction = rule(w, self.passes, *options)
            if len(starts) == 1:
                return direction
            total = direction / len(starts) if total is None else total.add_(direction, alpha=1 / len(starts))
        return total

    @contextmanager
    def _needs_no_batch(self) -> Iterator[None]:
        """Refuses a BatchNorm layer that would normalize a sample by itself, before it runs."""
        for known in self.passes.known.modules:
            _need_a_batch_of_two(self.batch.name, known)
        if self.passes.known.modules:  # a hook would have a compiled model compiled anew
            yield
            return
        with watched(lambda module: _need_a_batch_of_two(self.batch.name, module)):
            yield


class Batch:
    """A closure over the batch, which it can also run on a part of."""

    def __init__(self, name: str, closure: Callable[..., Tensor], data: tuple[Tensor, ...]):
        for t in data:
            if not isinstance(t, Tensor) or not t.ndim:
                raise TypeError(f"{name}.step cuts tensors of shape (n, ...), got {told(t)}: give it indices instead")
        lengths = [len(t) for t in data]
        if min(lengths) < 1 or len(set(lengths)) > 1:
            raise ValueError(f"{name}.step needs data of one length, at least 1, got {lengths}")
        self.name, self.closure, self.data, self.n = name, closure, data, lengths[0]

    def __call__(self) -> Tensor:
        """The closure on the whole batch."""
        return self.closure(*self.data)

    def part(self, start: int, stop: int) -> Callable[[], Tensor]:
        """The closure on these samples alone."""
        return partial(self.closure, *(t[start:stop] for t in self.data))


def told(given: Any) -> str:
    """What was given, in words."""
    return f"a tensor of shape {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__


def _alone(name: str, closure: Callable[[], Tensor], no_sync: Callable | None) -> Tensor:
    """The closure on a single sample, in evaluation. The modules are switched after `Passes` has met them in training."""
    with nullcontext() if no_sync is None else no_sync(), _as_in_evaluation(name, averages=no_sync is None):
        return closure()


def _need_a_batch_of_two(name: str, module: nn.Module) -> None:
    if torch.compiler.is_compiling():  # the compiled module was looked through when it was called
        return
    for inner in module.modules():
        if isinstance(inner, _BatchNorm) and (inner.training or inner.running_mean is None):
            raise ValueError(
                f"{name} needs m >= 2 where BatchNorm is in train mode, got m=1 and a {type(inner).__name__} layer of "
                f"{inner.num_features} channels: it would normalize each sample by itself"
            )


@contextmanager
def _as_in_evaluation(name: str, averages: bool) -> Iterator[None]:
    """Every module that runs is in evaluation mode meanwhile; `averages` says that workers would average its gradient."""
    switched = []

    def switch(module: nn.Module) -> None:
        if torch.compiler.is_compiling():
            return
        if isinstance(module, DistributedDataParallel) and averages:
            raise ValueError(
                f"{name} needs no_sync=ddp.no_sync for a model in DistributedDataParallel, got None: the covariance is "
                "over single samples, which are not averaged"
            )
        for inner in module.modules():
            if isinstance(inner, _BatchNorm) and inner.running_mean is None:
                raise ValueError(
                    f"{name} needs running statistics where it looks at single samples, got a "
                    f"{type(inner).__name__} layer with track_running_stats=False: use CSAM, which does not"
                )
            if inner.training and not isinstance(inner, nn.RNNBase):  # cuDNN differentiates those in train mode only
                inner.training = False
                switched.append(inner)

    try:
        with watched(switch):
            yield
    finally:
        for module in switched:
            module.training = True
