"""A step in two halves, for a loop that runs its backward passes itself."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from torch import Tensor

from flatlab.optim.passes import Passes

__all__ = ["Elsewhere", "Split"]


class Elsewhere(Exception):
    """The rule asks for a gradient that is still to be taken: the weights now stand where it wants it."""


class Split(Passes):
    """Passes that the caller makes. In each half the rule runs anew and gets the gradients that have been found so far."""

    def __init__(self, params: list[Tensor], **how: Any):
        super().__init__(params, _no_closure, **how)
        self.found: list[Tensor] = []
        self.asked = 0
        self._there = False
        self._hook = ExitStack()

    def gradient_is_there(self) -> None:
        """A backward pass has left its gradient on the parameters: the rule runs, from its start."""
        self._there, self.asked = True, 0

    def __call__(self, v: Tensor) -> Tensor:
        """The gradient at `v`, if it is there. Raises `Elsewhere` if not, with the weights at `v` and gradients cleared."""
        self.asked += 1
        if self.asked <= len(self.found):
            return self.found[self.asked - 1]
        if not self._there:
            self._write(v)
            self._clear()
            raise Elsewhere
        self._there = False
        self.count += 1
        self._last = g = self._gradient()
        if self.guard:
            self._watch(g, 0.0)
        self.found.append(g)
        return g

    def leave(self) -> None:
        """Between the halves: what the pass in between moves shall go back to where it stands now."""
        self._moved.find()
        self._hook.enter_context(self._holding())

    def come_back(self) -> None:
        """After that pass: it does go back, and so do the weights."""
        self._hook.close()
        self._moved.first_pass_ended()  # what it has moved is known from now on, and watched in every step
        self._moved.restore()
        self.__exit__(None)


def _no_closure() -> Tensor:
    raise AssertionError("the passes of a split step are the caller's: no closure runs")
