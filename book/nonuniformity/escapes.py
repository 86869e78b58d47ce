"""Figure 1 of the paper: who leaves the nonuniform minimum, run by run and learning rate by learning rate."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes

from flatlab import plots
from toy_problems import NonuniformMinima
from toy_problems.nonuniform_minima import METHODS, linearized, slope, step
from toy_problems.nonuniform_minima.random_product import (
    crossing_rate,
    exit_shares,
    lyapunov_exponent,
    second_moment_radius,
)

__all__ = ["by_rate", "exact_shares", "side_by_side"]

KICKS = {"Momentum": 0.05, "Nesterov": 0.01}
"""The velocities at the start, as in the code published with the paper."""


def side_by_side(f: NonuniformMinima, runs: int = 25) -> None:
    """A panel a method: runs of 200 steps at learning rate 0.6, all on the same draws of samples."""
    draws = f.curvatures[torch.randint(2, (200, runs, 1), generator=torch.Generator().manual_seed(7))]
    figure, axes = plt.subplots(2, 3, sharex=True, sharey=True, figsize=(9, 4.6))
    for panel, name in zip(axes.flat, METHODS, strict=True):
        x, path = torch.full((runs, 1), 1.0001, dtype=torch.float64), []
        v = torch.full_like(x, KICKS.get(name, 0.0))
        for t in range(200):
            grad = f.grad if name == "GD" else lambda z, t=t: slope(z, draws[t])
            path.append(x)
            x, v = step(name, x, v, grad, 0.6, t + 1)
        panel.plot(torch.cat(path, 1).T, color=plots.METHODS[name], linewidth=0.7, alpha=0.6)
        at_0, at_1 = (int(((x - minimum).abs() <= 0.24).sum()) for minimum in (0, 1))
        panel.set_title(f"{name}: {at_0} at 0, {at_1} at 1", fontsize=10)
        panel.set_ylim(-0.8, 2)
    _label(axes, "step", "x")


def by_rate(f: NonuniformMinima, record: dict[str, Any]) -> None:
    """A panel a method: the share of the record's runs that are at 0 after 200 and 2,000 steps, and where theory bends."""
    settings, result = record["config"], record["result"]
    rates, stop = result["learning_rates"], settings["steps"].index(2000)
    figure, axes = plt.subplots(2, 3, sharex=True, sharey=True, figsize=(9, 5))
    for panel, curve in zip(axes.flat, result["curves"], strict=True):
        name, zero = curve["method"], torch.tensor(curve["zero"]) / settings["runs"]
        panel.plot(rates, zero[0], ":", color=plots.METHODS[name])
        panel.plot(rates, zero[stop], color=plots.METHODS[name])
        if name != "GD":
            in_square, typical = _thresholds(name)
            panel.axvline(in_square, color="0.4", linestyle="--", linewidth=1)
            panel.axvline(typical, color="0.4", linewidth=1)
        if name == "SGD":
            panel.plot(rates, [exact_shares(f, lr, 1e-4, 200)[-1] for lr in rates], ".", color="black", markersize=5)
        panel.set_title(name, fontsize=10)
    _label(axes, "learning rate", "runs at 0")


def exact_shares(f: NonuniformMinima, lr: float, start: float, steps: int) -> list[float]:
    """Share of SGD's runs from `1 + start` that have left the region of 1 after each step, added up exactly."""
    low, high = (end - 1 for end in f.outer)
    return exit_shares((1 - 0.2 * lr, 1 - 3.8 * lr), start, low, high, steps)


def _thresholds(name: str) -> tuple[float, float]:
    """The learning rates from which 1 is unstable in mean square, and for almost every run."""
    in_square = crossing_rate(lambda lr: second_moment_radius(linearized(name, lr)), 1.0, 0.1, 0.9)
    growth = lambda lr: lyapunov_exponent(linearized(name, lr), 200, 400).value  # noqa: E731
    return in_square, crossing_rate(growth, 0.0, 0.25, 0.9, tol=1e-3)


def _label(axes: list[list[Axes]], below: str, beside: str) -> None:
    for panel in axes[1]:
        panel.set_xlabel(below)
    for panel in axes[:, 0]:
        panel.set_ylabel(beside)
    plt.tight_layout()
    plt.show()
