"""The problems every measure is put through, in float64, each with its derivatives from an independent source."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.func import jacrev
from torch.nn.functional import cross_entropy, mse_loss, soft_margin_loss, softplus

from flatlab.landscape import Landscape
from toy_problems import Lucchi


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Quadratic(Landscape):
    """`w^T A w / 2` with the eigenvalues `spectrum` in random directions."""

    def __init__(self, spectrum: list[float], seed: int = 0):
        self.d = len(spectrum)
        q = torch.linalg.qr(random(self.d, self.d, seed=seed))[0]
        self.matrix = q @ torch.diag(torch.tensor(spectrum, dtype=torch.float64)) @ q.T

    def losses(self, w, batch=None):
        return ((w @ self.matrix * w).sum(-1) / 2)[..., None]

    def hvp(self, w, v, batch=None):
        return v @ self.matrix


class LinearModel(Landscape):
    """Least squares, or logistic regression with labels -1 and 1, in closed form."""

    def __init__(self, x: Tensor, y: Tensor, logistic: bool):
        self.x, self.y, self.logistic, (self.n, self.d) = x, y, logistic, x.shape

    def losses(self, w, batch=None):
        x, y = (self.x, self.y) if batch is None else (self.x[batch], self.y[batch])
        z = w @ x.T
        return softplus(-y * z) if self.logistic else (z - y) ** 2

    def grad(self, w, batch=None):
        x, y = (self.x, self.y) if batch is None else (self.x[batch], self.y[batch])
        z = w @ x.T
        slope = -y * torch.sigmoid(-y * z) if self.logistic else 2 * (z - y)
        return slope @ x / len(x)

    def hvp(self, w, v, batch=None):
        x = self.x if batch is None else self.x[batch]
        z = w @ x.T
        curvature = torch.sigmoid(z) * torch.sigmoid(-z) if self.logistic else torch.full_like(z, 2.0)
        return (curvature * (v @ x.T)) @ x / len(x)


@dataclass
class Problem:
    """A landscape, a point, and which of its weights form the layer that relative flatness looks at."""

    landscape: Landscape
    w: Tensor
    start: int = 0
    shape: tuple[int, int] | None = None

    @cached_property
    def gradients(self) -> Tensor:
        """Per-sample gradients, `(n, d)`."""
        return jacrev(self.landscape.losses)(self.w)

    @cached_property
    def hessians(self) -> Tensor:
        """Per-sample Hessians, `(n, d, d)`."""
        return jacrev(jacrev(self.landscape.losses))(self.w)

    @property
    def gradient(self) -> Tensor:
        return self.gradients.mean(0)

    @property
    def hessian(self) -> Tensor:
        return self.hessians.mean(0)

    @property
    def d(self) -> int:
        return len(self.w)

    def kappa(self) -> float:
        """Relative flatness as Definition 3 reads, from blocks of the Hessian."""
        out, m = self.shape or (1, self.d)
        inside = slice(self.start, self.start + out * m)
        blocks = self.hessian[inside, inside].reshape(out, m, out, m)
        rows = self.w[inside].reshape(out, m)
        return sum(rows[s] @ rows[t] * blocks[s, :, t].trace() for s in range(out) for t in range(out)).item()


def two_layers(activation: type[nn.Module] = nn.Tanh, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5, bias=bias), activation(), nn.Linear(5, 3, bias=bias)).double()


def linear_network(logistic: bool) -> Problem:
    toy = linear_toy(logistic)
    loss = soft_margin_loss if logistic else mse_loss
    model = nn.Linear(4, 1, bias=False).double()
    net = Landscape.of(model, loss, (toy.landscape.x, toy.landscape.y[:, None]))
    return Problem(net, toy.w, 0, (1, 4))


def linear_toy(logistic: bool) -> Problem:
    x, y = random(12, 4, seed=1), random(12, seed=2)
    return Problem(LinearModel(x, y.sign() if logistic else y, logistic), random(4, seed=3))


def network(activation: type[nn.Module]) -> Problem:
    model, y = two_layers(activation), torch.arange(10) % 3
    net = Landscape.of(model, cross_entropy, (random(10, 4, seed=4), y))
    return Problem(net, net.w0, 25, (3, 5))


PROBLEMS = {
    "quadratic": lambda: Problem(Quadratic([4.0, 2.0, 1.0, 0.5, 0.1]), random(5, seed=5)),
    "least squares": lambda: linear_toy(False),
    "least squares as a network": lambda: linear_network(False),
    "logistic regression": lambda: linear_toy(True),
    "logistic regression as a network": lambda: linear_network(True),
    "Lucchi": lambda: Problem(Lucchi(), torch.tensor([0.9, 1.2], dtype=torch.float64)),
    "two-layer tanh network": lambda: network(nn.Tanh),
    "two-layer ReLU network": lambda: network(nn.ReLU),
}
