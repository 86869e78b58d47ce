"""A network as a gradient function on flat vectors, for the length of one optimizer step."""

from __future__ import annotations

import functools
import math
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.utils import parametrize

from flatlab.optim.flat import Rows, flat, place_for, real, unflat
from flatlab.optim.generators import Foreign, Generators
from flatlab.optim.moved import Known, Moved

__all__ = ["Passes", "all_finite", "capturing", "watched"]


LARGE = 2**22
"""Numbers in a gradient from which on memory counts more than the start of a copy for each tensor."""
HOOKING = threading.Lock()
"""Torch numbers its hooks without one: two threads could get one number."""


class Passes:
    """The `grad` of a rule: `grad(v)` runs the closure at weights `v` and returns its gradient, both of shape `(d,)`.

    As a context it gives the weights back: on leaving they are `w` again, to the bit, and where an exception ended it
    the buffers that a pass moves are back, too. Modules that are met join `known`.
    `scale` is what the closure multiplied the loss by; `sign`, -1 or 1 for each weight, turns what is maximized around.
    With `late` the rule asks for the gradient at `w` before it looks at `w`, which is then read only after that pass: so
    what the forward pass itself writes to the weights (a max_norm, an initialization by data) stays, at no cost. Without it
    that is looked for by value. With `guard`, `finite` tells of each pass whether it was (gradient and, unless scaled,
    loss); the rule gets numbers in place of what was not. A complex weight is two real ones.
    """

    def __init__(
        self,
        params: list[Tensor],
        closure: Callable[[], Tensor],
        *,
        everything: Iterable[Tensor],
        known: Known,
        foreign: Foreign,
        rows: Rows,
        no_sync: Callable[[], AbstractContextManager] | None = None,
        scale: float | None = None,
        sign: float | Tensor | None = None,
        guard: bool = True,
        late: bool = False,
    ):
        self.params, self.closure, self.everything = params, closure, list(everything)
        self.known = known
        self.no_sync, self.scale, self.sign, self.guard = no_sync, scale, sign, guard
        self.rows = rows
        self._complex = any(p.is_complex() for p in params)
        self._real = [real(p) for p in params] if self._complex else params
        rows.find(self._real)
        self.w = place_for(self._real)
        self._read = not late
        """Whether `w` holds the weights."""
        if self._read:
            rows.read(self._real, self.w)
        self.losses: list[Tensor | float] = []
        self._clean: list[Tensor | float] = []
        self.count = 0
        self.finite: list[bool | Tensor] = []
        self._last: Tensor | None = None
        self._graded = [False] * len(params)
        self._complete = False
        self._hooks = []
        self.replays = True
        """Whether later passes find buffers as the first one did, or as it left them."""
        self._thread = threading.get_ident()
        # While a graph is captured a generator can be neither read nor set.
        self._capturing = capturing(self.w)
        gpus = [self.w.device.index] if self.w.is_cuda and not self._capturing else []
        self._generators = Generators(gpus, foreign, None if self._capturing else closure)
        self._moved = self._origin = Moved(known, params, looks=foreign.looks and not self._capturing)
        self._looks = self._read and not self._capturing and (foreign.looks or known.writes)
        """Whether to look, by value, for what a first pass writes to the weights."""

    def __enter__(self) -> Passes:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_) -> None:
        if self._read:
            self._write(self.w)
        for hook in self._hooks:
            hook.remove()
        if failure is not None:
            self._origin.restore()

    def __call__(self, v: Tensor) -> Tensor:
        """One pass at weights `v`: its gradient, zero for a parameter that has none."""
        self.count += 1
        self._last = None  # what the rule is done with need not wait for the end of this pass
        if v is not self.w or self.count > 1:
            self._write(v)
        self._clear()
        before = flat(self._real) if self._looks and self.count == 1 else None
        versions = self._versions() if before is not None else None
        with torch.enable_grad():
            loss = self._first() if self.count == 1 else self._again()
        if not self._read:
            self.rows.read(self._real, self.w)
            self._read = True
        elif before is not None and (self.w.is_cpu or self.known.writes or versions != self._versions()):
            self._keep_written(v, before)  # elsewhere a look waits for the device: only where a counter of torch has moved
        loss = _number(loss)
        self.losses.append(loss.detach() if isinstance(loss, Tensor) else loss)
        if self.count == 1 and v is self.w:
            self._clean.append(self.losses[-1])
        self._last = g = self._gradient()
        if self.guard:
            self._watch(g, loss)
        return g

    def _versions(self) -> list[int]:
        return [p._version for p in self.params]

    def _keep_written(self, v: Tensor, before: Tensor) -> None:
        now = flat(self._real)
        if torch.equal(before, now) or not all_finite(before):
            return
        self.known.writes = True
        if v is not self.w:
            raise RuntimeError(
                "the forward pass writes to the weights (a max_norm, an initialization by data), and this method runs none "
                "at the weights themselves: take one that does, or write to them outside of the closure"
            )
        self.w.copy_(now)

    def _clear(self) -> None:
        for p in self.everything:
            p.grad = None  # or a closure that forgets to clear would add this pass to the one before

    def turn(self, closure: Callable[[], Tensor]) -> None:
        """Turns to another part of the batch: its first pass draws anew and moves statistics, the later ones repeat it."""
        if self.count:
            self._write(self.w)
        self.closure, self.count, self._last = closure, 0, None
        if self.losses:  # not the first part
            self._moved = Moved(self.known, self.params, self._moved.looks)
            self._generators.begin()

    def hand_over(self, direction: Tensor, kept: bool = False) -> None:
        """`direction` as the `.grad` of each parameter that had one in some pass; the others keep None.

        They are views of it where they can be, unless it is `kept`.
        """
        if direction is self._last and self.scale is None and self._complete:
            return  # the last pass left just that there
        if self.sign is not None:
            direction = direction * self.sign
        # Not into the old ones, which may be the caller's own tensors.
        if not kept and self.rows.plain and direction.dtype == self.params[0].dtype:
            grads = unflat(direction, self.params)
        else:
            grads = [torch.empty_like(p) for p in self.params]
            found = [real(g) for g in grads]
            torch._foreach_copy_(found, unflat(direction, found))
        for p, g, graded in zip(self.params, grads, self._graded, strict=True):
            if graded:
                p.grad = g

    def loss(self) -> Tensor | float:
        """The mean over the first passes, at the unperturbed weights; where none ran there, over all."""
        found = self._clean or self.losses
        return found[0] if len(found) == 1 else sum(found) / len(found)

    def known_finite(self, direction: Tensor) -> bool | Tensor:
        """Whether `direction` is finite; the last gradient has been looked at before."""
        return self.finite[-1] if direction is self._last else all_finite(direction)

    def _say_if_nothing_came(self, there: list[bool]) -> None:
        if self.count == 1 and not any(there):
            warnings.warn("the closure left no gradient: it must call loss.backward(), in every pass", stacklevel=2)

    def _write(self, v: Tensor) -> None:
        self.rows.write(v, self._real)
        torch.clear_autocast_cache()  # an autocast around the step keeps casts of the weights that were
        if parametrize._cache_enabled:
            parametrize._cache.clear()

    def _gradient(self) -> Tensor:
        grads = [p.grad for p in self.params]
        there = [g is not None for g in grads]
        self._complete = all(there)
        self._graded = there if self._complete else [a or b for a, b in zip(there, self._graded, strict=True)]
        self._say_if_nothing_came(there)
        sparse = next((g for g in grads if g is not None and g.layout is not torch.strided), None)
        if sparse is not None:
            raise TypeError(
                f"gradients must be dense, got a sparse one for a parameter of shape {tuple(sparse.shape)}: "
                "write nn.Embedding(..., sparse=False)"
            )
        if self._complex or not self._complete:
            grads = [torch.zeros_like(r) if g is None else real(g) for r, g in zip(self._real, grads, strict=True)]
        if self._capturing or sum(g.numel() for g in grads) < LARGE:
            g = flat(grads)
        else:  # piece by piece, each given up when it has been copied, or all gradients would be held twice
            self._complete = False
            g = place_for(grads)
            for i, (p, row) in enumerate(zip(self.params, unflat(g, grads), strict=True)):
                row.copy_(grads[i])
                grads[i] = p.grad = None
        if self.sign is not None:
            g.mul_(self.sign)
        return g if self.scale is None else g.div_(self.scale)

    def _watch(self, g: Tensor, loss: Tensor | float) -> None:
        finite = all_finite(g)
        if self.scale is None:
            finite = finite & (all_finite(loss) if isinstance(loss, Tensor) else math.isfinite(loss))
        self.finite.append(finite)
        if finite is True:
            return
        g.nan_to_num_(0.0, 0.0, 0.0)  # the step is lost, but no pass shall run at weights that are not numbers
        if self.no_sync is not None:
            # Only this worker knows. A NaN in the averaged gradient to come tells the others to do as it does.
            found = torch.as_tensor(finite, device=g.device)
            for p in self.params:
                self._hooks.append(p.register_hook(lambda g: g.masked_fill(~found, math.nan)))

    def _first(self) -> Tensor | float | None:
        self._moved.find()  # not by a hook: a model compiled under one would be compiled anew without it
        with nullcontext() if self.no_sync is None else self.no_sync():
            return self.closure()

    def _again(self) -> Tensor | float | None:
        """A pass that starts where the first one did, and leaves generators and buffers as it found them."""
        self._moved.first_pass_ended()
        before = self._generators.again()
        if self.replays:
            self._moved.begin_again()
        try:
            with self._holding():
                return self.closure()
        finally:
            self._moved.end_again()
            self._generators.put(before)

    def _holding(self) -> AbstractContextManager:
        """Meanwhile what a module that is new here moves is held, to be given back."""
        if "torch._dynamo" in sys.modules:
            self._meet_untraced = _untraced()
        return watched(self._hold)

    def _hold(self, module: nn.Module) -> None:
        if torch.compiler.is_compiling():
            self._meet_untraced(self, module)
        elif module not in self.known.modules or self._capturing:
            self._meet(module)

    def _meet(self, module: nn.Module) -> None:
        # A compiled module calls no hook of those inside it.
        if self._capturing and any(isinstance(m, _DropoutNd) and m.training and m.p > 0 for m in module.modules()):
            raise RuntimeError("dropout cannot repeat its mask in a CUDA graph: capture a model without dropout")
        self._moved.meet(module)

    def _meet_if_new(self, module: nn.Module) -> None:
        if threading.get_ident() == self._thread and (module not in self.known.modules or self._capturing):
            self._meet(module)


def _number(loss: Any) -> Tensor | float:
    """The loss, if it is one real number; else a `TypeError` that says what came."""
    if loss is None:
        raise TypeError("the closure must return the loss, got None: end it with `return loss`")
    if isinstance(loss, np.ndarray) and loss.size == 1:
        loss = loss.item()
    if isinstance(loss, Tensor):
        right = loss.numel() == 1 and not loss.is_complex()
        told = None if right else f"a {loss.dtype} tensor of shape {tuple(loss.shape)}"
    else:
        told = None if isinstance(loss, Real) else f"a {type(loss).__name__}"
    if told is not None:
        raise TypeError(f"the closure must return the loss, one real number, got {told}: keep what else it finds elsewhere")
    return loss


@functools.cache
def _untraced() -> Callable[[Passes, nn.Module], None]:
    # Not at import: the compiler takes seconds to load, and where nobody has loaded it no module is compiled.
    return torch.compiler.disable(Passes._meet_if_new)


@contextmanager
def watched(look: Callable[[nn.Module], None]) -> Iterator[None]:
    """Meanwhile `look(module)` sees every module that this thread calls; one that is compiled, in any thread."""
    thread = threading.get_ident()

    def hook(module: nn.Module, _: Any) -> None:
        if torch.compiler.is_compiling() or threading.get_ident() == thread:
            look(module)

    with HOOKING:
        handle = register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        with HOOKING:
            handle.remove()


def capturing(w: Tensor) -> bool:
    """Whether a CUDA graph is being captured."""
    return w.is_cuda and torch.cuda.is_current_stream_capturing()


def all_finite(v: Tensor) -> bool | Tensor:
    """Whether all of `v` is finite, though its sum may overflow. A tensor where asking would stall."""
    if v.device.type != "cpu":
        return torch.isfinite(torch.linalg.vector_norm(v, math.inf) if v.ndim else v)
    total = v.sum() if v.ndim else v
    return math.isfinite(total.item()) or bool(torch.isfinite(v).all())
