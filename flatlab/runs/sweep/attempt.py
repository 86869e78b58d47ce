"""One attempt at one run, in a process of its own, which may be killed, may crash, and may be asked to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from flatlab.runs import exit_status

__all__ = ["Ending", "Order", "attempt", "is_locked"]

PATIENCE = 30.0
"""Seconds that a run asked to stop has for its checkpoint before it is killed."""
LAST_LINES = 12


@dataclass(frozen=True)
class Order:
    """A run to be made: its command, what to set in its environment, and its files.

    `state` is the checkpoint. Beside it lie the run's lock, the sweep's own claim on the run, and, after a failure, what
    the run wrote to its standard error stream.
    """

    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    record: Path
    state: Path

    def on(self, device: str) -> Order:
        """The same run on that device; an empty name leaves the choice to the run."""
        return replace(self, command=(*self.command, "--device", device)) if device else self

    @property
    def errors(self) -> Path:
        """Where the run's standard error stream goes."""
        return self.state.with_suffix(".stderr")


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    `how` is one of `done`, `stopped` (as asked), `busy` (another process is at this run), `crashed` (another attempt may
    go better: killed, out of memory, a file that could not be read), and `failed` (it would fail again).
    """

    how: str
    told: str = ""


def attempt(order: Order, stop: Callable[[], bool] = lambda: False) -> Ending:
    """Make the run, unless its record is there or another process is at it. `stop()` is asked some times a second."""
    order.state.parent.mkdir(parents=True, exist_ok=True)
    claim = order.state.with_suffix(".claim")
    try:
        with FileLock(claim, blocking=False):
            # The lock is the run's own, which a run started by hand holds as well.
            if is_locked(order.state.with_suffix(".lock")):
                return Ending("busy")
            ending = Ending("done") if order.record.exists() else _run(order, stop)
            if ending.how in ("done", "stopped"):
                order.errors.unlink(missing_ok=True)
            if ending.how == "done":
                claim.unlink(missing_ok=True)  # whoever gets this very file next finds the record
            return ending
    except Timeout:
        return Ending("busy")


def is_locked(lock: Path) -> bool:
    """Whether a process holds the lock file now."""
    try:
        with FileLock(lock, blocking=False):
            return False
    except Timeout:
        return True


def _run(order: Order, stop: Callable[[], bool]) -> Ending:
    with order.errors.open("wb") as errors:
        # A group of its own: Ctrl-C at the terminal reaches the sweep alone, which then asks each run once.
        process = subprocess.Popen(
            order.command,
            env=os.environ | dict(order.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            process_group=0,
        )
    try:
        while process.poll() is None and not stop():
            time.sleep(0.05)
        asked = process.returncode is None
        if asked:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return _ending(order, process.returncode, asked)


def _ending(order: Order, status: int, asked: bool) -> Ending:
    if order.record.exists():
        return Ending("done")
    if asked:
        return Ending("stopped")
    if is_locked(order.state.with_suffix(".lock")):
        return Ending("busy")  # a run started by hand was quicker to take the lock
    lines = order.errors.read_text(errors="replace").rstrip().splitlines()
    how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    if status == exit_status.DONE:
        how += f", but no record at {order.record}"
    told = "\n".join([how, *lines[-LAST_LINES:]])
    again = status not in (exit_status.DONE, exit_status.WRONG, exit_status.DIVERGED)
    return Ending("crashed" if again else "failed", told)
