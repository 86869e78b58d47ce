"""What a paper's analysis returns for a claim: a verdict computed from records, its words, and the scale of the runs."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flatlab.data import TITLES as DATA
from flatlab.models import TITLES as NETWORKS

__all__ = [
    "CANNOT", "CITED", "CONTRADICTS", "HELD", "NOT", "PART", "REFUTED", "RESULTS", "Finding", "graded", "interval",
    "of_all", "scale", "span", "unvaried",
]  # fmt: skip

Record = dict[str, Any]

RESULTS = Path(os.environ.get("FLATLAB_EVIDENCE") or Path(__file__).parent / "results")
"""The records from which verdicts and pages are made; another folder where runs that were made again stand in for some."""
HELD, PART, NOT = "held", "held in part", "not reproduced"
REFUTED = "refuted"  # by a counterexample or an exact computation that the records hold
CONTRADICTS = "contradicts itself"  # decided by the paper's own numbers
CITED, CANNOT = "cited", "cannot be run"


class Finding(NamedTuple):
    """A claim's verdict, what was measured, the scale of the runs, and the records behind it."""

    verdict: str
    words: str
    scale: str
    records: Sequence[Record]


def graded(whole: bool, part: bool = False) -> str:
    """The verdict on a claim that holds whole, or else in part, or else not.

    >>> graded(False, True)
    'held in part'
    """
    return HELD if whole else PART if part else NOT


def of_all(parts: Iterable[bool]) -> str:
    """`held` where all of them hold, `not reproduced` where none does, else `held in part`."""
    parts = list(parts)
    return graded(all(parts), any(parts))


def interval(mean: float, half: float, form: str | Callable[[float], str] = ".2f") -> str:
    """A mean over seeds and the half-width of its interval; of a single run its number; and where no seed differs, that.

    >>> interval(0.5, 0.25), interval(-0.33, 1e-15, "+.2f"), interval(1.0, math.inf)
    ('0.50 ± 0.25', '-0.33 (the same in every seed)', '1.00')
    """
    said = form if callable(form) else lambda v: format(v, form)
    if not math.isfinite(half):
        return said(mean)
    if unvaried(mean, half):
        return f"{said(mean)} (the same in every seed)"
    return f"{said(mean)} ± {said(half).removeprefix('+')}"


def unvaried(mean: float, half: float) -> bool:
    """Whether all seeds have one and the same number, up to the rounding of the computer.

    >>> unvaried(-0.33, 1e-15), unvaried(-0.33, 0.001)
    (True, False)
    """
    return half <= 1e-9 * max(1.0, abs(mean))


def span(values: Iterable[float], form: str = ".2f") -> str:
    """From the least to the largest, or the only one.

    >>> span([0.5, 0.25, 0.3]), span([1.001, 1.0])
    ('0.25 to 0.50', '1.00')
    """
    values = list(values)
    least, largest = format(min(values), form), format(max(values), form)
    return least if least == largest else f"{least} to {largest}"


def scale(records: Iterable[Record]) -> str:
    """Network, data, length and number of seeds of the runs, those of one kind together.

    >>> scale([{"config": {"network": "lenet5", "data": "cifar10", "epochs": 60, "seed": s}} for s in (1, 2)])
    'LeNet5 on CIFAR-10, 60 epochs, 2 seeds'
    """
    kinds: dict[tuple, set[int]] = {}
    for c in (r["config"] for r in records):
        network = NETWORKS[c["network"]] if "network" in c else "perceptron " + "-".join(map(str, c["hidden"]))
        images = f"{c['examples']:,} examples of " if c.get("examples") else ""
        length = f"to a loss of {c['stop_at_loss']:g}" if c.get("stop_at_loss") else f"{c['epochs']} epochs"
        kinds.setdefault((network, images + DATA[c["data"]], length), set()).add(c["seed"])
    several = lambda seeds: "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds"  # noqa: E731
    return "; ".join(f"{network} on {data}, {length}, {several(s)}" for (network, data, length), s in kinds.items())
