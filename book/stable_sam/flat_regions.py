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
TIMES = (1, 2, 3)
"""Places in the list of what was measured, from after the first third of the epochs to the end."""
SHARP = {"eigenvalue": "largest eigenvalue of H", "ascent": "rise on SAM's step", "adaptive": "rise on ASAM's step"}
MEASURES = SHARP | {"noise": "gradient noise Tr C", "loss": "training loss"}


@functools.cache
def pairs() -> dict[int, tuple[Record, Record]]:
    """SGD's and SAM's run by seed. Raises `LookupError` unless all are there."""
    runs = records.find(RESULTS, "noise_and_sharpness", network="lenet5", data="cifar10", examples=10_000, epochs=30)
    found = {(r["config"]["method"], r["config"]["seed"]): r for r in runs}
    if set(found) != {(method, seed) for method in ("plain", "SAM") for seed in SEEDS}:
        raise LookupError(f"runs of LeNet5 by SGD and SAM: {sorted(found)}, wanted both with the seeds {SEEDS}")
    return {seed: (found["plain", seed], found["SAM", seed]) for seed in SEEDS}


def used() -> list[Record]:
    """All runs."""
    return [r for pair in pairs().values() for r in pair]


def epoch(at: int) -> int:
    """The epoch that a measurement follows."""
    return used()[0]["result"]["measured"][at]["epoch"]


def ratio(value: Callable[[Record], float]) -> tuple[float, float, float]:
    """SAM's over SGD's, the geometric mean over the seeds with the ends of its 95% interval."""
    mean, half = student([math.log(value(sam) / value(sgd)) for sgd, sam in pairs().values()])
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def measured(name: str, at: int) -> tuple[float, float, float]:
    """That of a measure at a time."""
    return ratio(lambda r: r["result"]["measured"][at][name])


def told(of: tuple[float, float, float]) -> str:
    """A ratio with its interval."""
    return "{:.2f} [{:.2f}, {:.2f}]".format(*of)


def rises(r: Record) -> float:
    """By which factor the test loss ends above its least value."""
    losses = [p["loss"] for p in r["result"]["curves"]]
    return losses[-1] / min(losses)


def final(name: str, k: int) -> list[float]:
    """A score of the last epoch of SGD's runs (0) or SAM's (1)."""
    return [pair[k]["result"]["final"][name] for pair in pairs().values()]


def rows() -> list[list[str]]:
    """A measure a row, SAM's over SGD's at each time."""
    return [[name, *(told(measured(key, at)) for at in TIMES)] for key, name in MEASURES.items()]


def in_words() -> dict[str, str]:
    """Numbers of the page's prose."""
    early, late = [measured(key, TIMES[0])[0] for key in SHARP], [measured(key, TIMES[-1])[0] for key in SHARP]
    numbers = {"early": span([100 * (1 - r) for r in early], ".0f"), "late": span(late)}
    numbers |= {"loss": f"{measured('loss', TIMES[-1])[0]:.1f}", "noise": f"{measured('noise', TIMES[-1])[0]:.1f}"}
    for k, name in enumerate(("sgd", "sam")):
        numbers[f"rises-{name}"] = span([rises(pair[k]) for pair in pairs().values()], ".1f")
        numbers[f"error-{name}"] = span([100 * (1 - a) for a in final("accuracy", k)], ".1f")
    return {f"flatter-{name}": text for name, text in numbers.items()}


def seeks_flat_regions() -> Finding:
    """SGD's test loss ends above its least, and SAM ends flatter by all three measures and with a smaller test loss, for
    certain; in part if it is flatter by all three for certain at an earlier time.
    """
    flatter = {at: all(measured(key, at)[2] < 1 for key in SHARP) for at in TIMES}
    overfits = all(rises(sgd) > 1 for sgd, _ in pairs().values())
    lower = ratio(lambda r: r["result"]["final"]["loss"])
    early, late = (", ".join(f"{name} {told(measured(key, at))}" for key, name in MEASURES.items()) for at in (1, -1))
    words = (
        "LeNet5 on 10,000 images of CIFAR-10, three seeds, SAM (rho = 0.05) over SGD with 95% intervals, measured on 1,000 "
        f"of them. After {epoch(1)} epochs: {early}. After {epoch(-1)}: {late}. SGD's test loss ends at "
        f"{span([rises(sgd) for sgd, _ in pairs().values()], '.1f')} times its least value; SAM's test loss over SGD's is "
        f"{told(lower)}."
    )
    whole = overfits and flatter[TIMES[-1]] and lower[2] < 1
    return Finding(graded(whole, any(flatter.values())), words, scale(used()), used())


CLAIMS = {"stable-sam/sam-seeks-flat-regions": seeks_flat_regions}
