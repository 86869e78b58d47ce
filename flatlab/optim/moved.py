"""What a forward pass moves beside the weights: buffers of the modules that it calls. Found by running it, not by name."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

__all__ = ["Known", "Moved"]

Entry = tuple[Tensor | None, int, Tensor | None]
"""A buffer, its version, and its value where it is worth a copy; no buffer yet is None."""


class Known:
    """The modules that a closure calls, those of them that have buffers, and which of these some pass has moved."""

    def __init__(self):
        self.modules: WeakKeyDictionary[nn.Module, None] = WeakKeyDictionary()
        self.searched = False
        """Whether the modules of the trained parameters have been looked for: that walks through all objects there are."""
        self.moving: WeakKeyDictionary[nn.Module, tuple[bool, set[str]]] = WeakKeyDictionary()
        """Whether the module was in train mode when it was looked at, and the names of the buffers that moved."""
        self.writes = False
        """Whether a pass has written to the weights."""


class Moved:
    """The buffers of one step, or of one part of a batch: where its first pass starts and ends, for the later ones.

    A module that is new, or has changed its mode, is copied whole once. What has then changed, by value, is copied from
    there on; all other buffers are watched by their version alone.
    """

    def __init__(self, known: Known):
        self.known = known
        self.start = {m: self._look(m) for m in known.moving} if known.moving else {}
        self.end: dict[nn.Module, dict[str, tuple[Tensor, Tensor]]] | None = None
        self._late: dict[nn.Module, dict[str, Entry]] = {}
        self._bare: list[nn.Module] = []
        """New modules without a buffer, which may make one as they run."""

    def find(self, params: list[Tensor]) -> None:
        """Meets the modules that these parameters belong to, before the very first pass."""
        if self.known.searched:
            return
        self.known.searched = True
        own = set(map(id, params))
        for m in [o for o in gc.get_objects() if issubclass(type(o), nn.Module)]:
            try:
                ours = any(id(p) in own for p in m.parameters())
            except (AttributeError, RuntimeError):  # it is being built, by another thread or in its own constructor
                continue
            if ours and m not in self.known.modules:
                self.meet(m)

    def meet(self, module: nn.Module) -> None:
        """A module is about to run, and those inside it, for which a compiled one calls no hook."""
        new = [m for m in module.modules() if m not in self.known.modules]
        self.known.modules.update(dict.fromkeys(new))
        for m in new:
            if len(m._buffers):
                self.known.moving[m] = (not m.training, set())  # as if its mode had changed
                (self.start if self.end is None else self._late)[m] = self._look(m)
            else:
                self._bare.append(m)

    def first_pass_ended(self) -> None:
        """Notes where the buffers that moved have come to."""
        if self.end is None:
            self.end = {}
            for m in self._bare:
                if len(m._buffers):
                    self.known.moving[m], self.start[m] = (m.training, set()), {}
            self._bare = []
            self._note(self.start)

    def begin_again(self) -> None:
        """Before a later pass: the buffers stand where the first one started, and those that it made are none again."""
        for m, entries in (*self.start.items(), *((m, {}) for m in self._bare)):
            if len(m._buffers) > len(entries):
                for name in set(m._buffers) - entries.keys():
                    del m._buffers[name]
        self._put((m, name, b, value) for m, entries in self.start.items() for name, (b, _, value) in entries.items())

    def end_again(self) -> None:
        """After a later pass: they stand where the first one ended."""
        late, self._late = self._late, {}
        # What is met only here stands at its start before the first pass moved it, or after: either way it goes back there.
        self._put((m, name, b, value) for m, entries in late.items() for name, (b, _, value) in entries.items())
        self._put((m, name, b, value) for m, entries in self.end.items() for name, (b, value) in entries.items())

    def restore(self) -> None:
        """After a step that failed: where it started."""
        self.begin_again()

    def _look(self, m: nn.Module) -> dict[str, Entry]:
        mode, names = self.known.moving[m]
        anew = mode != m.training
        return {
            name: (None, 0, None) if b is None else (b, b._version, b.clone() if anew or name in names else None)
            for name, b in m._buffers.items()
        }

    def _note(self, start: dict[nn.Module, dict[str, Entry]]) -> None:
        for m, entries in start.items():
            mode, names = self.known.moving[m]
            if mode != m.training:
                names = {name for name, entry in entries.items() if _has_moved(m, name, entry)}
                start[m] = {name: (b, v, value if name in names else None) for name, (b, v, value) in entries.items()}
            else:
                names |= {name for name, (b, v, _) in entries.items() if _rewritten(m, name, b, v)}
            now = dict(m._buffers.items())  # a scripted module's has no get
            names |= now.keys() - entries.keys()
            self.known.moving[m] = (m.training, names)
            now = {name: now.get(name) for name in names}
            self.end[m] = {name: (b, b.clone()) for name, b in now.items() if b is not None}

    @staticmethod
    def _put(values: Iterable[tuple[nn.Module, str, Tensor, Tensor | None]]) -> None:
        buffers, saved = [], []
        for module, name, buffer, value in values:
            if value is None and buffer is not None:
                continue
            if _current(module, name) is not buffer:  # it was not written to, but replaced
                module._buffers[name] = buffer
            if buffer is None:
                continue
            buffers.append(buffer)
            saved.append(value)
        if buffers:
            torch._foreach_copy_(buffers, saved)


def _current(module: nn.Module, name: str) -> Tensor | None:
    buffers = module._buffers
    return buffers[name] if name in buffers else None  # noqa: SIM401 (a scripted module's have no get)


def _rewritten(module: nn.Module, name: str, buffer: Tensor | None, version: int) -> bool:
    return _current(module, name) is not buffer or (buffer is not None and buffer._version != version)


def _has_moved(module: nn.Module, name: str, entry: Entry) -> bool:
    buffer, version, value = entry
    if _rewritten(module, name, buffer, version):
        return True
    # Native batch norm writes without a new version.
    return buffer is not None and (buffer.is_meta or not torch.equal(buffer, value))
