"""Fully connected networks, from none to three hidden layers."""

from functools import partial
from math import prod

from torch import nn

from flatlab.models.architecture import Architecture

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


LOGISTIC = Architecture(name="logistic", title="logistic regression", place=1, make=perceptron)
# Tan et al. 2025, section 5.2.
FCN = Architecture(name="fcn", title="perceptron 500-500", place=2, make=partial(perceptron, hidden=(500, 500)))
# The paper on nonuniformity leaves FCN-3's widths open; these are its authors' code's, which leaves out the ReLU after the
# second layer.
FCN3 = Architecture(name="fcn3", title="perceptron 128-64", place=3, make=partial(perceptron, hidden=(128, 64)))
# The paper on flatness-aware regularization, section 3.1.1, dropout included.
MLP = partial(perceptron, hidden=(512, 256), dropout=0.3)
MLP512_256 = Architecture(name="mlp512_256", title="perceptron 512-256", place=4, make=MLP)
