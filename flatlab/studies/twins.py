"""Algorithmic stability: two networks in training whose training sets differ in one example (Tan et al. 2025, 5.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from flatlab.runs.experiment import inherited, option
from flatlab.runs.host import Host
from flatlab.training.arithmetic import arithmetic
from flatlab.training.drive import drive
from flatlab.training.examples import Pair, examples
from flatlab.training.train import Train, summary
from flatlab.training.trainer import Trainer

__all__ = ["Twins", "differ_in_one", "normalized_distance"]


@dataclass(frozen=True)
class Twins(Train):
    """Train twins on training sets that differ in one example, and record how far apart they go.

    Both start from the same weights and see the same places of their sets in the same order. The settings are those of
    `Train`, with a plain, constant and unregularized run as the default.
    """

    schedule: str = inherited(Train, "schedule", "constant")
    momentum: float | None = inherited(Train, "momentum", None, about="of SGD, 0 unless given")
    weight_decay: float = inherited(Train, "weight_decay", 0.0)
    epochs: int = inherited(Train, "epochs", 60)
    evaluate_train: bool = inherited(Train, "evaluate_train", True)
    identical: bool = option(False, "the control: both sets are the same, and the distance must stay 0")
    nudge: float | None = option(None, "identical: added to one weight of the second twin at the start", above=0)

    def __post_init__(self):
        if self.momentum is None and self.base == "SGD":
            object.__setattr__(self, "momentum", 0.0)
        super().__post_init__()
        self._own("nudge", self.identical, None, "identical twins")
        if not self.evaluate_train:
            raise ValueError("evaluate_train must be true for twins: their generalization error needs it")

    def title(self) -> str:
        """The run in a line."""
        kind = "twins" if not self.identical else "identical twins" if self.nudge is None else "nudged twins"
        return f"{kind}, {super().title()}"

    def run(self, report: Callable[[str], None] = lambda line: None, host: Host | None = None) -> dict:
        """Train both, and return what `Train.run` does of the first, with `distances` beside its curves.

        `distances` has, for the start and after each epoch, `epoch` and `distance`, see `normalized_distance`.
        The generalization error of an epoch is `loss - whole_train_loss`, the accuracy gap likewise.
        """
        host = Host() if host is None else host
        source = examples(self)
        first, second = differ_in_one(source.train, self.seed)
        if self.identical:
            second = first
        a, b = (Trainer(self, replace(source, train=pair), host.device, host.graph) for pair in (first, second))
        if self.nudge is not None:
            first_weights = next(b.model.parameters())
            with torch.no_grad():
                first_weights[(0,) * first_weights.ndim] += self.nudge
        report(f"{self.title()}: twice {a.weights().numel():,} parameters on {host.device}")
        pair = Pairing(a, b)
        with arithmetic(host.device, self.precision):
            drive(pair, host, report)
        return summary(a) | {"distances": pair.distances}


class Pairing:
    """Two trainers, an epoch of the one and then an epoch of the other, and their distance after both."""

    def __init__(self, a: Trainer, b: Trainer):
        self.a, self.b = a, b
        self.distances = [{"epoch": 0, "distance": normalized_distance(a.weights(), b.weights())}]

    @property
    def step(self) -> int:
        """Steps into the epoch of whichever is at work."""
        return self._at_work().step

    @property
    def finished(self) -> bool:
        """Whether both have ended."""
        return self.b.finished

    def _at_work(self) -> Trainer:
        return self.a if self.a.epoch == self.b.epoch else self.b

    def advance(self) -> Iterator[None]:
        """To the end of the epoch of the one at work; after the second's the distance is taken."""
        trainer = self._at_work()
        for _ in trainer.advance():
            if trainer is self.b and trainer.step == 0:
                distance = normalized_distance(self.a.weights(), self.b.weights())
                self.distances.append({"epoch": self.b.epoch, "distance": distance})
            yield

    def news(self) -> dict[str, Any]:
        """That of the one at work."""
        return self._at_work().news()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Both states, and the distances so far."""
        tensors, rest = {}, {"distances": self.distances}
        for name, trainer in (("a", self.a), ("b", self.b)):
            own, rest[name] = trainer.state()
            tensors |= {f"{name}/{k}": v for k, v in own.items()}
        return tensors, rest

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Take up what `state` gave."""
        for name, trainer in (("a", self.a), ("b", self.b)):
            own = {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")}
            trainer.restore(own, state[name])
        self.distances = state["distances"]


def differ_in_one(train: Pair, seed: int) -> tuple[Pair, Pair]:
    """Two training sets of n - 1 examples: one example is taken out of `train`, and in the second replaces another.

    >>> x = torch.arange(5.0)
    >>> (one, _), (two, _) = differ_in_one((x, x), seed=1)
    >>> len(one), int((one != two).sum())
    (4, 1)
    """
    x, y = train
    generator = torch.Generator().manual_seed((1 << 41) + seed)
    out = int(torch.randint(len(y), (), generator=generator))
    keep = torch.arange(len(y)) != out
    place = int(torch.randint(len(y) - 1, (), generator=generator))
    first = x[keep], y[keep]
    second = first[0].clone(), first[1].clone()
    second[0][place], second[1][place] = x[out], y[out]
    return first, second


def normalized_distance(w: Tensor, v: Tensor) -> float:
    r"""$\sqrt{\|w - v\|^2 / (\|w\|^2 + \|v\|^2)}$ of two weight vectors `(d,)` (Hardt et al. 2016, section 5).

    >>> normalized_distance(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0]))
    1.0
    """
    w, v = w.double(), v.double()
    return math.sqrt(float((w - v).square().sum() / (w.square().sum() + v.square().sum())))
