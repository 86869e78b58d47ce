"""The loss of a network along the line from one solution to another (Keskar et al. 2017, Figure 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from flatlab.data import IMAGES, load
from flatlab.landscape import Landscape
from flatlab.models.perceptrons import perceptron
from flatlab.runs.experiment import Experiment, option
from flatlab.runs.option import SEEDS

__all__ = ["NetworkSlice"]


@dataclass(frozen=True)
class NetworkSlice(Experiment):
    """Train a network twice, with small and with large batches, and tabulate its loss on the line through both solutions.

    The network has one hidden layer with ReLU. -1 is the solution of the small batches, 1 that of the large ones, which
    start at other weights. Both runs end after the epoch in which the training loss falls to `until`.
    """

    data: str = option("digits", "data set of images", allowed=IMAGES)
    hidden: int = option(50, "width of the hidden layer", least=1)
    small: int = option(8, "samples a step of the first run", least=1)
    large: int = option(512, "samples a step of the second run", least=1)
    lr: float = option(0.5, "learning rate of both runs", above=0)
    until: float = option(0.02, "training loss at which a run ends", above=0)
    epochs: int = option(3000, "passes over the training set at most", least=1)
    reach: float = option(3.0, "the table runs from -reach to reach", above=0)
    points: int = option(385, "entries of the table", least=2)
    seed: int = option(1, "of initialization and order", **SEEDS)

    def run(self, report: Callable[[str], None] = lambda line: None) -> dict:
        """Train twice and tabulate: mean cross-entropy `train` and `test` at `start + step * k`; the solutions' `distance`.

        Raises `RuntimeError` if a run does not get down to `until`.
        """
        found = load(self.data)
        nets = []
        for k in (0, 1):
            torch.manual_seed(self.seed + k)
            nets.append(perceptron((found.x_train[0].numel(),), len(found.classes), (self.hidden,)))
        train, other = (Landscape.of(net, cross_entropy, (found.flat(found.x_train), found.y_train)) for net in nets)
        test = Landscape.of(nets[0], cross_entropy, (found.flat(found.x_test), found.y_test))
        ends = []
        for start, batch in ((train.w0, self.small), (other.w0, self.large)):
            w, epochs = self._trained(train, start, batch)
            report(f"batches of {batch}, {epochs} epochs: training loss {train.loss(w):.4f}, test loss {test.loss(w):.4f}")
            ends.append(w)
        places = torch.linspace(-self.reach, self.reach, self.points)
        line = [ends[0] + (1 + place) / 2 * (ends[1] - ends[0]) for place in places]
        tables = {name: [round(float(f.loss(w)), 5) for w in line] for name, f in (("train", train), ("test", test))}
        return {
            "data_checksum": found.checksum(),
            "parameters": train.d,
            "distance": float((ends[1] - ends[0]).norm()),
            "start": -self.reach,
            "step": 2 * self.reach / (self.points - 1),
            **tables,
        }

    def _trained(self, train: Landscape, w: Tensor, batch: int) -> tuple[Tensor, int]:
        for epoch in range(self.epochs):
            order = torch.randperm(train.n, generator=torch.Generator().manual_seed(self.seed * 10_000 + epoch))
            for part in order.split(batch):
                w = w - self.lr * train.grad(w, part)
            if train.loss(w) <= self.until:
                return w, epoch + 1
        raise RuntimeError(f"batches of {batch}: the training loss is above {self.until} after {self.epochs} epochs")
