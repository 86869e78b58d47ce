"""Products of random matrices: when does `z <- A_t z` with independent draws `A_t` leave zero, and by when?"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from flatlab.measures import Estimate

__all__ = ["crossing_rate", "exit_shares", "lyapunov_exponent", "second_moment_radius"]


def second_moment_radius(matrices: Tensor) -> float:
    r"""Spectral radius of `E[A (x) A]`, the map that takes the second moments of `z` one step on.

    `matrices` holds the equally likely draws, shape `(k, s, s)`. Below 1 the mean square $E \lVert z_t\rVert^2$ goes to
    zero for every start, above 1 it grows. For numbers (s = 1) it is the mean of their squares.

    >>> second_moment_radius(torch.tensor([[[0.5]], [[-1.0]]]))
    0.625
    """
    moved = torch.stack([torch.kron(a, a) for a in matrices.double()]).mean(0)
    return torch.linalg.eigvals(moved).abs().max().item()


def lyapunov_exponent(matrices: Tensor, chains: int = 1000, steps: int = 2000, seed: int = 0) -> Estimate:
    r"""Growth of almost every product: the limit of $\frac1t \log \lVert A_t \cdots A_1 z_0\rVert$.

    `matrices` holds the equally likely draws, shape `(k, s, s)`. Numbers (s = 1) have it in closed form, the mean of
    $\log |a|$, with standard error 0. Otherwise the mean over `chains` products of `steps` factors, after a tenth of them
    to forget the start; the standard error is that over the chains. One seed draws the same factors for every set of
    matrices, so the exponent is continuous in them. Raises `ValueError` if `chains` is below 2 or `steps` below 1.

    >>> lyapunov_exponent(torch.tensor([[[0.5]], [[-2.0]]])).value
    0.0
    """
    if chains < 2 or steps < 1:
        raise ValueError(f"need at least 2 chains and 1 step, got {chains} and {steps}")
    matrices = matrices.double()
    if matrices.shape[-1] == 1:
        return Estimate(matrices.abs().log().mean().item(), 0.0, len(matrices))
    generator = torch.Generator().manual_seed(seed)
    z = torch.ones(matrices.shape[-1], chains, dtype=torch.float64) / math.sqrt(matrices.shape[-1])
    total, burn_in = torch.zeros(chains, dtype=torch.float64), steps // 10
    for t in range(burn_in + steps):
        drawn = matrices[torch.randint(len(matrices), (chains,), generator=generator)]
        z = torch.einsum("cij,jc->ic", drawn, z)
        length = z.norm(dim=0)
        z = z / length
        if t >= burn_in:
            total += length.log()
    growth = total / steps
    return Estimate(growth.mean().item(), (growth.std() / math.sqrt(chains)).item(), chains)


def crossing_rate(growth: Callable[[float], float], level: float, low: float, high: float, tol: float = 1e-6) -> float:
    """The rate in `[low, high]` at which `growth` first passes `level` upward, by bisection to `tol`.

    Raises `ValueError` unless `growth(low) < level < growth(high)`.

    >>> round(crossing_rate(lambda r: r * r, 2.0, 0.0, 2.0), 5)
    1.41421
    """
    if not growth(low) < level < growth(high):
        raise ValueError(f"no crossing of {level} between {low} and {high}: {growth(low):g} and {growth(high):g} there")
    while high - low > tol:
        middle = (low + high) / 2
        low, high = (middle, high) if growth(middle) < level else (low, middle)
    return (low + high) / 2


def exit_shares(factors: tuple[float, float], start: float, low: float, high: float, steps: int) -> Tensor:
    """Exact shares of the runs of `z <- a z` that have been outside `[low, high]` by steps 0, 1, ..., `steps`.

    `a` is one of two `factors` with equal chance, so after `t` steps `z` depends only on how often the second was drawn;
    the chances of these counts are carried on, and those outside are taken out. Shape `(steps + 1,)`. Raises
    `ValueError` unless `start` lies within and `steps` is not negative.

    >>> exit_shares((0.5, 2.0), 1.0, -1.5, 1.5, 3)
    tensor([0.0000, 0.5000, 0.5000, 0.6250], dtype=torch.float64)
    """
    if steps < 0 or not low <= start <= high:
        raise ValueError(f"need steps >= 0 and a start within [{low}, {high}], got {steps} and {start}")
    a, b = torch.tensor(factors, dtype=torch.float64)
    inside = torch.zeros(steps + 1, dtype=torch.float64)
    inside[0] = 1.0
    counts = torch.arange(steps + 1, dtype=torch.float64)
    shares = [0.0]
    for t in range(1, steps + 1):
        inside = inside / 2 + torch.cat([inside.new_zeros(1), inside[:-1]]) / 2
        others = (t - counts).clamp_min(0)
        z = start * a.sign() ** others * b.sign() ** counts * (others * a.abs().log() + counts * b.abs().log()).exp()
        out = (z < low) | (z > high)
        shares.append(shares[-1] + inside[out].sum().item())
        inside[out] = 0.0
    return torch.tensor(shares, dtype=torch.float64)
