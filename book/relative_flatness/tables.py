"""The chapter's tables of minima: their scores, and how well each measure follows the gap."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from statistics import median

from IPython.display import HTML

from book.relative_flatness import minima
from book.relative_flatness.minima import Record
from flatlab import plots
from flatlab.stats.predictors import GAPS, LEAST, MEASURES, SETTINGS, Interval, predictors, set_up, within

AXES = ("κ", "Tr H", "PAC-Bayes 1/σ²", "Fisher-Rao", "‖w‖")
"""The paper's measures."""
SHORT = {"PAC-Bayes 1/σ²": "PAC-B.", "Fisher-Rao": "F.-Rao"}
STUDIES: dict[str, Callable[[], list[Record]]] = {"digits": minima.digits, "LeNet5": minima.lenet}
VARIED = {"all": SETTINGS}
for label, held in (("opt.", "base"), ("decay", "weight_decay"), ("batch", "batch"), ("rate", "lr"), ("seed", "seed")):
    VARIED[f"= {label}"] = tuple(s for s in SETTINGS if s != held)
VARIED |= {"≠ decay": ("weight_decay",), "≠ rate": ("lr",), "≠ batch": ("batch",), "≠ seed": ("seed",)}
"""By the column's name: the settings in which the minima of a pair may differ."""


def name_of(r: Record) -> str:
    """A minimum's set-up and seed."""
    return "{}, rate {:g}, batch {}, decay {:g}".format(*set_up(r)) + f", seed {r['config']['seed']}"


def signed(value: float) -> str:
    """A correlation with its sign; a dash where there is none."""
    return "—" if math.isnan(value) else f"{value:+.2f}".replace("-", "−")


def told(c: Interval) -> str:
    """A correlation, and its interval in a line below it."""
    return "—" if math.isnan(c.value) else f"{signed(c.value)}<br><small>[{signed(c.low)}, {signed(c.high)}]</small>"


def scores() -> HTML:
    """Losses, accuracy and gaps of both studies: the least, the median and the largest."""
    rows = []
    for name in ("whole_train_loss", "accuracy", *GAPS):
        cells = []
        for study in STUDIES.values():
            values = [r["result"]["scores"][name] for r in study()]
            cells.append(f"{min(values):.3f} … {median(values):.3f} … {max(values):.3f}")
        rows.append([name.replace("whole_", "").replace("_", " "), *cells])
    return plots.table(["", *STUDIES], rows)


def correlations(study: str, gap: str) -> HTML:
    """Each measure's correlations with the gap, as found and, of those that change, rescaled."""
    rows = []
    for measure, p in predictors(STUDIES[study](), gap, samples=1000).items():
        moved = abs(p.lost_pearson.value) > 1e-3
        after = [told(p.rescaled_pearson), told(p.rescaled_spearman)] if moved else ["as found", "as found"]
        rows.append([measure, told(p.pearson), told(p.spearman), *after])
    head = ["", "Pearson", "Spearman", "Pearson, rescaled", "Spearman, rescaled"]
    return plots.table(head, rows, summary=f"{study}, {gap.replace('_', ' ').replace('loss gap', 'gap of the loss')}")


def leads(study: str) -> HTML:
    """How far relative flatness is ahead of each measure, and what is left of them once the training loss is known."""
    found = predictors(STUDIES[study](), samples=1000).items()
    rows = [[name, told(p.behind_pearson), told(p.behind_spearman), told(p.given_loss)] for name, p in found if name != "κ"]
    head = ["", "κ leads by, Pearson", "κ leads by, Spearman", "Spearman, given the training loss"]
    return plots.table(head, rows, summary=study)


def by_seed() -> HTML:
    """Spearman's correlation of the paper's measures with the loss gap, over the minima of one seed."""
    rows = []
    for name, study in STUDIES.items():
        for seed in sorted({r["config"]["seed"] for r in study()}):
            own = [r for r in study() if r["config"]["seed"] == seed]
            if len({set_up(r) for r in own}) >= LEAST:
                alone = predictors(own, samples=1)
                rows.append([name, f"{seed}", *(signed(alone[measure].spearman.value) for measure in AXES)])
    return plots.table(["", "seed", *AXES], rows)


def without_smallest() -> HTML:
    """Pearson's correlation of the variant of Theorem 4, with all minima and without those with the three smallest gaps."""
    rows = []
    for name, study in STUDIES.items():
        by_size = sorted(study(), key=lambda r: r["result"]["scores"]["loss_gap"])
        both = (predictors(some, samples=1)["κ, Theorem 4"].pearson.value for some in (by_size, by_size[3:]))
        rows.append([name, *map(signed, both)])
    return plots.table(["κ, Theorem 4, Pearson", "all minima", "without the three smallest gaps"], rows)


def strata(study: str) -> HTML:
    """Kendall's tau of each measure with the loss gap over pairs that share, or differ in, one setting."""
    found = STUDIES[study]()
    taus = [within(found, *varies) for varies in VARIED.values()]
    fixed = [[s for s in SETTINGS if s not in varies] for varies in VARIED.values()]
    groups = [Counter(tuple(r["config"][s] for s in kept) for r in found) for kept in fixed]
    rows = [["pairs", *(f"{pairs}" for _, pairs in taus)]]
    rows.append(["groups", *(f"{sum(n > 1 for n in of.values())}" for of in groups)])
    rows += [[name, *(signed(tau[name]) for tau, _ in taus)] for name in MEASURES]
    return plots.table(["", *VARIED], rows, summary=study)


def order() -> HTML:
    """The paper's measures from the highest correlation to the lowest, as found and rescaled."""
    rows = [["the paper", "", "κ", *["not told"] * 3, SHORT["Fisher-Rao"]]]
    for name, study in STUDIES.items():
        table = predictors(study(), samples=1)
        for field in ("pearson", "spearman", "rescaled_pearson", "rescaled_spearman"):
            ranked = sorted(((getattr(table[measure], field).value, measure) for measure in AXES), reverse=True)
            words = field.replace("rescaled_", "").capitalize() + "<br>rescaled" * field.startswith("rescaled")
            cells = (f"{SHORT.get(measure, measure)}<br><small>{signed(value)}</small>" for value, measure in ranked)
            rows.append([name, words, *cells])
    return plots.table(["", "correlation", "first", "second", "third", "fourth", "fifth"], rows)
