"""FA-regularization: the paper's numbers and our records of its three tables, run by run and compared seed by seed."""

from __future__ import annotations

import csv
import functools
import math
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from book.finding import RESULTS
from flatlab.data import TITLES as DATA
from flatlab.runs import records
from flatlab.stats.comparison import Comparison, compare, holm
from flatlab.stats.intervals import student

Record = dict[str, Any]
Runs = Mapping[float | None, Mapping[int, Record]]
"""The records of a table by weight, None without penalty and 0 where it is measured only, and by seed."""

C, N, B = "cifar100", "newsgroups", "breast_cancer"
TITLES = {name: DATA[name] for name in (C, N, B)}
LAMBDAS = (None, 0.0, 0.001, 0.01, 0.1, 1.0)
SEEDS = {1, 2, 3, 42, 123}
TRIALS = {C: 600, N: 3 * 7532, B: 3 * 114}
"""Predictions behind one of the paper's accuracies."""
WIDEST = 5.0
"""Points of accuracy: an interval that is wider than this shows no agreement."""
SETTINGS = {
    C: {"network": "mlp512_256", "epochs": 10, "lr": 0.001},
    N: {"network": "logistic", "epochs": 20, "lr": 0.001},
    B: {"network": "mlp512_256", "epochs": 20, "lr": 0.001},
}


TEXT = 0.01
"""The rate that the text gives for Table 1. At it the network without penalty hardly learns, so that the verdicts go by a
tenth of it, where it ends at the paper's accuracy."""


class Reported(NamedTuple):
    """A row of a table as the paper prints it: accuracies between 0 and 1, flatness in its own digits, "" where none."""

    final: float
    best: float
    flatness: str
    seconds: float


def _reported() -> dict[str, dict[float | None, Reported]]:
    tables: dict[str, dict[float | None, Reported]] = {name: {} for name in TITLES}
    with (Path(__file__).parent / "reported.csv").open() as file:
        for r in csv.DictReader(file):
            row = Reported(float(r["final"]), float(r["best"]), r["flatness"], float(r["seconds"]))
            tables[r["data"]][float(r["lambda"]) or None] = row
    return tables


PAPER = _reported()
"""By data set and weight."""


# ---- the paper's own digits ------------------------------------------------------------------------------------------


def on_grid(value: float, m: int) -> bool:
    """Whether an accuracy with four digits can be a count over `m`."""
    return abs(round(value * m) / m - value) <= 0.5001e-4


def possible_counts(data: str, most: int) -> list[int]:
    """The m up to `most` of which all accuracies of a table are multiples of 1/m."""
    values = [v for row in PAPER[data].values() for v in (row.final, row.best)]
    return [m for m in range(1, most + 1) if all(on_grid(v, m) for v in values)]


# ---- our records -----------------------------------------------------------------------------------------------------


@functools.cache
def study(data: str, lr: float | None = None) -> Runs:
    """The runs of a table, at the rate that its verdicts go by or at another; weights that have none yet are there, too."""
    setting = SETTINGS[data] | ({} if lr is None else {"lr": lr}) | {"base": "Adam", "method": "plain"}
    setting |= {"validation": None, "examples": None, "label_noise": None}
    runs: dict[float | None, dict[int, Record]] = {fa: {} for fa in LAMBDAS}
    for r in records.find(RESULTS, "train", data=data, **setting):
        if r["config"].get("fa") in runs and r["config"].get("penalty_every") in (None, 10):
            runs[r["config"].get("fa")][r["config"]["seed"]] = r
    return runs


def whole(data: str, lr: float | None = None) -> Runs:
    """The same with the seeds alone that all weights have; raises `LookupError` if that is none."""
    runs = study(data, lr)
    shared = sorted(set.intersection(*map(set, runs.values())))
    if not shared:
        missing = {fa: SEEDS - set(by_seed) for fa, by_seed in runs.items() if SEEDS - set(by_seed)}
        raise LookupError(f"no seed of {data} has a run of every weight; missing, by weight and seed: {missing}")
    return {fa: {seed: by_seed[seed] for seed in shared} for fa, by_seed in runs.items()}


RADII = (0.01, 0.05, 0.2)
"""SAM's, in the place of the penalty."""


@functools.cache
def with_sam() -> dict[float, dict[int, Record]]:
    """SAM on the network and the data of Table 1, at the rate at which they learn, by radius and seed."""
    runs: dict[float, dict[int, Record]] = {rho: {} for rho in RADII}
    for r in records.find(RESULTS, "train", data=C, **SETTINGS[C], base="Adam", method="SAM", validation=None):
        runs[r["config"]["rho"]][r["config"]["seed"]] = r
    return runs


def mistakes(data: str) -> Record:
    """The record of trainings that were broken on purpose."""
    return records.only(RESULTS, "mistakes", data=data)


def final(r: Record) -> float:
    """Test accuracy after the last epoch, in percent."""
    return 100 * r["result"]["final"]["accuracy"]


def best(r: Record) -> float:
    """The highest test accuracy of all epochs, in percent."""
    return 100 * max(p["accuracy"] for p in r["result"]["curves"])


def mean_curvature(r: Record) -> float:
    """Mean over all epochs' estimates; "Avg. Flatness" in the paper's table."""
    return statistics.fmean(p["hessian_frobenius"] for p in r["result"]["curves"] if p["hessian_frobenius"] is not None)


def last_curvature(r: Record) -> float:
    """Mean over the estimates of the last epoch."""
    return r["result"]["final"]["hessian_frobenius"]


def last_loss(r: Record) -> float:
    """The recorded training loss of the last epoch."""
    return r["result"]["curves"][-1]["train_loss"]


def of(runs: Runs, fa: float | None, value: Callable[[Record], float]) -> dict[int, float]:
    """A number of the runs with one weight, by seed."""
    return {seed: value(r) for seed, r in runs[fa].items()}


def mean(runs: Runs, fa: float | None, value: Callable[[Record], float]) -> tuple[float, float]:
    """Its mean over seeds and the half-width of the 95% interval."""
    return student(list(of(runs, fa, value).values()))


def times(runs: Runs, fa: float | None) -> list[float]:
    """Processor time over that of the same seed without penalty, seed by seed."""
    return [r["cpu_s"] / runs[None][seed]["cpu_s"] for seed, r in runs[fa].items() if seed in runs[None]]


def slowdowns(runs: Runs) -> list[float]:
    """Its mean, of each weight."""
    return [statistics.fmean(times(runs, fa)) for fa in LAMBDAS[2:]]


class Gain(NamedTuple):
    """A weight against none: the comparison, and its paired p-value after Holm's correction over the four weights."""

    fa: float
    by: Comparison
    p: float


def against(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Comparison:
    """The comparison seed by seed; of a single seed the difference, with nothing to say how sure it is."""
    if len(ours) > 1:
        return compare(ours, theirs)
    ((seed, value),) = ours.items()
    return Comparison(value - theirs[seed], math.inf, math.nan, math.nan)


def gains(runs: Runs, value: Callable[[Record], float] = final) -> list[Gain]:
    """Of each weight."""
    found = [against(of(runs, fa, value), of(runs, None, value)) for fa in LAMBDAS[2:]]
    return [Gain(*row) for row in zip(LAMBDAS[2:], found, holm([c.paired_p for c in found]), strict=True)]


def gain(runs: Runs, fa: float) -> Gain:
    """Of one weight, in points of the final accuracy."""
    return next(g for g in gains(runs) if g.fa == fa)


def better(runs: Runs) -> tuple[int, int]:
    """How many of the four weights are better than none for certain, and how many worse."""
    certain = [g.by.difference for g in gains(runs) if g.p < 0.05]
    return sum(d > 0 for d in certain), sum(d < 0 for d in certain)
