"""The methods side by side on CIFAR-10, a narrow fast_cifar for twelve epochs."""

from __future__ import annotations

import functools
import math
import statistics
from typing import Any

from IPython.display import HTML

from book import accuracies
from book.finding import RESULTS, interval, span
from flatlab import plots
from flatlab.runs import records
from flatlab.stats.comparison import compare, holm
from flatlab.stats.intervals import student

Record = dict[str, Any]

SETTING = {
    "data": "cifar10", "network": "fast_cifar", "width": [32, 128, 128], "lr": 0.1, "epochs": 12, "schedule": "triangle",
    "precision": "fp32",
}  # fmt: skip
METHODS = ("SGD", "SAM", "StableSAM", "LSAM", "CSAM")


FASTER = 0.2
"""The rate that served SGD better in its trials."""
LONGER = 24
"""Epochs in which SGD takes as many gradients as SAM in twelve."""
ENOUGH = 3
"""Pairs from which a difference has an interval."""


@functools.cache
def runs(**other: float) -> dict[str, dict[int, Record]]:
    """By method and seed, of the methods that have any; at another rate or of another length, if given.

    Raises `LookupError` for two of one seed, and unless SGD has one with the table's settings.
    """
    found: dict[str, dict[int, Record]] = {name: {} for name in METHODS}
    for r in records.find(RESULTS, "train", **SETTING | other):
        name, seed = accuracies.method(r["config"]), r["config"]["seed"]
        if r["result"]["evaluated_on"] != "test" or r["config"].get("label_noise") or name not in found:
            continue
        if seed in found[name]:
            raise LookupError(f"two runs of {name} with seed {seed}: {found[name][seed]['key']} and {r['key']}")
        found[name][seed] = r
    if not other and not found["SGD"]:
        raise LookupError(f"no run of the narrow fast_cifar on CIFAR-10 by SGD at a rate of {SETTING['lr']:g}")
    return {name: of for name, of in found.items() if of}


def others() -> dict[str, dict[int, Record]]:
    """SGD with twice the epochs and at the faster rate, by their names in the table and by seed, as far as they are run."""
    found = {f"SGD, {LONGER} epochs": runs(epochs=LONGER), f"SGD, rate {FASTER:g}": runs(lr=FASTER)}
    return {name: of["SGD"] for name, of in found.items() if "SGD" in of}


def used() -> list[Record]:
    """All runs of the table."""
    return [r for of in (*runs().values(), *others().values()) for r in of.values()]


def accuracy(r: Record) -> float:
    """Of the last epoch on test images, in percent."""
    return 100 * r["result"]["final"]["accuracy"]


def lead(name: str, other: str = "SGD") -> tuple[float, float]:
    """A method's accuracy less another's, the mean over the seeds of both with its half-width; infinite for one pair."""
    return apart(runs()[name], runs()[other])


def apart(ours: dict[int, Record], rivals: dict[int, Record]) -> tuple[float, float]:
    """The same of any runs by seed."""
    return student([accuracy(ours[seed]) - accuracy(rivals[seed]) for seed in ours if seed in rivals])


def told(name: str, other: str = "SGD") -> str:
    """Its lead over another, and over how many seeds."""
    return in_seeds(runs()[name], runs()[other])


def in_seeds(ours: dict[int, Record], rivals: dict[int, Record]) -> str:
    """The same of any runs by seed."""
    seeds = len(set(ours) & set(rivals))
    return f"{difference(ours, rivals)} ({'one seed' if seeds == 1 else f'{seeds} seeds'})"


def difference(ours: dict[int, Record], rivals: dict[int, Record]) -> str:
    """The lead, with its interval if there are enough pairs: that of two says next to nothing."""
    mean, half = apart(ours, rivals)
    return interval(mean, half if len(set(ours) & set(rivals)) >= ENOUGH else math.inf, "+.2f")


def p_values() -> dict[tuple[str, str], float]:
    """Of every difference with an interval in the table, by its two rows: Student's test on the pairs of one seed."""
    rows = {name: {seed: accuracy(r) for seed, r in of.items()} for name, of in (runs() | others()).items()}
    pairs = [(name, other) for name in rows for other in ("SGD", "SAM") if name not in ("SGD", other)]
    pairs = [(name, other) for name, other in pairs if len(set(rows[name]) & set(rows[other])) >= ENOUGH]
    return {(name, other): compare(rows[name], rows[other]).paired_p for name, other in pairs}


def claimed(name: str, other: str = "SGD") -> list[float]:
    """A method's leads over another on CIFAR-10 in the paper that has both, in points, network by network."""
    paper = "Nonuniformity" if name == "CSAM" else "StableSAM"
    theirs, ours = (accuracies.column(paper, "cifar10", method) for method in (other, name))
    return [b.accuracy - a.accuracy for a, b in zip(theirs, ours, strict=True)]


def lies(mean: float, half: float) -> str:
    """Where an interval stands to zero.

    >>> lies(-0.25, 0.19), lies(-0.15, 0.69), lies(0.5, 0.2)
    ('lies below zero', 'contains zero', 'lies above zero')
    """
    return "contains zero" if abs(mean) <= half else "lies above zero" if mean > 0 else "lies below zero"


def table() -> HTML:
    """A method a row: seeds, passes over the data, accuracy, and the leads over SGD and SAM."""
    rows = []
    for name, of in (runs() | others()).items():
        passes = statistics.fmean(r["result"]["gradients"] for r in of.values()) * 128 / 50_000
        leads = [difference(of, runs()[other]) if other != name else "" for other in ("SGD", "SAM")]
        mean = statistics.fmean(accuracy(r) for r in of.values())
        rows.append([name, f"{mean:.2f}", *leads, f"{len(of)}", f"{passes:.0f}"])
    return plots.table(["method", "accuracy", "minus SGD", "minus SAM", "seeds", "gradients of all images"], rows)


def at_equal_cost(name: str) -> str:
    """The lead of a method with two gradients in a step over SGD with twice the epochs."""
    longer = runs(epochs=LONGER).get("SGD")
    return in_seeds(runs()[name], longer) if longer else "not run yet"


def in_words() -> dict[str, str]:
    """Numbers of the chapter's prose."""
    paper = {name: accuracies.column("LSAM", "cifar10", name)[0].accuracy for name in ("SGD", "LSAM")}  # of ResNet-20
    sgd = statistics.fmean(map(accuracy, runs()["SGD"].values()))
    numbers = {"sgd": f"{sgd:.1f}", "told": f"{paper['LSAM'] - paper['SGD']:.1f}", "told-sam": span(claimed("SAM"))}
    faster = others()[f"SGD, rate {FASTER:g}"]
    numbers |= {f"equal-{name.lower()}": at_equal_cost(name).replace("-", "−") for name in ("SAM", "StableSAM")}
    for rival, of in (("faster", apart(faster, runs()["SGD"])), ("faster-sam", apart(faster, runs()["SAM"]))):
        numbers |= {rival: interval(*of, "+.2f").replace("-", "−"), f"{rival}-lies": lies(*of)}
    p = list(p_values().values())
    off = {"alone": p, "together": holm(p)}
    numbers |= {name: str(sum(value < 0.05 for value in of) or "none") for name, of in off.items()} | {
        "compared": str(len(p))
    }
    rivals = [(name, "SAM") for name in ("StableSAM", "CSAM")]
    numbers |= {f"told-{name.lower()}": span(claimed(name, other)).replace("-", "−") for name, other in rivals}
    for name, other in [(name, "SGD") for name in runs() if name != "SGD"] + rivals:
        mean, half = lead(name, other)
        of = name.lower() if other == "SGD" else f"{name}-{other}".lower()
        numbers |= {of: interval(mean, half, "+.2f").replace("-", "−"), f"{of}-end": f"{max(mean + half, 0):.2f}"}
        numbers |= {f"{of}-seen": f"{half:.2f}", f"{of}-lies": lies(mean, half)}
        if other != "SGD":
            numbers[f"{of}-told"] = "all smaller" if max(claimed(name, other)) < half else "not all smaller"
    return {f"twelve-{name}": text for name, text in numbers.items()}
