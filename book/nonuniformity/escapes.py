"""Figure 1 of the paper: who leaves the nonuniform minimum, run by run and rate by rate, and the verdicts that follow."""

from __future__ import annotations

import functools
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from scipy.stats import binomtest
from torch import Tensor

from book.finding import RESULTS, Finding, graded
from flatlab import plots
from flatlab.runs import records
from toy_problems import NonuniformMinima
from toy_problems.nonuniform_minima import METHODS, linearized, slope, step
from toy_problems.nonuniform_minima.random_product import (
    crossing_rate,
    exit_shares,
    lyapunov_exponent,
    second_moment_radius,
)

__all__ = ["CLAIMS", "by_rate", "exact_shares", "growth_in_words", "in_words", "record", "share", "side_by_side"]

KICKS = {"Momentum": 0.05, "Nesterov": 0.01}
"""The velocities at the start, as in the code published with the paper."""
RATE, LENGTH, LONGEST = 0.6, 200, 2000
"""Learning rate and steps of the figure, and the longest runs on record."""


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
        thin = {"linewidth": 0.3, "alpha": 0.15} if name == "Nesterov" else {"linewidth": 0.7, "alpha": 0.6}
        panel.plot(torch.cat(path, 1).T, color=plots.METHODS[name], **thin)  # one that never rests fills its panel
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


def exact_shares(f: NonuniformMinima, lr: float, start: float, steps: int) -> Tensor:
    """Share of SGD's runs from `1 + start` that have left the region of 1 after each step, added up exactly."""
    low, high = (end - 1 for end in f.outer)
    return exit_shares((1 - 0.2 * lr, 1 - 3.8 * lr), start, low, high, steps)


def _thresholds(name: str) -> tuple[float, float]:
    """The learning rates from which 1 is unstable in mean square, and for almost every run."""
    in_square = crossing_rate(lambda lr: second_moment_radius(linearized(name, lr)), 1.0, 0.1, 0.9)
    growth = lambda lr: lyapunov_exponent(linearized(name, lr), 200, 400).value  # noqa: E731
    return in_square, crossing_rate(growth, 0.0, 0.25, 0.9, tol=1e-3)


def leaves_from(name: str, low: float, high: float) -> float:
    """The learning rate between these two from which almost every run leaves, to about 0.0005."""
    growth = lambda lr: lyapunov_exponent(linearized(name, lr), 2000, 2000).value  # noqa: E731
    return crossing_rate(growth, 0.0, low, high, tol=5e-4)


def _label(axes: list[list[Axes]], below: str, beside: str) -> None:
    for panel in axes[1]:
        panel.set_xlabel(below)
    for panel in axes[:, 0]:
        panel.set_ylabel(beside)
    plt.tight_layout()
    plt.show()


# ---- the pages' sentences -------------------------------------------------------------------------------------------


def in_words() -> dict[str, str]:
    """Numbers of the chapter: shares of the runs in percent; `few` of 500 leave at 0.56, exactly, ± the deviation."""
    few = exact_shares(NonuniformMinima(), 0.56, 1e-4, 600)[-1].item()
    shares = {
        "sgd": share("SGD", RATE, LENGTH),
        "sgd-late": share("SGD", 0.56, LONGEST),
        "sam": share("SAM", 0.54, 500),
        "momentum-out": 1 - share("Momentum", RATE, LONGEST),
        "momentum-lower": 1 - share("Momentum", 0.58, LONGEST),
    }
    numbers = {name: f"{100 * part:.0f}" for name, part in shares.items()}
    numbers["few"] = f"{500 * few:.0f} ± {(500 * few * (1 - few)) ** 0.5:.0f}"
    return {f"escape-{name}": text for name, text in numbers.items()}


def growth_in_words() -> dict[str, str]:
    """Numbers of the second page: momentum's growth at the figure's rate, where growth begins, and rounding."""
    there = lyapunov_exponent(linearized("Momentum", RATE), 2000, 2000)
    numbers = {
        "dip": f"{there.value:.4f} ± {1.96 * there.stderr:.4f}".replace("-", "−"),
        "momentum": f"{leaves_from('Momentum', 0.56, 0.57):.3f}",
        "nesterov": f"{leaves_from('Nesterov', 0.3, 0.31):.3f}",
        "rounded": str(held_by_rounding()),
    }
    return {f"growth-{name}": text for name, text in numbers.items()}


def held_by_rounding() -> int:
    """How many of momentum's runs of the record are at 1 to the last digit in the end, at the figure's rate; run anew."""
    f, c = NonuniformMinima(), record()["config"]
    generator = torch.Generator().manual_seed(c["seed"])
    x = torch.full((c["runs"], 1), c["start"], dtype=torch.float64)
    v = torch.full_like(x, c["v_momentum"])
    for t in range(1, LONGEST + 1):
        drawn = f.curvatures[torch.randint(2, x.shape, generator=generator)]
        x, v = step("Momentum", x, v, lambda z, drawn=drawn: slope(z, drawn), RATE, t)
    return int((x == 1).sum())


# ---- the claims ------------------------------------------------------------------------------------------------------


@functools.cache
def record() -> dict[str, Any]:
    """The record of 2,000 runs at each of 40 learning rates."""
    return records.only(RESULTS, "nonuniform_escape", runs=2000)


def count(method: str, lr: float, steps: int, what: str = "zero") -> int:
    """How many runs are at 0, at 1 (`one`) or have left 1 (`left`) at a rate of the record after so many steps."""
    rates = record()["result"]["learning_rates"]
    (curve,) = [c for c in record()["result"]["curves"] if c["method"] == method]
    (place,) = [k for k, rate in enumerate(rates) if abs(rate - lr) < 1e-9]
    return curve[what][record()["config"]["steps"].index(steps)][place]


def share(method: str, lr: float, steps: int, what: str = "zero") -> float:
    """The same as a share of the runs."""
    return count(method, lr, steps, what) / record()["config"]["runs"]


def told(part: float) -> str:
    """A share in words."""
    return {0: "none", 1: "all"}.get(part, f"{part:.1%}")


def escapes_always(*methods: str) -> str:
    """Held if more than 99% (exact 95% interval) are at 0 after the figure's steps, in part if half are after 2,000."""
    n = record()["config"]["runs"]
    soon = [binomtest(count(m, RATE, LENGTH), n).proportion_ci().low > 0.99 for m in methods]
    return graded(all(soon), all(share(m, RATE, LONGEST) > 0.5 for m in methods))


def concluded(verdict: str, words: str) -> Finding:
    """The finding from the record."""
    c = record()["config"]
    size = f"two samples in one dimension, {c['runs']:,} runs at each of {c['learning_rates']} learning rates"
    return Finding(verdict, words, f"{size}, up to {c['steps'][-1]:,} steps", [record()])


def sgd() -> Finding:
    """SGD."""
    words = (
        f"At the learning rate of the figure, {RATE:g}, {told(share('SGD', RATE, LENGTH))} of the runs are at 0 after "
        f"{LENGTH} steps and {told(share('SGD', RATE, 500))} after 500. At 0.54 "
        f"{told(share('SGD', 0.54, LONGEST, 'left'))} have left after {LONGEST:,}."
    )
    return concluded(escapes_always("SGD"), words)


def momentum() -> Finding:
    """Momentum, and how its growth rate dips."""
    rates, three = (0.58, RATE, 0.64), "{}, {} and {}"
    growth = [lyapunov_exponent(linearized("Momentum", lr), 300, 1000).value for lr in rates]
    ends = three.format(*(told(share("Momentum", lr, LONGEST)) for lr in rates))
    words = (
        f"At the learning rate of the figure, {RATE:g}, {told(share('Momentum', RATE, LENGTH))} of the runs are at 0 after "
        f"{LENGTH} steps. Just there the growth rate dips: at {three.format(*rates)} it is "
        f"{three.format(*(f'{v:.2f}' for v in growth))} a step, and {ends} of the runs are at 0 after {LONGEST:,}."
    )
    return concluded(escapes_always("Momentum"), words)


def nesterov() -> Finding:
    """Nesterov's method, and from which rate on no run arrives."""
    rates = record()["result"]["learning_rates"]
    last = max(k for k, lr in enumerate(rates) if count("Nesterov", lr, LONGEST))
    words = (
        f"At the learning rate of the figure, {RATE:g}, {told(share('Nesterov', RATE, LENGTH, 'left'))} of the runs leave "
        f"within {LENGTH} steps and {told(share('Nesterov', RATE, LONGEST))} are at 0 after {LONGEST:,}. At rates of "
        f"{rates[last + 1]:g} and above none is."
    )
    return concluded(escapes_always("Nesterov"), words)


def sam() -> Finding:
    """SAM, and the form in the published code."""
    proper, published = (share(m, RATE, LENGTH) for m in ("SAM", "SAM as published"))
    beside = {m: told(share(m, 0.54, LONGEST)) for m in ("SAM", "SGD")}
    words = (
        f"At the learning rate of the figure, {RATE:g}, {told(proper)} of the runs are at 0 after {LENGTH} steps, and "
        f"{told(published)} in the published form, which always adds +rho and is SGD seen from rho beside. At 0.54 "
        f"{beside['SAM']} of SAM's are there after {LONGEST:,}, of SGD's {beside['SGD']}; at 0.5 "
        f"{told(share('SAM', 0.5, LONGEST))} of SAM's. Neither form rests at 0: SAM circles beside it, the published form "
        "stops a radius off."
    )
    return concluded(escapes_always("SAM", "SAM as published"), words)


CLAIMS = {
    "nonuniformity/figure-1-sgd": sgd,
    "nonuniformity/figure-1-msgd": momentum,
    "nonuniformity/figure-1-nsgd": nesterov,
    "nonuniformity/figure-1-sam": sam,
}
