"""Does SAM end in flatter regions than SGD, and with a low loss: LeNet5, seed by seed, and the verdict."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
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
    return _ratio([(value(sgd), value(sam)) for sgd, sam in pairs().values()])


def _ratio(apart: Iterable[Sequence[float]]) -> tuple[float, float, float]:
    mean, half = student([math.log(second / first) for first, second in apart])
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def measured(name: str, at: int) -> tuple[float, float, float]:
    """That of a measure at a time."""
    return ratio(lambda r: r["result"]["measured"][at][name])


def around(r: Record, at: int) -> float:
    """The training loss after SAM's step, which SAM is meant to make small."""
    found = r["result"]["measured"][at]
    return found["loss"] + found["ascent"]


def at_equal_loss(name: str) -> tuple[float, float, float]:
    """That of a measure, SAM's at the end over SGD's a time earlier: their training losses are about equal."""
    return _ratio(
        [(sgd["result"]["measured"][-2][name], sam["result"]["measured"][-1][name]) for sgd, sam in pairs().values()]
    )


def fallen(name: str) -> tuple[float, float, float]:
    """That of SGD's own measure, at the end over the first time."""
    return _ratio([[sgd["result"]["measured"][at][name] for at in (TIMES[0], TIMES[-1])] for sgd, _ in pairs().values()])


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
    """SGD's test loss ends above its least, and SAM ends flatter by all three measures and with a smaller loss after its
    own step, for certain; in part if it is flatter by all three for certain at an earlier time.
    """
    flatter = {at: all(measured(key, at)[2] < 1 for key in SHARP) for at in TIMES}
    overfits = all(rises(sgd) > 1 for sgd, _ in pairs().values())
    low = ratio(lambda r: around(r, TIMES[-1]))
    early, late, equal = (
        ", ".join(f"{name} {told(of(key))}" for key, name in MEASURES.items())
        for of in (lambda key: measured(key, TIMES[0]), lambda key: measured(key, TIMES[-1]), at_equal_loss)
    )
    least = [span([rises(pair[k]) for pair in pairs().values()], ".1f") for k in (0, 1)]
    errors = [span([100 * (1 - a) for a in final("accuracy", k)], ".1f") for k in (0, 1)]
    words = (
        "LeNet5 on 10,000 images of CIFAR-10, three seeds, SAM (rho = 0.05) over SGD with 95% intervals, measured on 1,000 "
        f"of them. After {epoch(1)} epochs: {early}. After {epoch(-1)}: {late}. At about equal training losses, SAM after "
        f"{epoch(-1)} over SGD after {epoch(-2)}, whose rate is not yet 0: {equal}. SGD's own eigenvalue falls to "
        f"{told(fallen('eigenvalue'))} of its value after {epoch(1)} epochs. The loss after SAM's step is at the end "
        f"{told(low)} times SGD's. SGD's test loss ends at {least[0]} times its least value, SAM's at {least[1]}; test "
        f"errors {errors[0]}% and {errors[1]}%."
    )
    return Finding(
        graded(overfits and flatter[TIMES[-1]] and low[2] < 1, any(flatter.values())), words, scale(used()), used()
    )


CLAIMS = {"stable-sam/sam-seeks-flat-regions": seeks_flat_regions}
