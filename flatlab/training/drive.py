"""A job from wherever it stands to its end: resumed, watched, saved, and stopped when asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from torch import Tensor

from flatlab.runs.host import Host, Stopped

__all__ = ["Job", "drive"]

TELL_EVERY = 0.2
"""Seconds between two news for a watcher."""


class Job(Protocol):
    """What goes on epoch by epoch and can be saved at every rest in between."""

    step: int

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""

    def advance(self) -> Iterator[None]:
        """On to the end of an epoch; yields wherever `state` is whole. `step` is 0 at the end."""

    def news(self) -> dict[str, Any]:
        """Where the job stands: `epoch`, `epochs`, `step`, `steps`, `batch`, and what else a watcher may show."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the rest depends on: tensors by name, and the rest as JSON."""

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Take up what `state` gave."""


def drive(job: Job, host: Host, report: Callable[[str], None] = lambda line: None) -> None:
    """Take up what `host` has kept of the job, tell `report` so, and go on to its end.

    A checkpoint is written every `host.every` minutes, at the end, and after the epochs where it costs little. Raises
    `Stopped`, with all saved, if `host.stop` is set before the end, and `ValueError`, naming the file, for a checkpoint
    that is damaged or does not fit the job.
    """
    kept = host.kept()
    if kept is not None:
        try:
            job.restore(*kept)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            told = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise ValueError(
                f"{host.file} does not fit this run ({told[:200]}): another version or other data, network or device made "
                "it; delete it to start anew"
            ) from error
        at = job.news()
        report(f"goes on in epoch {at['epoch']} of {at['epochs']}, after step {at['step']} of {at['steps']}")
    done, began, told = 0, time.perf_counter(), 0.0
    while not job.finished:
        before = job.step
        for _ in job.advance():
            done += (job.step or job.news()["steps"]) - before
            before = job.step
            now, ended, stopping = time.perf_counter(), job.step == 0, host.stop.is_set()
            if (ended and (job.finished or host.affordable())) or host.due() or stopping:
                host.keep(*job.state())
            if ended or now - told > TELL_EVERY:
                told, news = now, job.news()
                host.watch(news | {"images_s": done * news["batch"] / (now - began), "done": job.finished})
            if stopping and not job.finished:
                at = job.news()
                raise Stopped(f"stopped in epoch {at['epoch']} of {at['epochs']}, after step {at['step']} of {at['steps']}")
