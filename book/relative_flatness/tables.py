"""The chapter's tables of minima: how many there are, and how well each measure follows the gap."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from book.relative_flatness import minima
from book.relative_flatness.minima import Record
from flatlab.stats.predictors import GAPS, LEAST, MEASURES, SETTINGS, Interval, predictors, set_up, within

AXES = ("κ", "Tr H", "PAC-Bayes 1/σ²", "Fisher-Rao", "‖w‖")
"""The paper's measures."""
SHORT = {"PAC-Bayes 1/σ²": "PAC-B.", "Fisher-Rao": "F.-Rao"}
VARIED = {"all": SETTINGS}
for label, held in (("opt.", "base"), ("decay ", "weight_decay"), ("batch ", "batch"), ("rate ", "lr"), ("seed ", "seed")):
    VARIED[label] = tuple(s for s in SETTINGS if s != held)
VARIED |= {"decay": ("weight_decay",), "rate": ("lr",), "batch": ("batch",), "seed": ("seed",)}
"""By the column's name: the settings in which the minima of a pair may differ."""


def name_of(r: Record) -> str:
    """A minimum's set-up and seed."""
    return "{}, rate {:g}, batch {}, decay {:g}".format(*set_up(r)) + f", seed {r['config']['seed']}"


def told(c: Interval) -> str:
    """A correlation with its interval."""
    return f"{'—':^20}" if math.isnan(c.value) else minima.told(c)


def enough(found: list[Record]) -> bool:
    """Whether there are minima enough for correlations; says so if not."""
    if len({set_up(r) for r in found}) < LEAST:
        print("too few minima for correlations" if found else "not run yet")
        return False
    return True


def tell_study(study: dict[str, Any]) -> list[Record]:
    """The minima of a study that reached their loss; prints how many there are, which are left out, and their scores."""
    runs, reached = minima.runs(study), minima.reached(study)
    if not runs:
        print("not run yet")
        return []
    seeds = ", ".join(str(seed) for seed in sorted({r["config"]["seed"] for r in runs}))
    print(f"{len(runs)} of 110 runs, seeds {seeds}")
    print(f"{len(reached)} reached a loss of 0.1, from {len({set_up(r) for r in reached})} of 22 set-ups")
    for r in runs:
        if not r["result"]["reached"]:
            print(f"left out: {name_of(r)}, which ended at {r['result']['final']['train_loss']:.2f}")
    for name in ("whole_train_loss", "accuracy", *GAPS) if reached else ():
        values = sorted(r["result"]["scores"][name] for r in reached)
        label, middle = name.replace("whole_", "").replace("_", " "), values[len(values) // 2]
        print(f"{label:13} {values[0]:6.3f} to {values[-1]:6.3f}, median {middle:.3f}")
    return reached


def print_correlations(found: list[Record], gap: str) -> None:
    """Each measure's correlations with the gap, as found and, of those that change, rescaled."""
    table, name = predictors(found, gap, samples=1000), gap.replace("_", " ")
    print(f"{name + ', as found':24} Pearson               Spearman")
    for measure, p in table.items():
        print(f"{measure:24} {told(p.pearson)}  {told(p.spearman)}")
    print(f"{name + ', rescaled':24} (the others keep their correlation)")
    for measure, p in table.items():
        if abs(p.lost_pearson.value) > 1e-3:
            print(f"{measure:24} {told(p.rescaled_pearson)}  {told(p.rescaled_spearman)}")
    print()


def print_leads(found: list[Record]) -> None:
    """How far relative flatness is ahead of each measure, and what is left of them once the training loss is known."""
    print("                   κ leads by: Pearson   Spearman              Spearman given")
    print("of the loss gap                                                the training loss")
    for name, p in predictors(found, samples=1000).items():
        print(f"{name:18} {told(p.behind_pearson)}  {told(p.behind_spearman)}  {told(p.given_loss)}")
    by_size = sorted(found, key=lambda r: r["result"]["scores"]["loss_gap"])
    both = [predictors(some, samples=1)["κ, Theorem 4"].pearson.value for some in (found, by_size[3:])]
    without = "without the three smallest gaps, as in the published plot"
    print(f"\nκ, Theorem 4, Pearson: {both[0]:+.2f}; {without}: {both[1]:+.2f}")
    seeds = sorted({r["config"]["seed"] for r in found})
    for seed in seeds if len(seeds) > 1 else ():
        own = [r for r in found if r["config"]["seed"] == seed]
        if len({set_up(r) for r in own}) >= LEAST:
            alone = predictors(own, samples=1)
            print(f"seed {seed:<4} " + ", ".join(f"{name} {alone[name].spearman.value:+.2f}" for name in AXES))
    print()


def print_row(name: str, values: Iterable[Any]) -> None:
    """A row of the table of pairs."""
    print(f"{name:17}" + "".join(f"{v:>6}" for v in values))


def print_strata(found: list[Record]) -> None:
    """Kendall's tau of each measure with the loss gap over pairs that share, or differ in, one setting."""
    taus = [within(found, *varies) for varies in VARIED.values()]
    fixed = [[s for s in SETTINGS if s not in varies] for varies in VARIED.values()]
    groups = [Counter(tuple(r["config"][s] for s in kept) for r in found) for kept in fixed]
    print(" " * 24 + "pairs that share one...       that differ in one...")
    print_row("Kendall’s τ", (label.strip() for label in VARIED))
    print_row("pairs", (pairs for _, pairs in taus))
    print_row("groups", (sum(n > 1 for n in of.values()) for of in groups))
    for name in MEASURES:
        print_row(name, ("—" if math.isnan(tau[name]) else f"{tau[name]:+.2f}" for tau, _ in taus))
    print()


def print_order(found: list[Record]) -> None:
    """The paper's measures from the highest correlation to the lowest, as found and rescaled."""
    table = predictors(found, samples=1)
    for field in ("pearson", "spearman", "rescaled_pearson", "rescaled_spearman"):
        rows = sorted(((getattr(table[measure], field).value, measure) for measure in AXES), reverse=True)
        line = " > ".join(f"{SHORT.get(measure, measure)} {value:+.2f}" for value, measure in rows)
        print(f"{field.replace('_', ' '):19} {line}")
