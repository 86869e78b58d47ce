"""The two gradients of a SAM step, compared while a network trains (Tan et al. 2025, Figures 1 and 3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from flatlab import rules
from flatlab.data import IMAGES, load
from flatlab.landscape import Landscape
from flatlab.runs.experiment import Experiment, option
from flatlab.runs.option import SEEDS

__all__ = ["GradientPairs"]

METHODS = {"SAM": rules.sam, "StableSAM": rules.stable_sam}


@dataclass(frozen=True)
class GradientPairs(Experiment):
    """Compare the two gradients of every SAM step while a fully connected ReLU network trains at a constant rate.

    With `g` the gradient at `w` and `s` the gradient of the same minibatch at `w + rho g / ||g||`, every step yields
    `ratio = ||g|| / ||s||` and `excess = <s, g> / ||g||^2 - 1`. `windows` averages an epoch are kept.
    """

    data: str = option("mnist", "data set of images", allowed=IMAGES)
    method: str = option("SAM", "whose steps are taken", allowed=tuple(METHODS))
    rho: float = option(0.05, "radius of the ascent", least=0, unit="the weights' units")
    hidden: tuple[int, ...] = option((500, 500), "widths of the hidden layers", least=1, empty=True)
    epochs: int = option(20, "passes over the training set", least=1)
    batch: int = option(128, "samples a step", least=1)
    lr: float = option(0.1, "learning rate", above=0)
    windows: int = option(4, "averages an epoch", least=1)
    seed: int = option(1, "of initialization and order", **SEEDS)

    def run(self, report: Callable[[str], None] = lambda line: None) -> dict:
        """Train, and return a list a window of `epoch`, `ratio`, `excess` and their spread, and a list an epoch of
        scores.

        `ratio_low` and `ratio_high` (and `excess_` likewise) are the 5th and 95th percentile of a window's steps;
        `positive` is the share of its steps with `excess > 0`. `train_loss` is the mean loss over the training set
        and `test_accuracy` the share of test images classified right, after the epoch. Raises `FloatingPointError`,
        naming epoch, method and rates, if the loss stops being finite, and `ValueError` for more windows than steps.
        """
        data = load(self.data)
        torch.manual_seed(self.seed)
        net = network(data.x_train[0].numel(), self.hidden, int(data.y_train.max()) + 1)
        train = Landscape.of(net, cross_entropy, (data.flat(data.x_train), data.y_train))
        right = Landscape.of(net, accuracy, (data.flat(data.x_test), data.y_test))
        steps = math.ceil(train.n / self.batch)
        if self.windows > steps:
            raise ValueError(f"windows must be at most the {steps} steps of an epoch, got {self.windows}")
        w, curves, scores = train.w0, [], []
        report(f"{data.name}, {train.d} parameters: {self.method}, rho {self.rho}, seed {self.seed}")
        for epoch in range(self.epochs):
            order = torch.randperm(train.n, generator=torch.Generator().manual_seed(self.seed * 10_000 + epoch))
            batches = order.split(self.batch)
            for k in range(self.windows):
                share = batches[k * len(batches) // self.windows : (k + 1) * len(batches) // self.windows]
                w, pairs = self._window(train, w, share)
                curves.append({"epoch": epoch + (k + 1) / self.windows} | summary(pairs))
            scores.append({"train_loss": float(train.loss(w)), "test_accuracy": float(right.loss(w))})
            report(f"epoch {epoch + 1}: " + ", ".join(f"{k} {v:.4f}" for k, v in (scores[-1] | curves[-1]).items()))
            if not torch.isfinite(w).all():
                where = f"epoch {epoch + 1} with {self.method}, rho {self.rho}, lr {self.lr}"
                raise FloatingPointError(f"the weights are no longer finite after {where}")
        return {"data_checksum": data.checksum(), "parameters": train.d, "curves": curves, "scores": scores}

    def _window(self, train: Landscape, w: Tensor, batches: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        pairs = []
        for batch in batches:
            seen = []

            def grad(v, batch=batch, seen=seen):
                seen.append(train.grad(v, batch))
                return seen[-1]

            w = w - self.lr * METHODS[self.method](w, grad, self.rho)
            g, s = seen
            pairs.append(torch.stack([g.norm() / s.norm(), (s @ g) / (g @ g) - 1]))
        return w, torch.stack(pairs)


def network(inputs: int, hidden: tuple[int, ...], classes: int) -> nn.Sequential:
    """A fully connected network with ReLU between layers of sizes `inputs, *hidden, classes`, in PyTorch's
    initialization.

    >>> sum(p.numel() for p in network(784, (500, 500), 10).parameters())
    648010
    """
    sizes = [inputs, *hidden, classes]
    layers = [layer for a, b in zip(sizes, sizes[1:], strict=False) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def accuracy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Share of rows of `outputs`, `(n, classes)`, whose largest entry is at the label, `(n,)`."""
    return (outputs.argmax(1) == labels).float().mean()


def summary(pairs: Tensor) -> dict[str, float]:
    """Mean, 5th and 95th percentile of the columns `ratio, excess` of `pairs`, `(steps, 2)`; share of `excess > 0`."""
    low, high = pairs.quantile(torch.tensor([0.05, 0.95]), dim=0)
    out = {}
    for k, name in enumerate(("ratio", "excess")):
        out |= {name: float(pairs[:, k].mean()), f"{name}_low": float(low[k]), f"{name}_high": float(high[k])}
    return out | {"positive": float((pairs[:, 1] > 0).float().mean())}
