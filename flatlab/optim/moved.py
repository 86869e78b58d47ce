"""What a forward pass moves beside the weights: what the modules that it calls hold. Found by running it, not by name."""

from __future__ import annotations

import gc
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn

__all__ = ["Known", "Moved"]

Place = tuple[int, str]
"""Where a module holds something, as an index into `_holders`, and its name there."""
BUFFER, PARAMETER, ATTRIBUTE = range(3)
Entry = tuple[Any, tuple | None, Any]
"""What stands at a place, its mark where it is a tensor, and what it holds, where that is worth a copy."""
OWN = frozenset(vars(nn.Module()))
"""What torch itself keeps of a module: its mode, its hooks."""
HOLDING = {list, dict, set, deque, OrderedDict, defaultdict}


class Known:
    """The modules that a closure calls, and what some pass has moved of each."""

    def __init__(self):
        self.modules: WeakKeyDictionary[nn.Module, tuple[bool | None, set[Place]]] = WeakKeyDictionary()
        """Whether the module was in train mode when it was looked at, and the places that moved."""
        self.moving: WeakSet[nn.Module] = WeakSet()
        """Those to watch in every step: they have buffers, or something else of theirs has moved."""
        self.searched = False
        """Whether the modules of the trained parameters have been looked for: that walks through all objects there are."""
        self.writes = False
        """Whether a pass has written to the weights."""


class Moved:
    """What the modules hold in one step, or one part of a batch: where its first pass starts and ends, for the later ones.

    That is buffers, parameters that are not trained, and what a module of the user's keeps in plain attributes: tensors,
    numbers, and lists, dicts and sets of anything. A module that is new, or has changed its mode, is copied whole once.
    What has then changed, by value, is copied from there on. All other buffers are watched by their version, in every
    step; parameters and attributes so too, but where `looks` says so alone.
    """

    def __init__(self, known: Known, trained: list[Tensor], looks: bool = True):
        self.known, self.trained, self.looks = known, trained, looks
        self._own: set[int] | None = None
        self._room: int | None = None
        """Numbers outside of buffers that may still be copied: as many as are trained; a large frozen model comes once."""
        self.start = {m: self._look(m) for m in (known.modules if looks else known.moving)}
        self.end: dict[nn.Module, dict[Place, Entry]] | None = None
        self._late: dict[nn.Module, dict[Place, Entry]] = {}
        self._strangers: dict[nn.Module, dict[Place, Entry]] = {}
        """Modules without a trained parameter, before the very first pass: a loss may be one of them."""

    def find(self) -> None:
        """Meets the modules that the trained parameters belong to, before the very first pass."""
        if self.known.searched:
            return
        self.known.searched = True
        own = set(map(id, self.trained))
        for m in [o for o in gc.get_objects() if issubclass(type(o), nn.Module)]:
            try:
                ours = any(id(p) in own for p in m.parameters())
                if not ours and m.training:
                    self._strangers[m] = self._look(m, own=False)
            except (AttributeError, RuntimeError):  # it is being built, by another thread or in its own constructor
                continue
            if ours:
                self.meet(m)

    def meet(self, module: nn.Module) -> None:
        """A module is about to run, and those inside it, for which a compiled one calls no hook."""
        for m in module.modules():
            if m in self.known.modules:
                continue
            entries = self._strangers.pop(m, None) if self.end is not None else self._look(m)
            self.known.modules[m] = None, set()
            if len(m._buffers):
                self.known.moving.add(m)
            if self.end is None:
                self.start[m] = entries
            elif entries is not None:
                self.start[m] = entries
                self._note(m)
                self._put(self._moved(m, self.start))
            else:
                self._late[m] = self._look(m)

    def first_pass_ended(self) -> None:
        """Notes where what has moved has come to."""
        if self.end is None:
            self.end = {}
            for m in self.start:
                self._note(m)

    def begin_again(self) -> None:
        """Before a later pass: all stands where the first one started, and what that made is none again."""
        for m, entries in self.start.items():
            holders = _holders(m)
            if self.end is None:  # it has failed, and nothing is known of what it moved
                made = [(BUFFER, name) for name in m._buffers.keys() if (BUFFER, name) not in entries]  # noqa: SIM118
            else:
                made = [place for place in self.end.get(m, ()) if place not in entries]
            for kind, name in made:
                if name in holders[kind]:
                    del holders[kind][name]
        every = self.start if self.end is None else self.end
        self._put(entry for m in every for entry in self._moved(m, self.start))

    def end_again(self) -> None:
        """After a later pass: it stands where the first one ended."""
        late, self._late = self._late, {}
        # What is met only here stands at its start before the first pass moved it, or after: either way it goes back there.
        self._put((m, place, entry) for m, entries in late.items() for place, entry in entries.items() if not place[0])
        self._put((m, place, entry) for m, entries in self.end.items() for place, entry in entries.items())

    def restore(self) -> None:
        """After a step that failed: where it started."""
        self.begin_again()

    def _look(self, m: nn.Module, own: bool = True) -> dict[Place, Entry]:
        mode, places = self.known.modules.get(m, (None, set()))
        anew = mode is not m.training
        entries = {(BUFFER, name): _entry(b, anew or (BUFFER, name) in places) for name, b in m._buffers.items()}
        if self.looks:
            entries |= {place: self._other(value, place in places or (anew and own)) for place, value in _others(m)}
        elif places:
            holders = _holders(m)
            for kind, name in places:
                if kind != BUFFER and name in holders[kind]:
                    entries[kind, name] = _entry(holders[kind][name], True)
        return entries

    def _other(self, value: Any, copied: bool) -> Entry:
        """An entry of a parameter or an attribute."""
        if not isinstance(value, Tensor):
            return _entry(value, copied)
        if self._own is None:
            self._own, self._room = set(map(id, self.trained)), sum(p.numel() for p in self.trained)
        if id(value) in self._own:  # it is written by the rule; only whether another comes to its place
            return value, None, None
        if copied:
            self._room -= value.numel()
            copied = self._room >= 0
        return _entry(value, copied)

    def _note(self, m: nn.Module) -> None:
        mode, places = self.known.modules[m]
        entries, holders = self.start[m], _holders(m)
        if mode is not m.training:
            places = {place for place in places if place[0] != BUFFER}
        known = frozenset(places)
        for place, entry in entries.items():
            if place not in known and _has_moved(holders, place, entry):
                places.add(place)
        places |= {(BUFFER, name) for name in m._buffers.keys() if (BUFFER, name) not in entries}  # noqa: SIM118
        if self.looks:
            places |= {place for place, value in _others(m) if place not in entries and _counts(value)}
        self.known.modules[m] = m.training, places
        if places or len(m._buffers):
            self.known.moving.add(m)
        self.start[m] = {place: entry if place in places else (*entry[:2], None) for place, entry in entries.items()}
        if places:
            self.end[m] = {(k, name): _entry(holders[k][name], True) for k, name in places if name in holders[k]}

    def _moved(self, m: nn.Module, entries: dict[nn.Module, dict[Place, Entry]]) -> Iterable[tuple]:
        """What `entries` has of what has moved of `m`; of everything, before that is known."""
        of = entries[m]
        places = of if self.end is None else self.end.get(m, ())
        return [(m, place, of[place]) for place in places if place in of]

    @staticmethod
    def _put(values: Iterable[tuple[nn.Module, Place, Entry]]) -> None:
        tensors, saved = [], []
        for module, (kind, name), (value, _, copy) in values:
            holder = _holders(module)[kind]
            now = holder[name] if name in holder else None  # noqa: SIM401 (a scripted module's have no get)
            if now is not value and (kind != ATTRIBUTE or _counts(now) or _counts(value)):
                holder[name] = value  # it was not written to, but replaced
            if copy is None:
                continue
            if isinstance(value, Tensor):
                if value.shape != copy.shape:
                    value.resize_(copy.shape)
                tensors.append(value)
                saved.append(copy)
            else:
                _refill(value, copy)
        if tensors:
            with torch.no_grad():
                torch._foreach_copy_(tensors, saved)


def _holders(m: nn.Module) -> tuple:
    return m._buffers, m._parameters, vars(m)


def _others(m: nn.Module) -> list[tuple[Place, Any]]:
    """Parameters, and what a class of the user's keeps in plain attributes; torch's own classes keep nothing there."""
    found: list[tuple[Place, Any]] = [((PARAMETER, name), p) for name, p in m._parameters.items()]
    if not type(m).__module__.startswith("torch."):
        found += [((ATTRIBUTE, name), value) for name, value in vars(m).items() if name not in OWN]
    return found


def _counts(value: Any) -> bool:
    """Whether an attribute is of a kind that a pass may move; flags, names and objects are settings."""
    return isinstance(value, Tensor | int | float) and not isinstance(value, bool) or type(value) in HOLDING


def _mark(t: Tensor) -> tuple:
    """What changes with the values of a tensor, but for what native batch norm and `t.data` write."""
    plain = type(t) in (Tensor, nn.Parameter) and t.layout is torch.strided
    return t._version, t.data_ptr() if plain else 0


def _entry(value: Any, copied: bool) -> Entry:
    if isinstance(value, Tensor):
        # One of a graph can only be replaced, and a lazy one has no values yet.
        if nn.parameter.is_lazy(value) or value.grad_fn is not None or value.is_inference():
            return value, None, None
        return value, _mark(value), value.detach().clone() if copied else None
    return value, None, value.copy() if type(value) in HOLDING else None


def _has_moved(holders: tuple, place: Place, entry: Entry) -> bool:
    (kind, name), (value, mark, copy) = place, entry
    now = holders[kind][name] if name in holders[kind] else None  # noqa: SIM401 (a scripted module's have no get)
    if now is not value:
        if kind != ATTRIBUTE:
            return True
        if not (_counts(now) or _counts(value)):
            return False
        return not (type(now) is type(value) and isinstance(now, int | float) and now == value)
    if isinstance(value, Tensor):
        if mark is not None and _mark(value) != mark:
            return True
        # Native batch norm writes without a new version.
        return copy is not None and (value.is_meta or not torch.equal(value, copy))
    return copy is not None and not _same(value, copy)


def _same(a: Any, b: Any) -> bool:
    """Whether two lists, dicts or sets hold the same objects, or equal numbers."""
    if len(a) != len(b):
        return False
    if isinstance(a, dict):
        return all(k in b and _one(v, b[k]) for k, v in a.items())
    return all(map(_one, a, b)) if not isinstance(a, set) else a == b


def _one(a: Any, b: Any) -> bool:
    return a is b or (isinstance(a, int | float) and type(a) is type(b) and a == b)


def _refill(value: Any, content: Any) -> None:
    """Gives a list, dict or set its content back."""
    value.clear()
    value.update(content) if isinstance(value, dict | set) else value.extend(content)
