"""FA-regularization: the verdicts that follow from the paper's numbers and from our records of its three tables."""

from __future__ import annotations

import functools
import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scipy import stats

from book.finding import CANNOT, CONTRADICTS, HELD, PART, Finding, graded, of_all, scale, span, unvaried
from book.hessian_penalty.trainings import (
    LAMBDAS,
    PAPER,
    TEXT,
    TITLES,
    TRIALS,
    WIDEST,
    B,
    C,
    N,
    Runs,
    against,
    best,
    better,
    final,
    gain,
    gains,
    last_curvature,
    last_loss,
    mean,
    mean_curvature,
    of,
    slowdowns,
    times,
    whole,
    with_sam,
)
from book.hessian_penalty.words import by_table, hundredths, in_tests, list_of, points, said, short
from flatlab.stats.comparison import holm
from flatlab.stats.intervals import student

# Each claim takes the tables that it speaks of, by data set, and returns verdict and words.


def row(tables: Mapping[str, Runs], fa: float | None) -> tuple[str, str]:
    """A row of a table. An accuracy agrees if it lies within our interval (at most `WIDEST`) and two binomial deviations of
    the paper's, a time or a flatness if within a factor of 1.5."""
    ((data, runs),) = tables.items()
    told, agree, words = PAPER[data][fa], {}, []
    chance = 200 * math.sqrt(told.final * (1 - told.final) / TRIALS[data])
    for label, value, p in (("final", final, told.final), ("best", best, told.best)):
        middle, half = mean(runs, fa, value)
        apart = (min(half, WIDEST) if math.isfinite(half) else 0) + 200 * math.sqrt(p * (1 - p) / TRIALS[data])
        agree[label] = abs(middle - 100 * p) <= apart
        words.append(f"{label} {said(middle, half, hundredths)}%")
    if fa is not None and told.flatness:
        middle, half = mean(runs, fa, mean_curvature)
        agree["flatness"] = 2 / 3 < middle / float(told.flatness) < 1.5
        words.append(f"tr(H^2) {said(middle, half)}")
    if fa is not None:
        middle, half = student(times(runs, fa))
        agree["time"] = 2 / 3 < middle / (told.seconds / PAPER[data][None].seconds) < 1.5
        words.append(f"{said(middle, half, hundredths)} times the processor time of the run without penalty")
    same = ", ".join(name for name, value in agree.items() if value)
    words = ", ".join(words)
    words = f"{words[0].upper()}{words[1:]}. In agreement: {same or 'nothing'}"
    if {"final", "best"} & {name for name, value in agree.items() if value}:
        words += f" (accuracies within our interval and two binomial deviations of the paper's, {chance:.1f} points)"
    return graded(all(agree.values()), bool(same)), f"{words}."


def flatness_falls(tables):
    """From each weight to the next, for certain, seed by seed."""
    runs, values = tables[C], [mean(tables[C], fa, mean_curvature) for fa in LAMBDAS[1:]]
    pairs = itertools.pairwise(LAMBDAS[1:])
    changes = {b: against(of(runs, b, mean_curvature), of(runs, a, mean_curvature)) for a, b in pairs}
    falls = [fa for fa, change in changes.items() if change.difference + change.half < 0]
    words = ", ".join(f"{said(*v)}" for v in values)
    where = f"with the steps to {', '.join(f'{fa:g}' for fa in falls)}" if falls else "with no step"
    verdict = graded(len(falls) == len(changes), bool(falls))
    medians = ", ".join(short(statistics.median(of(runs, fa, mean_curvature).values())) for fa in LAMBDAS[1:])
    words = f"For lambda 0 (measured only), 0.001, 0.01, 0.1 and 1: {words}; medians over the seeds {medians}."
    return verdict, f"{words} It falls for certain {where}."


def best_mean(tables) -> float | None:
    """The weight with the highest mean of the final accuracy."""
    means = {fa: mean(tables[C], fa, final)[0] for fa in (None, *LAMBDAS[2:])}
    return max(means, key=means.get)


def moderate_best(tables):
    """0.01 has the highest mean, for certain above that without penalty; in part if it is one of the two."""
    highest, g = best_mean(tables), gain(tables[C], 0.01)
    top = "the highest" if highest == 0.01 else f"the highest is that of {highest or 0:g}"
    parts = highest == 0.01, g.p < 0.05 and g.by.difference > 0
    return graded(all(parts), any(parts)), f"lambda 0.01: {in_tests(g)}; {top}."


def moderate_improves(tables):
    """0.01 is for certain above none."""
    g = gain(tables[C], 0.01)
    return graded(g.p < 0.05 and g.by.difference > 0), f"lambda 0.01: {in_tests(g)}."


def moderate(tables):
    """0.01 lowers the curvature for certain, and changes the accuracy by less than a point."""
    runs, g = tables[C], gain(tables[C], 0.01)
    fall = against(of(runs, 0.01, mean_curvature), of(runs, 0.0, mean_curvature))
    parts = fall.difference + fall.half < 0, abs(g.by.difference) + g.by.half < 1
    before, change = short(mean(runs, 0.0, mean_curvature)[0]), said(fall.difference, fall.half)
    words = f"lambda 0.01 changes tr(H^2) by {change} of {before}, the accuracy by {points(g)}."
    return graded(all(parts), any(parts)), words


def larger_degrades(tables):
    """0.1 and 1 lower the median curvature below that of 0.01, and the accuracy for certain below that of 0.01."""
    runs = tables[C]
    curvature = {fa: statistics.median(of(runs, fa, mean_curvature).values()) for fa in (0.01, 0.1, 1.0)}
    changes = {fa: against(of(runs, fa, final), of(runs, 0.01, final)) for fa in (0.1, 1.0)}
    worse = {fa: c.difference + c.half < 0 for fa, c in changes.items()}
    verdict = of_all(curvature[fa] < curvature[0.01] and worse[fa] for fa in (0.1, 1.0))
    less = " and ".join(f"{said(c.difference, c.half, hundredths)} at {fa:g}" for fa, c in changes.items())
    medians = ", ".join(f"{fa:g}: {short(v)}" for fa, v in curvature.items())
    return verdict, f"Accuracy less that of lambda 0.01, in points: {less}. Median tr(H^2) at lambda {medians}."


def own(data: str) -> tuple[int, int, int]:
    """In the paper's own table, the weights with a higher final accuracy than none, with the same, and with a lower one."""
    ends = [row.final - PAPER[data][None].final for fa, row in PAPER[data].items() if fa is not None]
    return sum(d > 0 for d in ends), sum(d == 0 for d in ends), sum(d < 0 for d in ends)


def own_in_words(*data: str) -> str:
    """The same in a sentence."""
    counts = "; ".join("{} {} higher, {} level, {} lower".format(TITLES[name], *own(name)) for name in data)
    return f"The paper's own final accuracies by lambda: {counts}."


def improves(tables):
    """Each of the weights is better than none: not so in the paper's own tables, whatever ours say."""
    if any(any(own(data)[1:]) for data in tables):
        return CONTRADICTS, list_of(tables[C]) if len(tables) == 1 else counted(tables)
    return everywhere(tables)


def slower(tables, told: float, least: float):
    """A run takes `told` times as long, up to a factor of 1.5; in part if it takes more than `least` times."""
    ((_, runs),) = tables.items()
    middle = statistics.fmean(slowdowns(runs))
    words = f"{span(slowdowns(runs))} times the processor time of the run without penalty."
    return graded(2 / 3 < middle / told < 1.5, middle > least), words


def at_every_step() -> str:
    """What the paper's penalty would take if it were not on every tenth step alone; the test of its row counts it."""
    return "With the penalty on every step a step of the perceptron takes the operations of 13 plain ones."


def chance(tables):
    """All means round to 5.3 to 5.5%."""
    means = [mean(tables[N], fa, final)[0] for fa in (None, *LAMBDAS[2:])]
    return graded(all(5.25 <= m <= 5.55 for m in means)), f"{span(means, '.1f')}% over the five lambda."


def no_effect(tables):
    """No weight is better or worse than none for certain."""
    return graded(better(tables[N]) == (0, 0)), list_of(tables[N])


def baseline_varies(tables):
    """The mean without penalty is the paper's, and seeds differ by 12 points at least."""
    values = list(of(tables[B], None, final).values())
    middle, half = student(values)
    deviation = statistics.stdev(values)
    close, wide = abs(middle - 55.56) < half + 200 * math.sqrt(0.25 / TRIALS[B]), deviation > 12
    return graded(close and wide, close or wide), f"{middle:.2f}%, standard deviation over seeds {deviation:.2f} points."


def similar(tables):
    """0.001 and 0.01 are as accurate as none, at the 55.8% that the text gives for both: its own table has another."""
    told = [100 * PAPER[B][fa].final for fa in (0.001, 0.01)]
    alike = all(abs(g.by.difference) <= g.by.half for g in gains(tables[B]) if g.fa <= 0.01)
    words = f"The text has 55.8% for both, the table {told[0]:.2f}% and {told[1]:.2f}%. Ours: {list_of(tables[B])}"
    return graded(alike) if all(abs(v - 55.8) < 0.06 for v in told) else CONTRADICTS, words


def missing_rows(tables):
    """The text has five rows, the table has not."""
    values = [mean(tables[B], fa, final) for fa in (0.1, 1.0)]
    words = " and ".join(said(*v, lambda mean: f"{mean:.2f}%") for v in values)
    lacking = [f"{fa:g}" for fa in LAMBDAS[2:] if fa not in PAPER[B]]
    verdict = CONTRADICTS if lacking else graded(True)
    return verdict, f"The table has no row for {' and '.join(lacking)}. The two that it lacks, run here: {words}."


def moved_for(runs: Runs, sign: int) -> list[float]:
    """The weights under which the last epoch's estimates lie above (1) or below (-1) those of the run that only measures,
    after Holm's correction over the four."""
    changes = [against(of(runs, fa, last_curvature), of(runs, 0.0, last_curvature)) for fa in LAMBDAS[2:]]
    ps = holm([c.paired_p for c in changes])
    return [fa for fa, c, p in zip(LAMBDAS[2:], changes, ps, strict=True) if sign * c.difference > 0 and p < 0.05]


def flatter(tables):
    """Some weight ends at a lower curvature for certain, on each of the data sets."""

    def words(runs: Runs) -> str:
        last = lambda fa: said(*mean(runs, fa, last_curvature))  # noqa: E731
        lower, higher = (", ".join(f"{fa:g}" for fa in moved_for(runs, sign)) or "none" for sign in (-1, 1))
        found = f"lower at {lower}, higher at {higher}"
        return f"{found} ({'; '.join(f'{fa:g}: {last(fa)}' for fa in LAMBDAS[1:])})"

    verdict = of_all(bool(moved_for(runs, -1)) for runs in tables.values())
    return verdict, f"tr(H^2) in the last epoch by lambda, for certain: {by_table(tables, words)}"


def counted(tables) -> str:
    """For how many of the four weights the accuracy changes, and how wide the intervals are, by data set."""

    def words(runs: Runs) -> str:
        known = [g.by for g in gains(runs) if math.isfinite(g.by.half)]
        halves = [by.half for by in known if not unvaried(by.difference, by.half)]
        same = f"for {len(known) - len(halves)} the same in every seed, " if len(known) > len(halves) else ""
        wide = f" ({same}95% intervals of ± {span(halves)} points)" if halves else " (a single seed)"
        return "higher for {}, lower for {}".format(*better(runs)) + wide

    return f"Of four lambda, accuracy after Holm's correction: {by_table(tables, words)}"


def everywhere(tables):
    """Each weight is better than none, on each data set."""
    ups = [better(runs)[0] for runs in tables.values()]
    return graded(all(u == 4 for u in ups), any(ups)), counted(tables)


def task_dependent(tables):
    """Some weight is better on CIFAR-100, at the text's rate as well, and none on text and tables; in part if these
    alone."""
    none = better(tables[N])[0] == better(tables[B])[0] == 0
    up, down = better(whole(C, TEXT))
    words = f"{counted(tables)} At the text's rate CIFAR-100 is higher for {up} and lower for {down}."
    return graded(better(tables[C])[0] > 0 and up > 0 and none, none), words


def sensitive(tables):
    """A weight of 0.001 changes the curvature by less than a quarter for certain, and one of 1 harms the accuracy."""
    runs = tables[C]
    little, much = against(of(runs, 0.001, mean_curvature), of(runs, 0.0, mean_curvature)), gain(runs, 1.0)
    measured = mean(runs, 0.0, mean_curvature)[0]
    nothing = abs(little.difference) + little.half < measured / 4
    harm = much.p < 0.05 and much.by.difference < 0
    words = (
        f"At 0.001 tr(H^2) changes by {said(little.difference, little.half)} of {short(measured)}, which "
        f"{'excludes' if nothing else 'does not exclude'} a change by a quarter; at 1 the accuracy by {points(much)}."
    )
    return graded(nothing and harm, nothing or harm), words


def processor_time(tables) -> str:
    """Over that without penalty, by data set."""
    return "Processor time: " + by_table(tables, lambda runs: f"{span(slowdowns(runs))} times")


def overhead(tables):
    """An order of magnitude: above seven times."""
    least = [min(slowdowns(runs)) for runs in tables.values()]
    return graded(all(r > 7 for r in least), any(r > 7 for r in least)), processor_time(tables)


def lightweight(tables):
    """Below twice the time: not so by the paper's own times."""
    told = [row.seconds / PAPER[data][None].seconds for data in tables for fa, row in PAPER[data].items() if fa is not None]
    most = [max(slowdowns(runs)) for runs in tables.values()]
    verdict = graded(all(r < 2 for r in most), any(r < 2 for r in most)) if max(told) < 2 else CONTRADICTS
    ours = processor_time(tables).replace("Processor", "processor")
    return verdict, f"In the paper's own tables training takes {span(told, '.0f')} times as long. Ours: {ours}"


def every_tenth(tables):
    """One step with the penalty costs 5 to 15 plain ones; a tenth of that is what is left."""
    return graded(all(max(slowdowns(runs)) < 3 for runs in tables.values())), processor_time(tables)


def reliable(tables):
    """The worst seed without penalty is right five times as often as chance, CIFAR-100 at either rate."""
    low = {data: min(of(runs, None, final).values()) for data, runs in tables.items()}
    text = min(of(whole(C, TEXT), None, final).values())
    learnt = [low[C] > 5, text > 5, low[N] > 25]
    words = f"Worst seed without penalty: CIFAR-100 {low[C]:.1f}% at a rate of 0.001 and {text:.1f}% at the text's 0.01"
    return graded(all(learnt), any(learnt)), f"{words}, 20 Newsgroups {low[N]:.1f}%. Five times chance counts as converged."


def fitted_better() -> str:
    """Whether the weights that are better on CIFAR-100 fit the training data better, too."""
    runs = whole(C)
    c = against(of(runs, 0.1, last_loss), of(runs, 0.0, last_loss))
    return (
        "Whether flatness is the reason these runs do not say: on CIFAR-100 lambda 0.1 changes the mean training loss of "
        f"the last epoch, too, by {c.difference:+.3f} ± {c.half:.3f}."
    )


def pooled(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The variance within groups, and its degrees of freedom.

    >>> pooled([[0.0, 2.0], [5.0, 9.0]])
    (5.0, 2)
    """
    free = sum(len(g) - 1 for g in groups)
    return sum(statistics.variance(g) * (len(g) - 1) for g in groups) / free, free


def steadier_than_sam() -> Finding:
    """The accuracy varies less over seeds than with SAM, for certain; in part if so under moderate weights alone."""
    table, sam = whole(C), with_sam()
    ours = {fa: list(of(table, fa, final).values()) for fa in LAMBDAS[2:]}
    theirs = {rho: [final(r) for r in by_seed.values()] for rho, by_seed in sam.items()}
    variance, free = pooled(list(theirs.values()))

    def ratio(weights: Sequence[float]) -> tuple[float, float, float]:
        of_weights, n = pooled([ours[fa] for fa in weights])
        over = of_weights / variance
        return over, over / stats.f.ppf(0.975, n, free), over / stats.f.ppf(0.025, n, free)

    moderate, every = ratio(LAMBDAS[2:5]), ratio(LAMBDAS[2:])
    spread = lambda runs: ", ".join(f"{statistics.stdev(v):.2f}" for v in runs.values())  # noqa: E731
    words = (
        f"Standard deviation of the final accuracy over seeds, in points: {spread(ours)} for lambda 0.001, 0.01, 0.1 "
        f"and 1; {spread(theirs)} for SAM with rho 0.01, 0.05 and 0.2. The variance under the three smaller lambda is "
        f"{moderate[0]:.2g} times SAM's, 95% interval [{moderate[1]:.2g}, {moderate[2]:.2g}]: only a ratio below "
        f"{moderate[0] / moderate[2]:.2g} would have shown the claim. Under all four it is {every[0]:.2g} times "
        f"[{every[1]:.2g}, {every[2]:.2g}]. Means: "
        f"{', '.join(f'{statistics.fmean(v):.1f}%' for v in ours.values())}; "
        f"SAM {', '.join(f'{statistics.fmean(v):.1f}%' for v in theirs.values())}. Under SAM no curvature is measured."
    )
    used = [r for fa in LAMBDAS[2:] for r in table[fa].values()] + [r for by_seed in sam.values() for r in by_seed.values()]
    size = f"{scale(used)} for each weight and radius; at a rate of 0.001"
    return Finding(graded(every[2] < 1, moderate[2] < 1), words, size, used)


def t_tests(tables):
    """The paper announces tests and reports none: ours stand in their place."""
    ps = [g.p for runs in tables.values() for g in gains(runs)]
    small = sum(p < 0.05 for p in ps)
    words = "The paper prints no result of a test, nor the single runs from which one would follow. Ours: "
    return CANNOT, f"{words}{small} of {len(ps)} below 0.05, paired by seed and after Holm's correction."


def conclude(claim: Callable[..., tuple[str, str]], *data: str, note: Callable[[], str] = str, **how: Any) -> Finding:
    """The finding on a claim about the tables of these data sets; `note` is what else there is to say. One about Table 1
    goes by the runs at a rate of 0.001, and what the same claim finds at the text's rate stands beside it. It holds
    whole only if it holds at both."""
    tables = {name: whole(name) for name in data}
    used = [r for runs in tables.values() for by_seed in runs.values() for r in by_seed.values()]
    (verdict, words), size = claim(tables, **how), scale(used)
    if data == (C,):
        text = whole(C, TEXT)
        at_text, beside = claim({C: text}, **how)
        verdict = PART if verdict == HELD and at_text != HELD else verdict
        words += f" At the text's rate, where the network without penalty ends at {mean(text, None, final)[0]:.1f}%: "
        words += beside[0].lower() + beside[1:]
        size += f" at a rate of 0.001, {len(text[None])} at 0.01"
        used += [r for by_seed in text.values() for r in by_seed.values()]
    elif claim in (reliable, task_dependent):
        used += [r for by_seed in whole(C, TEXT).values() for r in by_seed.values()]
        size += "; CIFAR-100 at a rate of 0.01 as well"
    elif C in data:
        size += "; all at a rate of 0.001"
    return Finding(verdict, f"{words} {note()}".strip(), size, used)


def on(claim: Callable[..., tuple[str, str]], *data: str, **how: Any) -> Callable[[], Finding]:
    """The claim, to be concluded when asked."""
    return functools.partial(conclude, claim, *data, **how)


CLAIMS = {
    **{f"fa/table-{k}-lambda-{fa or 0:g}": on(row, data, fa=fa) for k, data in enumerate(PAPER, 1) for fa in PAPER[data]},
    "fa/table-1-flatness-falls": on(flatness_falls, C),
    "fa/table-1-moderate-best": on(moderate_best, C),
    "fa/table-1-larger-degrades": on(larger_degrades, C),
    "fa/table-1-time": on(slower, C, told=38.0, least=10, note=at_every_step),
    "fa/table-2-chance": on(chance, N),
    "fa/table-2-no-effect": on(no_effect, N),
    "fa/table-2-time": on(slower, N, told=8.8, least=4),
    "fa/table-3-missing-rows": on(missing_rows, B),
    "fa/table-3-baseline-varies": on(baseline_varies, B),
    "fa/table-3-similar": on(similar, B),
    "fa/table-3-time": on(slower, B, told=11.3, least=5),
    "fa/summary-converges-flatter": on(flatter, C, N, B),
    "fa/conclusion-flatter": on(flatter, C, N, B),
    "fa/summary-improves-cifar100": on(improves, C, note=functools.partial(own_in_words, C)),
    "fa/conclusion-cifar100": on(moderate_improves, C),
    "fa/moderate-lambda": on(moderate, C, note=lambda: "Less than a point is minimal."),
    "fa/summary-improves-all": on(improves, C, N, B, note=functools.partial(own_in_words, C, N, B)),
    "fa/flat-improves": on(everywhere, C, N, B, note=fitted_better),
    "fa/conclusion-task-dependent": on(task_dependent, C, N, B),
    "fa/sensitive-to-lambda": on(sensitive, C, note=lambda: "Neither a bias nor a variance was measured."),
    "fa/overhead-order-of-magnitude": on(overhead, C, N, B, note=at_every_step),
    "fa/lightweight": on(lightweight, C, N, B),
    "fa/penalty-every-tenth": on(every_tenth, C, N, B, note=at_every_step),
    "fa/adam-reliable": on(reliable, C, N),
    "fa/more-stable-than-sam": steadier_than_sam,
    "fa/t-tests": on(t_tests, C, N, B),
}
