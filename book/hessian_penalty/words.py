"""FA-regularization: how the numbers of its tables are told, in verdicts and in the chapter's sentences."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from book.finding import interval, span, unvaried
from book.hessian_penalty.trainings import (
    LAMBDAS,
    PAPER,
    TEXT,
    TITLES,
    B,
    C,
    Gain,
    N,
    Record,
    Runs,
    best,
    final,
    gain,
    gains,
    last_curvature,
    last_loss,
    mean,
    mean_curvature,
    mistakes,
    slowdowns,
    whole,
    with_sam,
)


def short(v: float) -> str:
    """A number with the digits that it deserves."""
    return f"{v:.1e}" if abs(v) >= 1e6 else f"{v:,.0f}" if abs(v) >= 99.5 else f"{v:.2g}"


def said(mean: float, half: float, form: Callable[[float], str] = short) -> str:
    """A mean and its interval, with the digits that each deserves."""
    return interval(mean, half, form)


def hundredths(v: float) -> str:
    """With two digits after the point."""
    return f"{v:.2f}"


def p_value(p: float) -> str:
    """Two digits, or that it is below the first of them."""
    return f"{p:.2f}" if p >= 0.005 else "<.01"


def points(g: Gain) -> str:
    """A gain in points of accuracy."""
    if unvaried(g.by.difference, g.by.half):
        return f"{g.by.difference:+.2f} points, the same in every seed"
    return f"{interval(g.by.difference, g.by.half, '+.2f')} points"


def in_tests(g: Gain) -> str:
    """The same, and its p-value."""
    return f"{points(g)} (Holm p {p_value(g.p)})" if math.isfinite(g.by.half) else f"{points(g)} (a single seed)"


def list_of(runs: Runs) -> str:
    """The gains of all weights."""
    return "; ".join(f"lambda {g.fa:g}: {in_tests(g)}" for g in gains(runs)) + "."


def by_table(tables: Mapping[str, Runs], words: Callable[[Runs], str]) -> str:
    """The same words of each table."""
    return "; ".join(f"{TITLES[data]} {words(runs)}" for data, runs in tables.items()) + "."


# ---- numbers in the chapter's sentences ------------------------------------------------------------------------------


def rounded(v: float, digits: int = 2) -> str:
    """To so many significant digits, with a comma at thousands; a large one as a power of ten.

    >>> rounded(6425.4), rounded(4179.0, 3), rounded(2.87e10, 1)
    ('6,400', '4,180', '3 · 10¹⁰')
    """
    if v < 1e6:
        return f"{float(f'{v:.{digits - 1}e}'):,.0f}"
    mantissa, exponent = f"{v:.{digits - 1}e}".split("e+")
    return f"{mantissa} · 10{str(int(exponent)).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def _ends(values: Iterable[float]) -> tuple[float, float]:
    """The smallest and the largest."""
    return (ordered := sorted(values))[0], ordered[-1]


def _guessing(strong: Sequence[Record], measured: float) -> dict[str, str]:
    """How many runs on 100 classes end with the loss of a guess, to 0.05, or a lower one, how many of these are flat, and
    how many times as sharp as `measured` the others are."""
    guess = [r for r in strong if last_loss(r) < math.log(100) + 0.05]
    others = sorted(last_curvature(r) / measured for r in strong if r not in guess)
    numbers = {"guess": f"{len(guess)} of {len(strong)}", "guess-flat": f"{sum(last_curvature(r) < 1 for r in guess)}"}
    return numbers | {"sharper": f"{rounded(others[0])} to {rounded(others[-1])}"}


def _standstill(plain: Iterable[Record]) -> str:
    """The epochs in which all runs on 100 classes have the training loss of a guess."""
    curves = zip(*(r["result"]["curves"] for r in plain), strict=True)
    guesses = [all(abs(p["train_loss"] - math.log(100)) < 0.03 for p in epoch) for epoch in curves]
    first = guesses.index(True)
    return span([first + 1 + k for k, _ in enumerate(itertools.takewhile(bool, guesses[first:]))], "d")


def in_words(data: str, lr: float | None = None) -> dict[str, str]:
    """What the sentences under a table say of its runs, by the names under which the page asks for them."""
    runs = whole(data, lr)
    (plain, half), strong = mean(runs, None, final), list(runs[1.0].values())
    measured = [mean(runs, fa, last_curvature)[0] for fa in LAMBDAS[1:]]
    numbers = {"plain": f"{plain:.0f} ± {half:.0f}" if 1 <= half < math.inf else f"{plain:.0f}"}
    numbers |= {"strong": f"{mean(runs, 1.0, final)[0]:.0f}", "loss": f"{mean(runs, 1.0, last_loss)[0]:.1f}"}
    numbers |= {"measured": rounded(measured[0], 2 if measured[0] >= 10 else 1), "strongest": rounded(measured[-1])}
    numbers["risen"] = "{}, {} and {}".format(*map(rounded, measured[2:]))
    numbers["flattest"] = rounded(measured[3])
    helped = {"gain-at-hundredth": 0.01, "gain-at-tenth": 0.1}
    numbers |= {name: points(gain(runs, fa)).replace("-", "−") for name, fa in helped.items()}
    if data == C:
        told = {fa: float(PAPER[C][fa].flatness) for fa in LAMBDAS[2:5]}
        means = {fa: mean(runs, fa, mean_curvature)[0] for fa in told}
        numbers["over-paper"] = "{} to {}".format(*(rounded(v) for v in _ends(means[fa] / told[fa] for fa in told)))
        numbers["divided"] = "{:.0f}, {:.0f} and {:.0f}".format(*(v / 128 for v in means.values()))
        numbers["told"] = "{:.0f}, {:.0f} and {:.0f}".format(*told.values())
        below = (100 * PAPER[C][fa].final - mean(runs, fa, final)[0] for fa in (None, *told))
        numbers |= {"below-paper": span(below, ".1f")} | _guessing(strong, measured[0])
    if data == B:
        numbers["best-gains"] = "{:.2f} and {:.2f}".format(*(g.by.difference for g in gains(runs, best)[2:]))
    if lr == TEXT:
        numbers["standstill"] = _standstill(runs[None].values())
    losses = sorted(map(last_loss, strong))
    numbers |= {"least-loss": f"{losses[0]:.1f}", "largest-loss": rounded(losses[-1])}
    numbers["strong-span"] = span(map(final, strong), ".0f")
    return {f"fa-{data if lr is None else 'text'}-{name}": text for name, text in numbers.items()}


def paper_in_words() -> dict[str, str]:
    """Likewise of the paper's own tables."""
    slower = [row.seconds / t[None].seconds for t in PAPER.values() for fa, row in t.items() if fa is not None]
    plain = {data: PAPER[data][None] for data in PAPER}
    numbers = {"slower": span(slower, ".0f"), "strong": f"{100 * PAPER[C][1.0].final:.1f}"}
    numbers |= {"plain": f"{100 * plain[C].final:.0f}", "posts": f"{100 * plain[N].final:.2f}"}
    numbers |= {"posts-final": f"{plain[N].final:.4f}", "posts-best": f"{plain[N].best:.4f}"}
    numbers |= {"tumours": f"{100 * plain[B].final:.0f}", "tumours-final": f"{plain[B].final:.4f}"}
    numbers["tumours-odd"] = f"{PAPER[B][0.01].final:.4f}"
    return {f"fa-paper-{name}": text for name, text in numbers.items()}


def sam_in_words() -> dict[str, str]:
    """Likewise of SAM in the place of the penalty."""
    means = [f"{statistics.fmean(map(final, by_seed.values())):.1f}" for by_seed in with_sam().values()]
    return {"fa-sam-accuracies": "{}, {} and {}".format(*means)}


def cost_in_words() -> dict[str, str]:
    """Likewise of the processor time of all three tables over that without penalty."""
    return {"fa-slower": span([v for data in (C, N, B) for v in slowdowns(whole(data))], ".1f")}


def mistakes_in_words() -> dict[str, str]:
    """Likewise of the trainings that were broken on purpose."""
    rows = {data: mistakes(data)["result"]["rows"] for data in (B, N)}
    of_name = lambda data, name, what="accuracy": [r[what] for r in rows[data] if r["mistake"] == name]  # noqa: E731
    values = lambda *which: [v for run in of_name(*which) for v in run]  # noqa: E731
    scattered, its_best = (of_name(B, "unscaled, clipped loss", what) for what in ("accuracy", "best"))
    equal = [sum(map(float.__eq__, *pair)) for pair in zip(scattered, its_best, strict=True)]
    numbers = {"none": f"{100 * statistics.fmean(values(B, 'none')):.0f}"}
    numbers |= {"means": " and ".join(f"{statistics.fmean(a):.2f}" for a in scattered)}
    numbers |= {"deviations": " and ".join(f"{statistics.stdev(a):.2f}" for a in scattered)}
    numbers |= {"equal": "{} and in {}".format(*equal), "one-output": f"{statistics.fmean(values(N, 'one output')):.4f}"}
    numbers |= {"shuffled": span(values(N, "labels shuffled"), ".3f")}
    numbers |= {"shuffled-best": span(values(N, "labels shuffled", "best"), ".3f").replace("to", "and")}
    numbers |= {"vocabularies": f"{statistics.fmean(values(N, 'two vocabularies')):.2f}"}
    numbers |= {"posts": f"{100 * statistics.fmean(of_name(N, 'none')[0]):.0f}"}
    numbers |= {"nan": f"{statistics.fmean(values(B, 'naive loss')):.3f}"}
    few, many = sorted(mistakes(B)["result"]["counts"])  # test cases of either class
    slow, fast = (Counter(round((few + many) * a) for a in runs) for runs in scattered)
    numbers |= {"stuck": f"{slow[many]} of {slow.total()}", "learn": f"{slow.total() - slow[many] - slow[few]}"}
    numbers |= {"stuck-high": f"{fast[many]}", "stuck-low": f"{fast[few]}"}
    healthy, raw = (statistics.fmean(of_name(N, name)[1]) for name in ("none", "raw counts"))
    counts = mistakes(N)["result"]["counts"]
    numbers |= {"raw": f"{100 * (healthy - raw):.1f}", "largest-class": f"{max(counts) / sum(counts):.4f}"}
    return {f"fa-mistakes-{name}": text for name, text in numbers.items()}
