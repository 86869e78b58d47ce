"""Generators whose draws every pass repeats: torch's, and Python's and NumPy's where a closure draws from them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

__all__ = ["Foreign", "Generators"]

FIRST, EVERY = 3, 16
"""Whether a closure draws from Python or NumPy is looked at in so many first steps and in every such one: it takes time."""


def _same(a: Any, b: Any) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


WAYS: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "random": (random.getstate, random.setstate),
    "numpy": (np.random.get_state, np.random.set_state),
}


class Foreign:
    """Which of the generators beside torch's a closure draws from, over the steps."""

    def __init__(self):
        self.drawn: set[str] = set()
        self.steps = 0
        self.looks = True
        """Whether this step is one to look in."""

    def of_step(self) -> set[str]:
        """Those to look at in the step that begins."""
        self.looks = self.steps < FIRST or self.steps % EVERY == 0
        self.steps += 1
        return set(WAYS) if self.looks else set(self.drawn)


class Generators:
    """The state at the start of a part's first pass, which the later passes start from, too."""

    def __init__(self, gpus: list[int], foreign: Foreign):
        self.gpus, self.foreign, self.names = gpus, foreign, foreign.of_step()
        self.begin()

    def begin(self) -> None:
        """The first pass of a part begins."""
        self.start = self._states()
        self._drawn: set[str] | None = None

    def again(self) -> tuple:
        """A later pass begins: it will draw what the first one drew. Returns where the generators stood."""
        before = self._states()
        if self._drawn is None:  # the others were left alone, and need not be read again
            self._drawn = {name for name in self.names if not _same(before[2][name], self.start[2][name])}
            self.foreign.drawn |= self._drawn
            self.names = self._drawn
        self.put(self.start)
        return before

    def put(self, states: tuple) -> None:
        """Sets them to what `again` returned."""
        cpu, gpus, others = states
        torch.set_rng_state(cpu)
        for gpu, state in zip(self.gpus, gpus, strict=True):
            torch.cuda.set_rng_state(state, gpu)
        for name in self._drawn:
            WAYS[name][1](others[name])

    def _states(self) -> tuple:
        gpus = [torch.cuda.get_rng_state(gpu) for gpu in self.gpus]
        return torch.get_rng_state(), gpus, {name: WAYS[name][0]() for name in self.names}
