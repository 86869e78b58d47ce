"""Does SAM end in flatter regions than SGD, and with a low loss: LeNet5, seed by seed, and the verdict."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from book.finding import RESULTS, Finding, graded, scale, span
from flatlab.runs import records
from flatlab.stats.intervals import student

Record = dict[str, Any]

SEEDS = (1, 42, 123)
METHODS = {"plain": "SGD", "SAM": "SAM"}
MEASURES: dict[str, Callable[[Record], float]] = {
    "largest eigenvalue of H": lambda r: r["result"]["measured"][-1]["eigenvalue"],
    "rise on SAM's step": lambda r: r["result"]["measured"][-1]["ascent"],
    "gradient noise Tr C": lambda r: r["result"]["measured"][-1]["noise"],
    "training loss": lambda r: r["result"]["measured"][-1]["loss"],
    "test loss": lambda r: r["result"]["final"]["loss"],
    "test error (%)": lambda r: 100 * (1 - r["result"]["final"]["accuracy"]),
}
SHARP = tuple(MEASURES)[:2]


@functools.cache
def pairs() -> dict[int, tuple[Record, Record]]:
    """SGD's and SAM's run by seed. Raises `LookupError` unless all are there."""
    runs = records.find(RESULTS, "noise_and_sharpness", network="lenet5", data="cifar10", examples=10_000, epochs=30)
    found = {(r["config"]["method"], r["config"]["seed"]): r for r in runs}
    if set(found) != {(method, seed) for method in METHODS for seed in SEEDS}:
        raise LookupError(f"runs of LeNet5 by SGD and SAM: {sorted(found)}, wanted both with the seeds {SEEDS}")
    return {seed: (found["plain", seed], found["SAM", seed]) for seed in SEEDS}


def used() -> list[Record]:
    """All runs."""
    return [r for pair in pairs().values() for r in pair]


def values(name: str, k: int) -> list[float]:
    """A measure of SGD's runs (0) or SAM's (1)."""
    return [MEASURES[name](pair[k]) for pair in pairs().values()]


def ratio(name: str) -> tuple[float, float, float]:
    """SAM's over SGD's, the geometric mean over the seeds with the ends of its 95% interval."""
    mean, half = student([math.log(b / a) for a, b in zip(values(name, 0), values(name, 1), strict=True)])
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def told(name: str) -> str:
    """The ratio in words."""
    return "{:.2f} [{:.2f}, {:.2f}]".format(*ratio(name))


def rises(r: Record) -> float:
    """By which factor the test loss ends above its least value."""
    losses = [p["loss"] for p in r["result"]["curves"]]
    return losses[-1] / min(losses)


def rows() -> list[list[str]]:
    """A measure a row: SGD's and SAM's from the least to the largest seed, and SAM's over SGD's."""
    return [[name, *(span(values(name, k), ".3g") for k in (0, 1)), told(name)] for name in MEASURES]


def in_words() -> dict[str, str]:
    """Numbers of the page's prose."""
    names = {"eigenvalue": SHARP[0], "ascent": SHARP[1], "loss": "training loss", "test": "test loss"}
    numbers = {f"flat-{short}": f"{ratio(name)[0]:.2f}" for short, name in names.items()}
    for k, method in enumerate(METHODS.values()):
        numbers[f"flat-rises-{method.lower()}"] = span([rises(pair[k]) for pair in pairs().values()], ".1f")
    return numbers


def seeks_flat_regions() -> Finding:
    """SGD's test loss ends above its least, SAM ends flatter by both measures for certain, and its test loss is below
    SGD's for certain; in part if it is flatter for certain by one of them.
    """
    overfits = all(rises(sgd) > 1 for sgd, _ in pairs().values())
    flatter = [ratio(name)[2] < 1 for name in SHARP]
    words = (
        "LeNet5 on 10,000 images of CIFAR-10, 30 epochs, three seeds. SGD's test loss ends at "
        f"{span([rises(sgd) for sgd, _ in pairs().values()], '.1f')} times its least value, SAM's at "
        f"{span([rises(sam) for _, sam in pairs().values()], '.1f')}. SAM over SGD at the end, with 95% intervals: "
        + ", ".join(f"{name} {told(name)}" for name in MEASURES)
        + "."
    )
    whole = overfits and all(flatter) and ratio("test loss")[2] < 1
    return Finding(graded(whole, any(flatter)), words, scale(used()), used())


CLAIMS = {"stable-sam/sam-seeks-flat-regions": seeks_flat_regions}
