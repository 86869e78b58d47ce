"""A training that something is measured of: at the start, every so many epochs, and at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from flatlab.runs.host import Host
from flatlab.training.arithmetic import arithmetic
from flatlab.training.drive import drive
from flatlab.training.examples import examples
from flatlab.training.train import Train
from flatlab.training.trainer import Trainer

__all__ = ["MeasuredTraining", "measure_in_training"]

Report = Callable[[str], None]


def measure_in_training(
    setting: Train, measure: Callable[[Trainer, Report], dict[str, Any]], every: int, report: Report, host: Host | None
) -> tuple[Trainer, list[dict[str, Any]]]:
    """The trainer at the end of its run, and what `MeasuredTraining` listed; `measure` may tell `report` of it.

    Raises what `Train.run` does.
    """
    host = Host() if host is None else host
    trainer = Trainer(setting, examples(setting), host.device, host.graph)
    report(f"{setting.title()}: {trainer.weights().numel():,} parameters on {host.device}")
    job = MeasuredTraining(trainer, lambda trainer: measure(trainer, report), every)
    with arithmetic(host.device, setting.precision):
        drive(job, host, report)
    return trainer, job.measured


class MeasuredTraining:
    """A job for `drive`: `trainer`, and what `measure` makes of it at the start, every `every` epochs and at the end.

    `measured` lists the results so far, each with the `epoch` that it follows, 0 at the start. They are kept with the
    state, so that a run that was stopped measures nothing twice.
    """

    def __init__(self, trainer: Trainer, measure: Callable[[Trainer], dict[str, Any]], every: int):
        self.trainer, self.measure, self.every = trainer, measure, every
        self.measured: list[dict[str, Any]] = []

    @property
    def step(self) -> int:
        """Steps into the epoch."""
        return self.trainer.step

    @property
    def finished(self) -> bool:
        """Whether the training has ended."""
        return self.trainer.finished

    def advance(self) -> Iterator[None]:
        """To the end of the epoch, with what is due at either end of it."""
        if not self.measured:
            self._measure()
        for _ in self.trainer.advance():
            due = self.finished or self.trainer.epoch % self.every == 0
            if self.step == 0 and due:
                self._measure()
            yield

    def _measure(self) -> None:
        self.measured.append({"epoch": self.trainer.epoch} | self.measure(self.trainer))

    def news(self) -> dict[str, Any]:
        """That of the training."""
        return self.trainer.news()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """That of the training, and what was measured."""
        tensors, rest = self.trainer.state()
        return tensors, rest | {"measured": self.measured}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Take up what `state` gave."""
        self.trainer.restore(tensors, state)
        self.measured = state["measured"]
