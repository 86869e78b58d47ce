"""Fully connected networks, from none to three hidden layers."""

from math import prod

from torch import nn

__all__ = ["perceptron"]


def perceptron(shape: tuple[int, ...], classes: int, hidden: tuple[int, ...] = (), dropout: float = 0.0) -> nn.Sequential:
    """Inputs of any `shape`, flattened, to `classes` logits, with ReLU and dropout after each hidden layer.

    In PyTorch's own initialization, drawn layer by layer.

    >>> sum(p.numel() for p in perceptron((1, 28, 28), 10, (500, 500)).parameters())
    648010
    """
    sizes, layers = [prod(shape), *hidden], [nn.Flatten()]
    for inside, outside in zip(sizes, hidden, strict=False):
        layers += [nn.Linear(inside, outside), nn.ReLU()] + ([nn.Dropout(dropout)] if dropout else [])
    return nn.Sequential(*layers, nn.Linear(sizes[-1], classes))
