"""A network as a gradient function on flat vectors, for the length of one optimizer step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, MutableSet
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.module import register_module_forward_pre_hook

__all__ = ["Passes", "all_finite", "capturing"]


class Passes:
    """The `grad` of a rule: `grad(v)` runs the closure at weights `v` and returns its gradient, both of shape `(d,)`.

    As a context it gives the weights back: on leaving they are `w` again, to the bit, and where an exception ended it
    the norm `layers` known from earlier have their statistics back, too. The layers that are seen join `layers`.
    `scale` is what the closure multiplied the loss by. With `guard`, `finite` tells of each pass whether it was
    (gradient and, unless scaled, loss), on the device; the rule gets numbers in place of what was not.
    """

    def __init__(
        self,
        params: list[Tensor],
        closure: Callable[[], Tensor],
        *,
        clear: Callable[[], None],
        layers: MutableSet[nn.Module],
        no_sync: Callable[[], AbstractContextManager] | None = None,
        scale: float | None = None,
        guard: bool = True,
    ):
        self.params, self.closure, self.clear, self.layers = params, closure, clear, layers
        self.no_sync, self.scale, self.guard = no_sync, scale, guard
        self.w = _flat(params)
        self.loss: Tensor | float | None = None
        self.count = 0
        self.finite: list[Tensor] = []
        self._sizes = [p.numel() for p in params]
        self._graded: set[Tensor] = set()
        self._hooks = []
        self._statistics = _statistics(layers)
        # While a graph is captured a generator can be neither read nor set.
        self._gpus = [self.w.device.index] if self.w.is_cuda and not capturing(self.w) else []
        self._random = torch.get_rng_state(), [torch.cuda.get_rng_state(gpu) for gpu in self._gpus]

    def __enter__(self) -> Passes:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_) -> None:
        self._write(self.w)
        for hook in self._hooks:
            hook.remove()
        if failure is not None:
            _restore(self._statistics)

    def __call__(self, v: Tensor) -> Tensor:
        """One pass at weights `v`: its gradient, zero for a parameter that has none."""
        self.count += 1
        if v is not self.w or self.count > 1:
            self._write(v)
        self.clear()  # or a closure that forgets to would add this pass to the one before
        with self._first() if self.count == 1 else self._again(), torch.enable_grad():
            loss = self.closure()
        if loss is None:
            raise TypeError("the closure must return the loss, got None: end it with `return loss`")
        if self.count == 1:
            self.loss = loss.detach() if isinstance(loss, Tensor) else loss
        g = self._gradient()
        if self.guard:
            self._watch(g, loss)
        return g

    def hand_over(self, direction: Tensor) -> None:
        """`direction` as the `.grad` of each parameter that had one in some pass; the others keep None."""
        parts = [(p, part) for p, part in self._parts(direction) if p in self._graded]
        for p, _ in parts:
            p.grad = torch.empty_like(p)  # not into the old one, which may be the caller's own tensor
        if parts:
            torch._foreach_copy_([p.grad for p, _ in parts], [part for _, part in parts])

    def _parts(self, v: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [(p, part.view(p.shape)) for p, part in zip(self.params, v.split(self._sizes), strict=True)]

    def _write(self, v: Tensor) -> None:
        torch._foreach_copy_(self.params, [part for _, part in self._parts(v)])

    def _gradient(self) -> Tensor:
        for p in self.params:
            if p.grad is not None:
                if p.grad.layout is not torch.strided:
                    raise TypeError(
                        f"gradients must be dense, got a sparse one for a parameter of shape {tuple(p.shape)}: "
                        "write nn.Embedding(..., sparse=False)"
                    )
                self._graded.add(p)
        g = _flat(torch.zeros_like(p) if p.grad is None else p.grad for p in self.params)
        return g if self.scale is None else g.div_(self.scale)

    def _watch(self, g: Tensor, loss: Tensor | float) -> None:
        finite = all_finite(g)
        if self.scale is None:
            finite = finite & all_finite(torch.as_tensor(loss, device=g.device))
        self.finite.append(finite)
        g.nan_to_num_(0.0, 0.0, 0.0)  # the step is lost, but no pass shall run at weights that are not numbers
        if self.no_sync is not None:
            # Only this worker knows. A NaN in the averaged gradient to come tells the others to do as it does.
            for p in self.params:
                self._hooks.append(p.register_hook(lambda g: g.masked_fill(~finite, math.nan)))

    def _first(self) -> AbstractContextManager:
        return nullcontext() if self.no_sync is None else self.no_sync()

    @contextmanager
    def _again(self) -> Iterator[None]:
        """A pass that draws what the first drew, and leaves generators and norm statistics as it found them."""
        with torch.random.fork_rng(self._gpus, device_type="cuda"), self._statistics_held():
            cpu, gpus = self._random
            torch.set_rng_state(cpu)
            for gpu, state in zip(self._gpus, gpus, strict=True):
                torch.cuda.set_rng_state(state, gpu)
            yield

    @contextmanager
    def _statistics_held(self) -> Iterator[None]:
        seen: set[nn.Module] = set()
        saved: dict[Tensor, Tensor] = {}

        @torch.compiler.disable
        def hold(module: nn.Module, _) -> None:
            if module in seen:
                return
            inside = set(module.modules()) - seen  # a compiled module calls no hook of those inside it
            seen.update(inside)
            if capturing(self.w) and any(isinstance(m, _DropoutNd) and m.training and m.p > 0 for m in inside):
                raise RuntimeError("dropout cannot repeat its mask in a CUDA graph: capture a model without dropout")
            norms = {m for m in inside if isinstance(m, _NormBase)}
            self.layers |= norms
            saved.update(_statistics(norms))

        # Not in the first pass: a model compiled there would be compiled anew for every hook.
        hook = register_module_forward_pre_hook(hold)
        try:
            yield
        finally:
            hook.remove()
            _restore(saved)


def capturing(w: Tensor) -> bool:
    """Whether a CUDA graph is being captured."""
    return w.is_cuda and torch.cuda.is_current_stream_capturing()


def all_finite(v: Tensor) -> Tensor:
    """Whether all of `v` is finite, without waiting for the device; a sum that overflows counts as infinite."""
    return torch.isfinite(v.sum())


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    flat = torch.cat([t.reshape(-1) for t in tensors])
    return flat.to(torch.promote_types(flat.dtype, torch.float32))  # in float16 a norm ends at 65504


def _statistics(layers: Iterable[nn.Module]) -> dict[Tensor, Tensor]:
    return {b: b.clone() for layer in layers if layer.training for b in layer.buffers(recurse=False)}


def _restore(statistics: dict[Tensor, Tensor]) -> None:
    for buffer, value in statistics.items():
        buffer.copy_(value)
