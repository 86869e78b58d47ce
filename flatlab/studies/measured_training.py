"""A training that something is measured of: at the start, every so many epochs, and at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from flatlab.training.trainer import Trainer

__all__ = ["MeasuredTraining"]


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
