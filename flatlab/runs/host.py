"""Where a long run happens: its device, the file that keeps its unfinished state, who watches, and who may stop it."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from flatlab.runs import tensor_file
from flatlab.runs.atomic_write import PART
from flatlab.runs.clock import Clock

__all__ = ["Busy", "Host", "Stopped", "device_of", "on_signals", "stop_on_signals"]

Tensors = dict[str, Tensor]
Watch = Callable[[dict[str, Any]], None]


class Stopped(Exception):
    """The run was asked to stop, and did so after it had saved its state; the message says where it stands."""


class Busy(RuntimeError):
    """Another process is at the same run."""


class Host:
    """Keeps the state of one run in one file without pickle: tensors, and the rest as JSON in the file's header.

    - `file`: where the unfinished state lies; None keeps nothing.
    - `device`: `"auto"` (CUDA if there is one, else the CPU) or a name that torch knows.
    - `every`: minutes between two checkpoints inside an epoch, >= 0. One is written after every epoch, too, unless that
      would take more than a hundredth of the time.
    - `graph`: whether a GPU replays the step as one CUDA graph, for networks too small to keep it busy.
    - `watch`: called with the run's news, a dict with `epoch`, `step`, `steps`, `loss` and the like.
    - `weights`: whether the trained weights are kept beside the record.

    `stop` is an event: once it is set, the run saves its state at the end of the step and raises `Stopped`.
    Raises `ValueError` for a device that is not there, a graph without a CUDA device, or another `every`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Host(f"{folder}/run.safetensors").keep({"w": torch.ones(2)}, {"epoch": 3})
    ...     Host(f"{folder}/run.safetensors").kept()
    ({'w': tensor([1., 1.])}, {'epoch': 3})
    """

    def __init__(
        self,
        file: str | Path | None = None,
        *,
        device: str = "auto",
        every: float = 5.0,
        graph: bool = False,
        watch: Watch = lambda news: None,
        weights: bool = True,
    ):
        self.file = None if file is None else Path(file)
        if not every >= 0:
            raise ValueError(f"every must be >= 0 minutes, got {every}")
        self.device, self.every, self.graph, self.watch = device_of(device), every, graph, watch
        if graph and self.device.type != "cuda":
            raise ValueError(f"graph needs a CUDA device, got {self.device}")
        self.weights = weights
        self.trained: Tensors | None = None
        """The weights and buffers of the network at the end of its run, by name, where it leaves any."""
        self.stop = threading.Event()
        self.config: dict[str, Any] = {}
        """The settings of the run, kept with its state for whoever looks at what is unfinished."""
        self.clock = Clock()
        """Counts from the first start on, up to the state that was taken up, and since this start."""
        self._saving = 0.0
        self._last = time.perf_counter()

    def due(self) -> bool:
        """Whether `every` minutes have passed since the last checkpoint."""
        return self.file is not None and time.perf_counter() - self._last >= 60 * self.every

    def affordable(self) -> bool:
        """Whether a checkpoint now, if it takes as long as the last, costs at most 1% of the time since that."""
        return time.perf_counter() - self._last >= 100 * self._saving

    def keep(self, tensors: Tensors, state: dict[str, Any]) -> None:
        """Write the checkpoint, as a whole or not at all."""
        if self.file is None:
            return
        now = time.perf_counter()
        tensor_file.write(self.file, tensors, state | {"times": self.clock.times(), "config": self.config})
        self._last = time.perf_counter()
        self._saving = self._last - now

    def kept(self) -> tuple[Tensors, dict[str, Any]] | None:
        """The checkpoint, or None if there is none. Raises `ValueError` if it is damaged or another run's."""
        if self.file is None or not self.file.exists():
            return None
        try:
            tensors, state = tensor_file.read(self.file)
            times = state.pop("times")
            self.clock.before = {name: float(times[name]) for name in self.clock.before}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.file} is no checkpoint ({error}): delete it to start anew") from None
        self._check_settings(state.pop("config", None))
        return tensors, state

    def _check_settings(self, there: dict[str, Any] | None) -> None:
        here = json.loads(json.dumps(self.config))
        if not there or not here:  # whoever runs without `perform` names none
            return
        for name in sorted(there.keys() | here.keys()):
            if there.get(name) != here.get(name):
                raise ValueError(
                    f"{self.file} is the checkpoint of a run with {name} {there.get(name)}, and here it is "
                    f"{here.get(name)}: take another file, or delete it to start anew"
                )

    def forget(self) -> None:
        """Delete the checkpoint: the run has ended."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)

    @contextmanager
    def only_one(self) -> Iterator[None]:
        """For the length of a run: `Busy` if another process is at the same one. Sweeps up broken writes."""
        if self.file is None:
            yield
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.file.with_suffix(".lock"))
        try:
            with lock.acquire(blocking=False):
                for broken in self.file.parent.glob(f"{self.file.stem}*{PART}"):
                    broken.unlink()
                yield
        except Timeout:
            raise Busy(f"another process is at this run ({lock.lock_file} is locked)") from None


def device_of(name: str) -> torch.device:
    """The device of that name, see `Host`, with what it raises."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} is not there: {str(error).splitlines()[0]}") from None
    return device


@contextmanager
def on_signals(ask: Callable[[int], None]) -> Iterator[None]:
    """Meanwhile Ctrl-C and SIGTERM call `ask` with the signal's number, and do nothing else."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    old = {number: signal.signal(number, lambda number, frame: ask(number)) for number in numbers}
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, old[number])


@contextmanager
def stop_on_signals(host: Host) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the run to stop at the end of its step; a second one ends the process at once."""

    def ask(number: int) -> None:
        if host.stop.is_set():
            os._exit(128 + number)
        host.stop.set()

    with on_signals(ask):
        yield
