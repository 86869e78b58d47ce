"""Theorem 1 tried on handwritten digits: the full batch, where its bound is zero, and minibatches, where it grows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from flatlab import data, measures
from flatlab.landscape import Landscape

__all__ = ["Trained", "one_replaced", "trained"]


class Trained(NamedTuple):
    """A network at the end of its training: loss, gap, the sum over its path, and three measures there."""

    loss: float
    gap: float
    path: float
    noise: float
    nonuniformity: float
    trace: float


def one_replaced(n: int) -> tuple[float, float]:
    """Logistic regression on `n` digits, and `n` times more with one of them replaced, all by full batches.

    Returns the mean size of the change of the replaced digit's loss, and Tr C of a batch of all `n`.
    """
    digits = data.load("digits")
    x, y = digits.flat(digits.x_train).double(), digits.y_train
    kept, spare = torch.arange(n), torch.arange(n, 2 * n)
    sets = kept.repeat(n + 1, 1)
    sets[1 + kept, kept] = spare  # set 1 + i has digit i replaced
    weights = _descended(x[sets], y[sets])
    loss = lambda i, k: cross_entropy(x[i] @ weights[k], y[i])  # noqa: E731
    change = torch.stack([loss(i, 1 + i) - loss(i, 0) for i in range(n)])
    full = Landscape.of(nn.Linear(64, 10, bias=False).double(), cross_entropy, (x[:n], y[:n]))
    return float(change.abs().mean()), float(measures.gradient_noise(full, full.w0, n))


def _descended(x: Tensor, y: Tensor, lr: float = 0.5, steps: int = 200) -> Tensor:
    """Weights `(sets, 64, 10)` after gradient descent on each of the sets `x` `(sets, n, 64)`."""
    weights = torch.zeros(len(x), 64, 10, dtype=torch.float64)
    for _ in range(steps):
        weights = weights - lr * x.mT @ ((x @ weights).softmax(-1) - one_hot(y, 10)) / x.shape[1]
    return weights


def trained(batch: int, lr: float, epochs: int) -> Trained:
    """A small network after SGD on 200 digits; the path's sum is that of `lr sqrt(Tr C)` over its steps."""
    digits = data.load("digits")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))
    train = Landscape.of(model, cross_entropy, (digits.flat(digits.x_train)[:200], digits.y_train[:200]))
    test = Landscape.of(model, cross_entropy, (digits.flat(digits.x_test), digits.y_test))
    generator, noise = torch.Generator().manual_seed(0), measures.gradient_noise
    w, total, steps = train.w0, 0.0, 0
    for _ in range(epochs):
        for places in torch.randperm(200, generator=generator).split(batch):
            if steps % 5 == 0:  # every fifth step stands for five
                total += 5 * lr * noise(train, w, batch_size=batch) ** 0.5
            w, steps = w - lr * train.grad(w, places), steps + 1
    gap = float(test.loss(w) - train.loss(w))
    s, trace = measures.hessian_nonuniformity(train, w), measures.hessian_trace(train, w).value
    return Trained(float(train.loss(w)), gap, float(total), float(noise(train, w)), float(s), float(trace))
