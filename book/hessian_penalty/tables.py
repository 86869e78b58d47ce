"""The three tables of the paper beside ours, and the table of mistakes, as the chapter shows them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable

from IPython.display import HTML, display

from book import finding
from book.hessian_penalty import trainings, words
from book.hessian_penalty.trainings import LAMBDAS, PAPER, Runs
from flatlab import plots
from flatlab.stats.intervals import student

NAMES = {None: "0", 0.0: "0, measured"} | {fa: f"{fa:g}" for fa in LAMBDAS[2:]}
HEAD = ("λ", "final (%)", "best (%)", "tr(H²), mean", "last epoch", "time")


def interval(values: Iterable[float], form: str | Callable[[float], str] = ".2f") -> str:
    """Mean and 95% half-width; the mean alone of a single value."""
    return finding.interval(*student(list(values)), form)


def curvature(value: float) -> str:
    """Of any size, in few characters.

    >>> curvature(4334.2), curvature(3.31e8), curvature(0.512)
    ('4,334', '3.3e8', '0.512')
    """
    if value >= 1e6:
        return f"{value:.1e}".replace("e+0", "e").replace("e+", "e")
    return f"{value:,.0f}" if value > 100 else f"{value:.3g}"


def told(data: str, fa: float | None) -> list[str]:
    """The cells of the paper's row."""
    if fa not in PAPER[data]:
        return ["–"] * 5
    row = PAPER[data][fa]
    accuracies = [f"{100 * row.final:.2f}", f"{100 * row.best:.2f}"]
    return [*accuracies, row.flatness or "–", "–", f"{row.seconds / PAPER[data][None].seconds:.1f} ×"]


def found(runs: Runs, fa: float | None) -> list[str]:
    """The cells of our row."""
    if not runs[fa]:
        return ["<i>not run yet</i>", *["–"] * 4]
    of = lambda value, form=".2f": interval(trainings.of(runs, fa, value).values(), form)  # noqa: E731
    measured = ["not taken"] * 2
    if fa is not None:
        measured = [of(value, curvature) for value in (trainings.mean_curvature, trainings.last_curvature)]
    times = trainings.times(runs, fa)
    slower = "1" if fa is None else interval(times)
    return [of(trainings.final), of(trainings.best), *measured, f"{slower} ×" if times else "–"]


def tests(runs: Runs) -> HTML:
    """Every weight against the run without penalty: difference in points, and three p-values."""
    if any(len(set(runs[fa]) & set(runs[None])) < 2 for fa in LAMBDAS[2:]):
        return HTML("<p>The tests wait for a second seed of every row.</p>")
    rows = []
    for which, value in (("final", trainings.final), ("best", trainings.best)):
        for g in trainings.gains(runs, value):
            ps = [words.p_value(p) for p in (g.by.welch_p, g.by.paired_p, g.p)]
            rows.append([which, f"{g.fa:g}", finding.interval(g.by.difference, g.by.half, "+.2f"), *ps])
    return plots.table(["", "λ", "points over none", "p: Welch", "paired", "Holm"], rows, summary="The tests")


def show(data: str, lr: float | None = None) -> None:
    """A table, a row a weight with the paper's number over ours in each cell, its tests, and where ours come from; at the
    rate that the verdicts go by, or at another."""
    runs = trainings.whole(data, lr)
    pairs = {fa: zip(told(data, fa), found(runs, fa), strict=True) for fa in LAMBDAS}
    display(plots.table(HEAD, ([f"{NAMES[fa]}<br>", *map("<br>".join, cells)] for fa, cells in pairs.items())))
    seeds = ", ".join(map(str, sorted(set().union(*runs.values())))) or "none yet"
    said = f"Rate {lr or trainings.SETTINGS[data]['lr']:g}; seeds {seeds}."
    same = [runs[None][s]["result"]["weights"] == r["result"]["weights"] for s, r in runs[0.0].items() if s in runs[None]]
    if same:
        said += f" “0, measured” ends with the weights of “0” in {sum(same)} of {len(same)} seeds."
    display(HTML(f"<p>{said}</p>"), tests(runs))
    if used := [r for by_seed in runs.values() for r in by_seed.values()]:
        plots.provenance(*used)


def costs(*tables: str) -> HTML:
    """What the paper's cases took here, those that only measure left out, at the rate that the verdicts go by."""
    rows = []
    for k, data in enumerate(tables, 1):
        minutes = [r["cpu_s"] / 60 for fa, runs in trainings.study(data).items() if fa != 0.0 for r in runs.values()]
        rows.append([f"{k}", trainings.TITLES[data], f"{len(minutes)}", f"{sum(minutes):.1f}"])
    return plots.table(["table", "data", "runs", "processor-minutes"], rows)


def of_mistakes(result: dict) -> HTML:
    """What comes out of each mistake, a row a mistake and rate."""
    rows = []
    for row in result["rows"]:
        a = row["accuracy"]
        stuck, lost = sum(p == 1 for p in row["predicted"]), sum(v is not None for v in row["nan_from"])
        equal = f"{sum(map(float.__eq__, a, row['best']))} of {len(a)}"
        numbers = [f"{statistics.fmean(a):.3f} ± {statistics.stdev(a):.3f}", f"{min(a):.3f}–{max(a):.3f}"]
        rows.append([row["mistake"], f"{row['lr']:g}", *numbers, equal, f"{lost}", f"{stuck}"])
    return plots.table(["mistake", "rate", "accuracy", "range", "best = final", "nan", "one class"], rows)


def show_mistakes(data: str, title: str) -> None:
    """The record of a data set's mistakes, and where it comes from."""
    record = trainings.mistakes(data)
    counts = record["result"]["counts"]
    largest, smallest = (f"{f(counts) / sum(counts):.4f}" for f in (max, min))
    cases = f"{sum(counts):,} test cases; the largest class has {largest} of them, the smallest {smallest}"
    display(HTML(f"<p><b>{title}</b> ({cases}.)</p>"), of_mistakes(record["result"]))
    plots.provenance(record)
