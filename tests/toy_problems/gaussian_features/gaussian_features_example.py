"""Instances on which the twin in JavaScript is compared with Python, and what it is told of them."""

import torch

from toy_problems import GaussianFeatures


def landscapes():
    phi = (
        torch.randn(30, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 2
    )  # softplus is linear beyond 20
    for loss in ("squared", "logistic"):
        four = GaussianFeatures(phi, phi[:, 0].sign(), loss)
        yield four, {"phi": phi.tolist(), "y": four.y.tolist(), "name": loss}
