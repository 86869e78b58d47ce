"""Instances on which the twin in JavaScript is compared with Python, and what it is told of them."""

import torch

from toy_problems import DiagonalNetwork


def landscapes():
    z = torch.randn(20, 13, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    net = DiagonalNetwork(z[:, 1:], z[:, 0])
    yield net, {"x": net.x.tolist(), "y": net.y.tolist(), "scale": net.scale}
