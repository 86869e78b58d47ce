"""The terms of Theorem 4.1, measured on a small network that is trained here."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from flatlab import rules
from flatlab.landscape import Landscape


def population(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """x of 10 normal features; the label is a coin whose bias depends on two of them: nobody can be always right."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 10, dtype=torch.float64, generator=generator)
    heads = torch.rand(n, dtype=torch.float64, generator=generator) < torch.sigmoid(2 * (x[:, 0] - x[:, 1]))
    return x, torch.where(heads, 1.0, -1.0).double()


def soft_error(out: Tensor, y: Tensor) -> Tensor:
    """In [0, 1]."""
    return torch.sigmoid(-2 * y * out[:, 0]).mean()


def trained() -> tuple[Landscape, Landscape, Tensor]:
    """The loss on 100 samples, that on 10,000 fresh ones, and weights trained on the first."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 1)).double()
    S, D = (Landscape.of(net, soft_error, population(n, seed)) for n, seed in ((100, 1), (10_000, 2)))
    w = S.w0
    for _ in range(1500):
        w = w - S.grad(w)
    return S, D, w


def terms(S: Landscape, D: Landscape, w: Tensor, rhos: tuple[float, ...]) -> Iterator[tuple[float, ...]]:
    """For each radius: it, a lower bound of the first term, the second, the third, and the average less the loss on S."""
    generator, L_D, up = torch.Generator().manual_seed(0), D.loss(w), rules.unit(D.grad(w))
    for rho in rhos:
        draws = [w + rules.ball(w, rho, generator) for _ in range(150)]
        with torch.no_grad():
            s, t = (torch.stack([f.loss(v) for v in draws]) for f in (S, D))
            along = [(D.loss(w + a * rho * up) - L_D).abs() for a in (-1, 1)]
        one = max((t - L_D).abs().max(), *along)
        two, three, rest = (t.mean() - s.mean()).abs(), (s - s.mean()).abs().mean(), (s.mean() - S.loss(w)).abs()
        yield rho, one.item(), two.item(), three.item(), rest.item()
