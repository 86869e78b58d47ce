"""Generators whose draws every pass repeats: torch's, and those of Python, NumPy and the user that a closure draws from."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Foreign", "Generators", "referred"]

FIRST, EVERY = 3, 16
"""What a closure draws from beside torch's own is looked at in so many first steps and every such one: it takes time."""
DEEP = 3
"""Steps from the closure to a generator: a function it calls, an object, its attribute."""

Way = tuple[Callable[[], Any], Callable[[Any], None]]
WAYS: dict[Any, Way] = {
    "random": (random.getstate, random.setstate),
    "numpy": (np.random.get_state, np.random.set_state),
}
"""How the state of a generator is read and set, by its name, or by the `id` of one of the user's own."""


class Foreign:
    """Which of the generators beside torch's a closure draws from, over the steps."""

    def __init__(self):
        self.drawn: set[Any] = set()
        self.steps = 0
        self.looks = True
        """Whether this step is one to look in."""
        self.ways = dict(WAYS)

    def of_step(self, closure: Any) -> set[Any]:
        """Those to look at in the step that begins."""
        self.looks = self.steps < FIRST or self.steps % EVERY == 0
        self.steps += 1
        if not self.looks:
            return set(self.drawn)
        self.ways = {k: way for k, way in self.ways.items() if k in WAYS or k in self.drawn}
        self.ways |= {id(g): _way(g) for g in referred(closure)}
        return set(self.ways)


class Generators:
    """The state at the start of a part's first pass, which the later passes start from, too."""

    def __init__(self, gpus: list[int], foreign: Foreign, closure: Any):
        self.gpus, self.foreign, self.names = gpus, foreign, foreign.of_step(closure)
        self.begin()

    def begin(self) -> None:
        """The first pass of a part begins."""
        self.start = self._states()
        self._drawn: set[Any] | None = None

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
            self.foreign.ways[name][1](others[name])

    def _states(self) -> tuple:
        gpus = [torch.cuda.get_rng_state(gpu) for gpu in self.gpus]
        return torch.get_rng_state(), gpus, {name: self.foreign.ways[name][0]() for name in self.names}


def referred(closure: Any) -> list[Any]:
    """Generators that a closure refers to: from its scope, its arguments, or attributes of the objects and modules there.

    >>> own = random.Random(0)
    >>> referred(lambda: own.random()) == [own]
    True
    """
    found: dict[int, Any] = {}
    seen, nearest = set(), [closure]
    for _ in range(1 + DEEP):
        nearest, of = [], nearest
        for value in of:
            if id(value) in seen:
                continue
            seen.add(id(value))
            if _is_generator(value):
                found[id(value)] = value
            else:
                nearest += _within(value)
    return list(found.values())


def _is_generator(value: Any) -> bool:
    known = torch.Generator, np.random.Generator, np.random.RandomState
    return isinstance(value, known) or (isinstance(value, random.Random) and not isinstance(value, random.SystemRandom))


def _within(value: Any) -> list[Any]:
    """What a value refers to."""
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if _is_full(cell)]
        used = [value.__globals__[name] for name in _names(value.__code__) if name in value.__globals__]
        return [*cells, *used, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, nn.Module):
        return [v for m in value.modules() for v in vars(m).values() if _is_generator(v)]
    if isinstance(value, type | ModuleType | Tensor) or not hasattr(value, "__dict__"):
        return []
    return list(vars(value).values())


def _names(code: CodeType) -> Iterator[str]:
    """What a function reads from around it, and those within it."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _is_full(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 (to ask is to read)
    except ValueError:
        return False
    return True


def _way(g: Any) -> Way:
    if isinstance(g, torch.Generator):
        return g.get_state, g.set_state
    if isinstance(g, random.Random):
        return g.getstate, g.setstate
    if isinstance(g, np.random.RandomState):
        return g.get_state, g.set_state
    return lambda: g.bit_generator.state, lambda state: setattr(g.bit_generator, "state", state)


def _same(a: Any, b: Any) -> bool:
    """Whether two states are equal: trees of numbers, arrays and texts."""
    if isinstance(a, dict):
        return all(_same(v, b[k]) for k, v in a.items())
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, tuple) and any(isinstance(v, np.ndarray) for v in a):
        return all(map(_same, a, b))
    return a == b
