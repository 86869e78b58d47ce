"""Gradients that were there before a step: an outer loop may have accumulated them, and no closure can make use of them."""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["Outside"]

LOOKS = 8
"""How often values are looked at, which waits for a device: where clearing leaves zeros there is always something."""
REMEDY = "to accumulate, give it a closure over all parts of the batch, as flatlab.optim shows under Accumulation"
CALLER = 9
"""Frames between the warning and the line that calls `step`."""


class Outside:
    """Warns once, where gradients stand before a step that no earlier step has left there.

    Two parameters are looked at in every step, by identity and version of their gradients; the values of all only where
    those are new.
    """

    def __init__(self):
        self.told = False
        self.looks = 0
        self._kept: list[tuple[Tensor, weakref.ref[Tensor], int]] = []
        """The first and the last parameter with a gradient, and what that was."""

    def keep(self, params: list[Tensor]) -> None:
        """What stands there now is known: a step has left it, or it was there before the optimizer was."""
        if not self.told and self.looks < LOOKS:
            ends = (_first(params), _first(reversed(params)))
            self._kept = [(p, weakref.ref(p.grad), p.grad._version) for p in ends if p is not None]

    def look(self, name: str, params: list[Tensor]) -> None:
        """Before the first pass of the optimizer called `name`."""
        if self.told:
            return
        accelerate = sys.modules.get("accelerate.state")
        parts = 1 if accelerate is None else accelerate.GradientState().num_steps
        if parts > 1 and _called_by("accelerate.optimizer"):  # it skips the other steps, so that their closures never run
            self._tell(f"{name}: accelerate's gradient_accumulation_steps={parts} leaves all but every {parts}th batch out")
            return
        if self.looks == LOOKS:
            return
        if self._kept:
            known = all(p.grad is None or (ref() is p.grad and v == p.grad._version) for p, ref, v in self._kept)
        else:
            known = _first(params) is None
        if known or params[0].is_meta:
            return
        self.looks += 1
        grads = [p.grad for p in params if p.grad is not None and p.grad.layout is torch.strided]
        if grads and torch.stack([g.any() for g in grads]).any():
            self._tell(
                f"{name}: gradients that stand there before the step do not count, for it takes its own at other weights "
                "(clear those of another loss by opt.zero_grad())"
            )

    def _tell(self, what: str) -> None:
        self.told = True
        warnings.warn(f"{what}: {REMEDY}", stacklevel=CALLER)


def _called_by(module: str) -> bool:
    """Whether a function of that module is on the stack: the number of parts is one for the whole process."""
    frame = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__") != module:
        frame = frame.f_back
    return frame is not None


def _first(params: Iterable[Tensor]) -> Tensor | None:
    return next((p for p in params if p.grad is not None), None)
