"""All orders of a sweep, some at a time, to their end or to where they are stopped."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Protocol

from flatlab.runs.sweep.attempt import Ending, Order, attempt

__all__ = ["RETRIES", "Outcome", "Watcher", "cores", "local", "work"]

RETRIES = 2
"""How often a run that crashed is started again; it goes on from its checkpoint."""
LOOK_EVERY = 0.2
"""Seconds between two looks at what goes on."""
BUSY_FOR = 1.0
"""Seconds before a run that another process is at is looked at again."""

Submit = Callable[[Order], "Future[Ending]"]


class Watcher(Protocol):
    """Who is told what goes on."""

    def started(self, order: Order) -> None:
        """An attempt begins."""

    def ended(self, order: Order, ending: Ending, again: bool) -> None:
        """An attempt has ended; `again` says that there will be another."""

    def look(self) -> None:
        """Some time has passed."""


@dataclass
class Outcome:
    """What became of the orders."""

    done: list[Order] = field(default_factory=list)
    failed: list[tuple[Order, Ending]] = field(default_factory=list)
    left: list[Order] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The sweep's exit status: 0 all there, 1 some failed, 3 stopped with work left."""
        return 3 if self.left else 1 if self.failed else 0


def work(orders: Sequence[Order], submit: Submit, at_once: int, stop: Callable[[], bool], watcher: Watcher) -> Outcome:
    """Keep `at_once` orders in the hands of `submit` until all have ended; none is started once `stop()` is true.

    A run that crashes is submitted again, `RETRIES` times at most. One that another process is at waits its turn.
    """
    waiting, later = deque(orders), deque[tuple[float, Order]]()
    going: dict[Future[Ending], Order] = {}
    crashes, outcome = dict.fromkeys(orders, 0), Outcome()
    stopping = stop()
    while going or ((waiting or later) and not stopping):
        while later and later[0][0] <= time.monotonic():
            waiting.append(later.popleft()[1])
        while waiting and len(going) < at_once and not stopping:
            order = waiting.popleft()
            watcher.started(order)
            going[submit(order)] = order
        ended = wait(going, LOOK_EVERY, FIRST_COMPLETED).done if going else time.sleep(LOOK_EVERY) or ()
        for future in ended:
            order, ending = going.pop(future), _ending(future)
            crashes[order] += ending.how == "crashed"
            again = ending.how == "crashed" and crashes[order] <= RETRIES
            if ending.how == "done":
                outcome.done.append(order)
            elif ending.how == "busy":
                later.append((time.monotonic() + BUSY_FOR, order))
            elif again:
                waiting.appendleft(order)
            elif ending.how == "stopped":
                outcome.left.append(order)
            else:
                outcome.failed.append((order, ending))
            watcher.ended(order, ending, again)
        watcher.look()
        stopping = stopping or stop()
    outcome.left += [*waiting, *(order for _, order in later)]
    return outcome


def _ending(future: Future[Ending]) -> Ending:
    try:
        return future.result()
    except Exception as error:  # a worker lost for good, a full disk: this run's loss alone
        return Ending("crashed", f"{type(error).__name__}: {error}")


@contextmanager
def local(at_once: int, devices: Sequence[str], stop: Callable[[], bool]) -> Iterator[Submit]:
    """Attempts on this machine, `at_once` at a time, dealt over `devices` evenly."""
    free: SimpleQueue[str] = SimpleQueue()
    for k in range(at_once):
        free.put(devices[k % len(devices)])

    def on_one(order: Order) -> Ending:
        device = free.get()
        try:
            return attempt(order.on(device), stop)
        finally:
            free.put(device)

    with ThreadPoolExecutor(at_once) as pool:
        yield lambda order: pool.submit(on_one, order)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
