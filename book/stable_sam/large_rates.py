"""LeNet5 from learning rates that suit it to rates that break it: our records, and the verdicts that follow."""

from __future__ import annotations

import functools
from typing import Any

from scipy.stats import binomtest

from book.finding import RESULTS, Finding, graded, of_all, scale, span
from flatlab.runs import records

Record = dict[str, Any]

RATES = (0.1, 0.2, 0.4, 0.8)
RHOS = (0.05, 0.1, 0.2)
CELLS = [("plain", None, lr) for lr in RATES] + [(m, rho, lr) for m in ("SAM", "StableSAM") for rho in RHOS for lr in RATES]
CHANCE = 12.0
"""Percent: below it a network of ten classes has learnt nothing."""
TOO_LARGE = 0.4
"""From this rate on runs of SGD end at chance, too."""


@functools.cache
def cells() -> dict[tuple, dict[int, Record]]:
    """The runs by method, radius and rate, and by seed: the seeds that every cell has. Raises `LookupError` if none."""
    found: dict[tuple, dict[int, Record]] = {cell: {} for cell in CELLS}
    for r in records.find(RESULTS, "train", data="cifar10", network="lenet5", examples=10_000, epochs=15):
        cell = (r["config"]["method"], r["config"].get("rho"), r["config"]["lr"])
        if cell in found:
            found[cell][r["config"]["seed"]] = r
    shared = sorted(set.intersection(*map(set, found.values())))
    if not shared:
        raise LookupError("no seed has a run of LeNet5 by every method, radius and rate")
    return {cell: {seed: runs[seed] for seed in shared} for cell, runs in found.items()}


def accuracies(method: str, rho: float | None, lr: float) -> dict[int, float]:
    """Test accuracy after the last epoch in percent, by seed."""
    return {seed: 100 * r["result"]["final"]["accuracy"] for seed, r in cells()[method, rho, lr].items()}


def concluded(verdict: str, words: str) -> Finding:
    """The finding from all runs."""
    used = [r for runs in cells().values() for r in runs.values()]
    return Finding(verdict, words, f"{scale(used)} at four rates and three radii", used)


def lost(method: str, rho: float | None = None) -> list[tuple[float, int]]:
    """Rates and seeds at which it has learnt nothing."""
    return [(lr, seed) for lr in RATES for seed, a in accuracies(method, rho, lr).items() if a < CHANCE]


def lost_at_large(method: str) -> int:
    """How many of its runs at the large rates have learnt nothing."""
    return sum(lr >= TOO_LARGE for rho in RHOS for lr, _ in lost(method, rho))


def sign_test(one: list[tuple[float, int]], other: list[tuple[float, int]]) -> float:
    """Two-sided p-value of the pairs, of one rate and seed, of which one alone has learnt nothing; 1 without such pairs."""
    first, second = len(set(one) - set(other)), len(set(other) - set(one))
    return float(binomtest(first, first + second).pvalue) if first + second else 1.0


def unstable() -> Finding:
    """SAM with some radius learns nothing where SGD learns, more often than SGD alone for certain; in part if at all."""
    alone = {rho: sorted(set(lost("SAM", rho)) - set(lost("plain"))) for rho in RHOS}
    sgd = ", ".join(str(len(set(lost("plain")) - set(lost("SAM", rho)))) for rho in RHOS)
    ps = {rho: sign_test(lost("SAM", rho), lost("plain")) for rho in RHOS}
    certain = any(ps[rho] < 0.05 and len(lost("SAM", rho)) > len(lost("plain")) for rho in RHOS)
    of = sum(map(len, (cells()["plain", None, lr] for lr in RATES)))
    counts = ", ".join(f"{len(lost('SAM', rho))} (rho {rho:g})" for rho in RHOS)
    where = [f"rho {rho:g}, rate {lr:g}, seed {seed}" for rho, found in alone.items() for lr, seed in found]
    words = (
        f"Of {of} runs at four rates {len(lost('plain'))} of SGD end at chance, of SAM {counts}. SAM fails alone at "
        f"{'; '.join(where) or 'none of them'}; SGD fails alone {sgd} times beside the three radii. A sign test "
        f"{'tells' if certain else 'does not tell'} the two apart (least p {min(ps.values()):.2f})."
    )
    return concluded(graded(certain, any(alone.values())), words)


def apart(lr: float) -> list[float]:
    """StableSAM's accuracy less SAM's at a rate, for every radius and seed."""
    pairs = [(accuracies("StableSAM", rho, lr), accuracies("SAM", rho, lr)) for rho in RHOS]
    return [stable[seed] - sam[seed] for stable, sam in pairs for seed in sam]


def robust() -> Finding:
    """StableSAM is above SAM in most pairs at the moderate rates, and in most at the large ones; in part if at one of
    both."""
    moderate = [d for lr in RATES if lr < TOO_LARGE for d in apart(lr)]
    large = [d for lr in RATES if lr >= TOO_LARGE for d in apart(lr)]
    parts = [2 * sum(d > 0 for d in some) > len(some) for some in (moderate, large)]
    count = lambda some: (sum(d > 0 for d in some), sum(d < 0 for d in some), sum(d == 0 for d in some))  # noqa: E731
    told = lambda some: "above in {}, below in {} and level in {} pairs".format(*count(some))  # noqa: E731
    words = (
        f"Beside SAM of the same seed and radius StableSAM ends, at rates of 0.1 and 0.2, {told(moderate)}, by "
        f"{span(moderate, '+.1f')} points; at 0.4 and 0.8 {told(large)}, by {span(large, '+.1f')}. There it "
        f"ends at chance in {lost_at_large('StableSAM')} of {len(large)} runs, SAM in {lost_at_large('SAM')}. The runs "
        f"have {len(cells()['plain', None, RATES[0]])} seeds."
    )
    return concluded(of_all(parts), words)


def untrainable() -> Finding:
    """At the largest radius SAM learns nothing where it learns with the smallest, for certain; in part if at some rate."""
    found = sorted(set(lost("SAM", RHOS[-1])) - set(lost("SAM", RHOS[0])))
    small, large = (len(lost("SAM", rho)) for rho in (RHOS[0], RHOS[-1]))
    where = ", ".join(f"{lr:g} (seed {seed})" for lr, seed in found) or "none"
    words = f"SAM ends at chance in {large} runs at rho = 0.2 and in {small} at 0.05, at 0.2 alone at the rates {where}"
    p = sign_test(lost("SAM", RHOS[-1]), lost("SAM", RHOS[0]))
    return concluded(graded(p < 0.05, bool(found)), f"{words} (sign test: p = {p:.2f}).")


CLAIMS = {
    "stable-sam/sam-training-unstable": unstable,
    "stable-sam/robust-and-comparable": robust,
    "stable-sam/remark-12-rho-too-large": untrainable,
}
