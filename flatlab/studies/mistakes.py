"""Which mistake would give the number? A training made wrong on purpose, one way at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from flatlab.data import FeatureSet, TextSet, load
from flatlab.models import build
from flatlab.runs.experiment import Experiment, option

__all__ = ["MISTAKES", "Mistakes"]

MISTAKES = {
    "breast_cancer": ("none", "unscaled", "naive loss", "unscaled, naive loss", "clipped loss", "unscaled, clipped loss"),
    "newsgroups": ("none", "one output", "two vocabularies", "labels shuffled", "few steps", "raw counts"),
}
"""The mistakes of each data set; *none* is the same training without any."""


def naive_loss(z: Tensor, y: Tensor) -> Tensor:
    """`-y log p - (1 - y) log(1 - p)` with `p = sigmoid(z)`, as it stands: infinite or nan once `p` rounds to 0 or 1."""
    p = torch.sigmoid(z[:, 0])
    return -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()


def clipped_loss(z: Tensor, y: Tensor) -> Tensor:
    """The same with `p` kept within `[1e-7, 1 - 1e-7]`: finite, but without a slope beyond."""
    p = torch.sigmoid(z[:, 0]).clamp(1e-7, 1 - 1e-7)
    return -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()


def sigmoid_loss(z: Tensor, y: Tensor) -> Tensor:
    """`-y log p - (1 - y) log(1 - p)`, computed stably; labels beyond 0 and 1 are let through, as JAX's optax does."""
    return binary_cross_entropy_with_logits(z[:, 0], y.to(z.dtype))


@dataclass(frozen=True)
class Mistakes(Experiment):
    """Train a model of the FA paper with one mistake each, over many seeds, and see which accuracies come out.

    *breast_cancer*: the perceptron with one sigmoid output. *unscaled* takes the 30 measurements as they are, up to 4,254;
    *naive loss* is `-y log p - (1 - y) log(1 - p)` in float32, *clipped loss* the same with `p` kept off 0 and 1. The test
    set is the fifth that scikit-learn's `train_test_split` draws with equal shares: 42 malignant and 72 benign cases.

    *newsgroups*: logistic regression on tf-idf weights of 2,000 words. *one output* is a sigmoid unit for all 20 classes,
    as the paper's Figure 1 draws it; with *two vocabularies* the test texts get the columns of a vocabulary of their own;
    *labels shuffled* permutes the training labels; *few steps* takes three; *raw counts* feeds counts of words.

    Adam, without a decay of its rate. Where weights are nan, the prediction is class 0: no comparison with nan is true.
    """

    data: str = option("breast_cancer", "data set", allowed=tuple(MISTAKES))
    lrs: tuple[float, ...] = option((0.001, 0.01), "learning rates of Adam", above=0)
    epochs: int = option(20, "passes over the training set", least=1)
    batch: int = option(32, "samples a step", least=1)
    weight_decay: float = option(1e-4, "of Adam", least=0)
    seeds: int = option(20, "runs of each mistake and rate", least=1)

    def run(self, report: Callable[[str], None] = lambda line: None) -> dict:
        """Lists over the seeds, mistake by mistake and rate by rate.

        `accuracy` is that of the test set after the last epoch and `best` the highest after any epoch; `predicted` is how
        many classes the last predictions name; `nan_from` the first epoch after which a weight is no number, or None.
        `counts` are the test set's class sizes. `report` gets a line of text a mistake and rate.
        """
        whole = load(self.data) if self.data == "newsgroups" else resplit(load(self.data))
        rows = []
        for mistake in MISTAKES[self.data]:
            table = self.table(whole, mistake)
            for lr in self.lrs:
                began = time.perf_counter()
                runs = [self.one(table, mistake, lr, seed) for seed in range(1, self.seeds + 1)]
                row = {name: [run[name] for run in runs] for name in runs[0]}
                rows.append({"mistake": mistake, "lr": lr} | row)
                mean = sum(row["accuracy"]) / self.seeds
                report(f"{mistake:22} lr {lr:<6g} accuracy {mean:.4f} {time.perf_counter() - began:6.1f} s")
        return {"counts": table.y_test.bincount().tolist(), "rows": rows}

    def table(self, whole: FeatureSet | TextSet, mistake: str) -> FeatureSet:
        """The features that the mistake leaves."""
        if isinstance(whole, FeatureSet):
            return whole if mistake.startswith("unscaled") else whole.standardized()
        found = whole.features("counts" if mistake == "raw counts" else "tfidf")
        if mistake == "two vocabularies":
            own = replace(whole, x_train=whole.x_test, y_train=whole.y_test).features()
            found = replace(found, x_test=own.x_train)
        if mistake == "labels shuffled":
            order = torch.randperm(len(found.y_train), generator=torch.Generator().manual_seed(0))
            found = replace(found, y_train=found.y_train[order])
        return found

    def one(self, table: FeatureSet, mistake: str, lr: float, seed: int) -> dict:
        """One run."""
        torch.manual_seed(seed)
        single = self.data == "breast_cancer" or mistake == "one output"
        losses = {"naive": naive_loss, "clipped": clipped_loss}
        loss = next((f for word, f in losses.items() if word in mistake), sigmoid_loss if single else cross_entropy)
        network = "mlp512_256" if self.data == "breast_cancer" else "logistic"
        model = build(network, tuple(table.x_train.shape[1:]), 1 if single else len(table.classes))
        opt = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=self.weight_decay)
        x, y, held = table.x_train, table.y_train, table.x_test
        scores, nan_from = [], None
        for epoch in range(1, 2 if mistake == "few steps" else self.epochs + 1):
            model.train()
            for k, rows in enumerate(torch.randperm(len(y)).split(self.batch)):
                if mistake == "few steps" and k == 3:
                    break
                opt.zero_grad()
                loss(model(x[rows]), y[rows]).backward()
                opt.step()
            model.eval()
            with torch.no_grad():
                z = model(held)
            guess = (torch.sigmoid(z[:, 0]) > 0.5).long() if single else z.argmax(1)
            scores.append((guess == table.y_test).double().mean().item())
            if nan_from is None and not all(torch.isfinite(p).all() for p in model.parameters()):
                nan_from = epoch
        return {"accuracy": scores[-1], "best": max(scores), "predicted": len(guess.unique()), "nan_from": nan_from}


def resplit(table: FeatureSet) -> FeatureSet:
    """All rows, split anew as scikit-learn's `train_test_split` does with a fifth for testing and equal shares."""
    from sklearn.model_selection import train_test_split  # slow to import

    x, y = torch.cat([table.x_train, table.x_test]), torch.cat([table.y_train, table.y_test])
    rows = train_test_split(range(len(y)), test_size=0.2, random_state=42, stratify=y)
    train, test = (torch.tensor(part) for part in rows)
    return replace(table, x_train=x[train], y_train=y[train], x_test=x[test], y_test=y[test])
