"""Figure 2 of the paper: where SGD, SAM and COV come to rest on the valley of a product of two weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from flatlab import plots
from flatlab.runs import records

__all__ = ["draw", "found", "table"]

Record = dict[str, Any]
T95 = 2.093
"""Of Student's distribution with 19 degrees of freedom: there are 20 data sets."""
SETTINGS = {"the paper's settings": ([0.1, -0.1], 0.3, 0.15), "θ* = (1, 1), start (3, 0.1)": ([1.0, 1.0], 0.3, 0.03)}
"""The weights that made the data, the paper's lambda, and a smaller one beside it."""


def found(folder: str | Path) -> dict[str, Record]:
    """The four records: both settings with the paper's lambda, and the same with a smaller one."""
    there = {}
    for title, (theta, lam, less) in SETTINGS.items():
        there[title] = records.only(folder, "factorization_valley", theta=theta, lam=lam)
        there[f"{title}, λ = {less:g}"] = records.only(folder, "factorization_valley", theta=theta, lam=less)
    return there


def draw(record: dict[str, Record]) -> None:
    """A row a setting: the runs on the first data set over its valley, and the mean norm over all."""
    figure, axes = plt.subplots(2, 2, figsize=(9, 7.6))
    for (left, right), (title, (_, _, less)) in zip(axes, SETTINGS.items(), strict=True):
        _paths(left, record[title])
        left.set(title=title)
        _norms(right, record[title])
        if max(record[title]["config"]["start"]) > 1:  # at the paper's lambda COV diverges there
            lighter = record[f"{title}, λ = {less:g}"]["result"]
            whole = next(torch.tensor(c["norm"]) for c in lighter["curves"] if c["method"] == "COV, whole")
            colour = plots.METHODS["COV, whole"]
            right.plot(lighter["steps"], whole.mean(0), color=colour, label=f"COV, whole, λ = {less:g}")
        right.legend(fontsize=9)
    plt.tight_layout()
    plt.show()


def table(record: dict[str, Record]) -> None:
    """Prints, method by method, the norm at the end and how far from the valley a run stays."""
    print("              ‖w‖ at the end   below least norm   off the valley, p − p*, ± 95%")
    for title, (_, _, less) in SETTINGS.items():
        print(f"{title}: least norm {_least(record[title]).mean():.4f}")
        _rows(record[title], ("SGD", "SAM", "COV", "COV, whole"))
        print(f"the same with λ = {less:g}")
        _rows(record[f"{title}, λ = {less:g}"], ("COV", "COV, whole"))


def _valley(record: Record) -> Tensor:
    return torch.tensor(record["result"]["data"]["valley"])


def _least(record: Record) -> Tensor:
    """The least norm on each data set's valley."""
    return (2 * _valley(record).abs()).sqrt()


def _finite(record: Record) -> list[dict[str, Any]]:
    return [curve for curve in record["result"]["curves"] if curve["norm"][0][-1] is not None]


def _paths(panel: plt.Axes, record: Record) -> None:
    start = record["config"]["start"]
    reach = 1.2 * max(map(abs, start))
    arm = torch.linspace(reach / 400, reach, 400)
    for side in (1, -1):
        panel.plot(side * arm, _valley(record)[0] / (side * arm), color="0.75", linewidth=5, zorder=0)
    for curve in _finite(record):
        colour = plots.METHODS[curve["method"]]
        panel.plot(*torch.tensor(curve["path"]).T, color=colour, linewidth=1.2, label=curve["method"])
        panel.plot(*curve["path"][-1], "o", color=colour, markersize=6)
    least = 0 if max(start) > 1 else -reach
    panel.set(xlim=(least, reach), ylim=(least, reach), xlabel="w₁", ylabel="w₂", aspect="equal")


def _norms(panel: plt.Axes, record: Record) -> None:
    steps = record["result"]["steps"]
    for curve in _finite(record):
        colour, norms = plots.METHODS[curve["method"]], torch.tensor(curve["norm"])
        mean, half = norms.mean(0), T95 * norms.std(0) / len(norms) ** 0.5
        panel.plot(steps, mean, color=colour, label=curve["method"])
        panel.fill_between(steps, mean - half, mean + half, color=colour, alpha=0.2, linewidth=0)
    panel.axhline(_least(record).mean(), color="black", linestyle=":", linewidth=1.2)
    panel.set(xlabel="step", ylabel="‖w‖", ylim=(0, None))


def _rows(record: Record, names: tuple[str, ...]) -> None:
    valley, least = _valley(record), _least(record)
    for curve in record["result"]["curves"]:
        if curve["method"] not in names:
            continue
        if curve["norm"][0][-1] is None:
            print(f"{curve['method']:11}  diverged")
            continue
        norm, product = torch.tensor(curve["norm"]), torch.tensor(curve["product"])
        end, off = norm[:, -1], product[:, 50:] - valley[:, None]
        print(
            f"{curve['method']:11} {end.mean():8.4f} ± {T95 * end.std() / 20**0.5:.4f} {(end < least).sum():8} of 20"
            f" {off.mean():+15.4f} {off.mean(1).std() * T95 / 20**0.5:10.4f}"
        )
