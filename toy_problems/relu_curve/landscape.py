"""A two-layer ReLU network on one input, small enough for its whole Hessian: what a rescaling changes and what not."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from flatlab.landscape import Landscape, Network

__all__ = ["INPUTS", "TARGETS", "network", "rescaled", "trained"]

HIDDEN = 6
INPUTS = torch.linspace(-1.5, 1.5, 25, dtype=torch.float64)[:, None]
TARGETS = torch.sin(2 * INPUTS) + 0.3 * torch.cos(7 * INPUTS)
"""25 points of `sin 2x + 0.3 cos 7x` on [-1.5, 1.5]."""


def network() -> Network:
    """The network `v . relu(a x + b) + c` with mean squared loss on the 25 points; `w = (a, b, v, c)` has 19 entries.

    >>> network().d
    19
    """
    model = nn.Sequential(nn.Linear(1, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)).double()
    return Landscape.of(model, mse_loss, (INPUTS, TARGETS))


def trained(seed: int = 1, steps: int = 300) -> Tensor:
    """Weights at a minimum: L-BFGS in float64 from a start drawn from `seed`, shape `(19,)`.

    >>> net, w = network(), trained()
    >>> bool(net.grad(w).norm() < 1e-7)
    True
    """
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(HIDDEN, dtype=torch.float64, generator=generator).sign() * 1.5
    knots = torch.linspace(-1.3, 1.3, HIDDEN, dtype=torch.float64)
    v = 0.5 * torch.randn(HIDDEN, dtype=torch.float64, generator=generator)
    w = torch.cat([a, -a * knots, v, torch.zeros(1, dtype=torch.float64)]).requires_grad_()
    net = network()
    options = {"tolerance_grad": 1e-12, "tolerance_change": 0, "line_search_fn": "strong_wolfe"}
    optimizer = torch.optim.LBFGS([w], max_iter=steps, **options)

    def closure():
        optimizer.zero_grad()
        loss = net.loss(w)
        loss.backward()
        return loss

    for _ in range(10):
        optimizer.step(closure)
    return w.detach()


def rescaled(w: Tensor, factors: Tensor | float) -> Tensor:
    """The same function with the weights and biases into the hidden neurons multiplied by `factors`, a number or shape
    `(6,)`, and those out of them divided: `(19,) -> (19,)`. Raises `ValueError` if a factor is not positive.

    >>> net, w = network(), trained()
    >>> bool((net.loss(rescaled(w, 3.0)) - net.loss(w)).abs() < 1e-15)
    True
    """
    factors = torch.as_tensor(factors, dtype=w.dtype).expand(HIDDEN)
    if not bool((factors > 0).all() and (factors < math.inf).all()):
        raise ValueError(f"factors must be finite and > 0, got {factors.tolist()}")
    a, b, v, c = w.split([HIDDEN, HIDDEN, HIDDEN, 1])
    return torch.cat([a * factors, b * factors, v / factors, c])
