"""What becomes of a network whose BatchNorm averages are taken at SAM's far point as well: a demonstration."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from flatlab import data

__all__ = ["judged", "trained"]


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images in [0, 1] and labels, test images and labels."""
    found = data.load("digits")
    return found.x_train / 16, found.y_train, found.x_test / 16, found.y_test


def trained() -> nn.Sequential:
    """A small convolutional network after four epochs of SGD."""
    x, y, _, _ = digits()
    torch.manual_seed(1)
    first, second = (nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16)), (nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32))
    net = nn.Sequential(*first, nn.ReLU(), *second, nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(4):
        for batch in torch.randperm(len(y)).split(32):
            optimizer.zero_grad()
            cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
    return net


def judged(net: nn.Sequential, rho: float) -> tuple[float, float]:
    """Test loss and accuracy of the same weights, its averages taken anew; `rho` > 0 lets the far pass into them."""
    x, y, x_test, y_test = digits()
    judge = copy.deepcopy(net)
    for layer in judge:
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean over all passes
    weights = list(judge.parameters())
    for batch in torch.arange(len(y)).split(32):
        g = torch.autograd.grad(cross_entropy(judge(x[batch]), y[batch]), weights)
        if rho:
            ascent = rho / torch.cat([v.flatten() for v in g]).norm()
            _shift(weights, g, ascent)
            judge(x[batch])
            _shift(weights, g, -ascent)
    judge.eval()
    with torch.no_grad():
        outputs = judge(x_test)
    return cross_entropy(outputs, y_test).item(), (outputs.argmax(1) == y_test).double().mean().item()


@torch.no_grad()
def _shift(weights: list[Tensor], gradients: tuple[Tensor, ...], by: Tensor) -> None:
    for w, g in zip(weights, gradients, strict=True):
        w += by * g
