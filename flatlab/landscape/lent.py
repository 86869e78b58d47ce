"""What a model's own classes keep in plain attributes, lent to a forward pass and given back."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Place", "lent"]

Place = tuple[str, str]
"""The name of a module, and that of an attribute of it."""
OWN = frozenset(vars(nn.Module()))
"""What torch itself keeps of a module: its mode, its hooks."""
HOLDING = {list, dict, set, deque, OrderedDict, defaultdict}
ABSENT = object()


@contextmanager
def lent(model: nn.Module, places: Iterable[Place] | None = None) -> Iterator[set[Place]]:
    """Meanwhile the attributes at `places`, or all, are copies, so that what a pass writes to them is gone afterwards.

    It yields a set that holds, at the end, those that were written to. Tensors, lists, dicts and sets are copied;
    anything else can be replaced alone.

    >>> class Counts(nn.Module):
    ...     calls = 0
    ...     def forward(self, x):
    ...         self.calls += 1
    ...         return x
    >>> model = Counts()
    >>> with lent(model) as written:
    ...     _ = model(0), model(0)
    >>> model.calls, written
    (0, {('', 'calls')})
    """
    modules = {name: m for name, m in model.named_modules() if not type(m).__module__.startswith("torch.")}
    everything = places is None
    if everything:
        places = [(path, name) for path, m in modules.items() for name in vars(m) if name not in OWN]
    kept = {(path, name): vars(modules[path]).get(name, ABSENT) for path, name in places}
    copies = {place: _copied(value) for place, value in kept.items()}
    _put(modules, copies)
    written: set[Place] = set()
    try:
        yield written
    finally:
        now = {(path, name): vars(modules[path]).get(name, ABSENT) for path, name in kept}
        if everything:
            new = [(path, name) for path, m in modules.items() for name in vars(m) if name not in OWN]
            kept |= {place: ABSENT for place in new if place not in kept}
            written |= {place for place in new if place not in now}
        written |= {p for p, value in now.items() if value is not copies[p] or not _same(value, kept[p])}
        _put(modules, kept)


def _put(modules: dict[str, nn.Module], values: dict[Place, Any]) -> None:
    for (path, name), value in values.items():
        if value is ABSENT:
            vars(modules[path]).pop(name, None)
        else:
            vars(modules[path])[name] = value


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value if value.grad_fn is not None else value.detach().clone().requires_grad_(value.requires_grad)
    return value.copy() if type(value) in HOLDING else value


def _same(copy: Any, value: Any) -> bool:
    """Whether what was lent still holds what it held."""
    if copy is value:
        return True
    if isinstance(copy, Tensor):
        return copy.is_meta or torch.equal(copy, value)
    if isinstance(copy, dict):
        return copy.keys() == value.keys() and all(copy[k] is value[k] for k in copy)
    return len(copy) == len(value) and all(a is b for a, b in zip(copy, value, strict=True))
