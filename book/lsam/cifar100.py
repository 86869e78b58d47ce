"""LSAM on the paper's own network and data, ResNet-20 on CIFAR-100, at thirty epochs: our pairs, and the verdict."""

from __future__ import annotations

import functools
import math
import operator
import statistics
from collections.abc import Callable
from typing import Any

from plotly.graph_objects import Figure

from book import accuracies, twelve_epochs
from book.finding import RESULTS, Finding, graded, interval, scale
from flatlab import plots
from flatlab.runs import records
from flatlab.stats.intervals import student

Record = dict[str, Any]

RHO = 0.05
PAPER = {a.method: a for a in accuracies.reported() if (a.paper, a.data, a.network) == ("LSAM", "cifar100", "resnet20")}
"""The paper's column: mean and deviation over three seeds, at 200 epochs."""
SETTING = {"data": "cifar100", "network": "resnet20", "epochs": 30, "schedule": "triangle", "precision": "fp32"}
CLEAR = 2.0
"""Points of accuracy that the study is made to see."""
ENOUGH = 3
"""Pairs from which their own spread is used: that of two says next to nothing."""


@functools.cache
def pairs() -> dict[int, tuple[Record, Record]]:
    """SGD's and LSAM's run, by seed. Raises `LookupError` if no seed has both."""
    runs: dict[str, dict[int, Record]] = {"plain": {}, "LSAM": {}}
    for r in records.find(RESULTS, "train", **SETTING):
        if r["config"]["method"] == "plain" or (r["config"]["method"], r["config"].get("rho")) == ("LSAM", RHO):
            runs[r["config"]["method"]][r["config"]["seed"]] = r
    shared = sorted(set(runs["plain"]) & set(runs["LSAM"]))
    if not shared:
        raise LookupError("no seed has a run of ResNet-20 on CIFAR-100 by SGD and by LSAM")
    return {seed: (runs["plain"][seed], runs["LSAM"][seed]) for seed in shared}


def accuracy(r: Record) -> float:
    """Of the last epoch on test images, in percent."""
    return 100 * r["result"]["final"]["accuracy"]


def level(k: int, value: Callable[[Record], float] = accuracy) -> float:
    """Mean of a number over the seeds, of SGD's runs (0) or LSAM's (1)."""
    return statistics.fmean(value(pair[k]) for pair in pairs().values())


def gain() -> tuple[float, float]:
    """LSAM's lead over SGD in points, mean over seeds, and the half-width of its 95% interval.

    Student's from `ENOUGH` pairs on; with fewer, that of seeds that differ as the paper says of this column at most.
    """
    mean, own = student(leads())
    return mean, own if len(pairs()) >= ENOUGH else half_width_by_the_paper()


def half_width_by_the_paper() -> float:
    """Half-width of the interval of the mean lead, if seeds differ as the paper says of this column at most."""
    return half_width_of_a_pair() / math.sqrt(len(pairs()))


def leads() -> list[float]:
    """LSAM's accuracy less SGD's in points, seed by seed."""
    return [accuracy(ours) - accuracy(sgd) for sgd, ours in pairs().values()]


def half_width_of_a_pair() -> float:
    """Half-width of the 95% interval of a single pair's lead, if seeds differ as the paper says of this column at most."""
    return 1.96 * math.sqrt(2) * max(a.deviation for a in PAPER.values())


def half_width_by_variances() -> float:
    """The same if its numbers are variances, as its text says once against its table's caption."""
    return 1.96 * math.sqrt(2 * max(a.deviation for a in PAPER.values()))


def gains() -> float:
    """The paper's lead of LSAM over SGD, in points."""
    return PAPER["LSAM"].accuracy - PAPER["SGD"].accuracy


def used() -> list[Record]:
    """All runs."""
    return [r for pair in pairs().values() for r in pair]


# ---- the chapter's figure --------------------------------------------------------------------------------------------


def draw() -> list[Record]:
    """Test accuracy over the epochs, with the paper's two ends; returns the records."""
    figure = Figure()
    for k, (name, dash) in enumerate((("SGD", "solid"), ("LSAM", "dash"))):
        for j, pair in enumerate(pairs().values()):
            curve = pair[k]["result"]["curves"]
            figure.add_scatter(
                x=[p["epoch"] for p in curve], y=[100 * p["accuracy"] for p in curve], mode="lines", name=name,
                line={"color": plots.METHODS[name], "dash": dash}, showlegend=j == 0, hovertemplate="%{y:.1f}%",
            )  # fmt: skip
        told = PAPER[name]
        figure.add_hline(
            told.accuracy, line={"color": plots.METHODS[name], "width": 1, "dash": "dot"}, annotation_text=f"{name}, paper",
            annotation_position="top left",
        )  # fmt: skip
    figure.update_xaxes(title_text="epoch")
    figure.update_yaxes(title_text="test accuracy (%)")
    caption = "Test accuracy of ResNet-20 on CIFAR-100 over thirty epochs, by SGD and by LSAM, with the paper's two ends."
    figure.update_layout(height=400, legend={"orientation": "h", "y": -0.2}, meta={"caption": caption})
    figure.show()
    return used()


def in_words() -> dict[str, str]:
    """Numbers of the chapter's prose."""
    fit = max(level(k, lambda r: 100 * r["result"]["final"]["train_accuracy"]) for k in (0, 1))
    numbers = {"sgd": f"{level(0):.1f}", "lsam": f"{level(1):.1f}", "gain": told().replace("-", "−"), "fit": f"{fit:.0f}"}
    numbers |= {"by-variances": f"{half_width_by_variances():.1f}", "pair": f"{half_width_of_a_pair():.1f}"}
    numbers |= {"seeds": count(), "told": f"{gains():.1f}"}
    lead, own = student(leads())
    for name, half in (("theirs", half_width_by_the_paper()), ("own", own)):
        numbers |= {name: f"{half:.1f}", f"{name}-lies": twelve_epochs.lies(lead, half)}
    return {f"thirty-{name}": text for name, text in numbers.items()}


def count() -> str:
    """How many seeds, in words."""
    return {1: "one seed", 2: "two seeds"}.get(len(pairs()), f"{len(pairs())} seeds")


def told() -> str:
    """The lead, with an interval if it is of our own spread."""
    mean, half = gain()
    return interval(mean, half if len(pairs()) >= ENOUGH else math.inf, "+.1f")


def sure() -> str:
    """How far the lead can be off, and where its interval then stands to zero: by the paper's deviations and by our own."""
    lead, own = student(leads())
    theirs = half_width_by_the_paper()
    said = f"If seeds differ as the paper's deviations say, this is sure to {theirs:.1f}, and its interval "
    said += f"{twelve_epochs.lies(lead, theirs)}"
    if math.isfinite(own):
        said += f"; by their own spread it is sure to {own:.1f}, and its interval {twelve_epochs.lies(lead, own)}"
    return f"{said}."


# ---- the claim -------------------------------------------------------------------------------------------------------


def small_models_gain() -> Finding:
    """LSAM leads SGD by two points for certain, and on CIFAR-10 for certain; in part if it leads for certain on either.

    The cause is not measured.
    """
    lead, half = gain()
    condition = "A" if len(pairs()) >= ENOUGH else "By the paper's deviations a"
    words = (
        f"ResNet-20 on CIFAR-100, 30 epochs, {count()}: LSAM with one draw at rho = {RHO:g} ends at {level(1):.1f}%, SGD "
        f"at {level(0):.1f}%, {told()} points apart; the paper has {gains():.1f} after 200. {sure()} "
        f"{condition} gain of more than {max(lead + half, 0):.1f} is excluded at this length. "
    )
    words += (
        "On CIFAR-10, with the narrow fast_cifar after 12 epochs, LSAM less SGD is, in points, "
        f"{twelve_epochs.told('LSAM')}. "
    )
    words += "Longer training and the cause were not measured."
    ends = lead - half, operator.sub(*twelve_epochs.lead("LSAM"))
    runs = used() + [r for name in ("SGD", "LSAM") for r in twelve_epochs.runs()[name].values()]
    return Finding(graded(ends[0] > CLEAR and ends[1] > 0, max(ends) > 0), words, scale(runs), runs)


CLAIMS = {"lsam/small-models-gain": small_models_gain}
