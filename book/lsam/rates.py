"""LSAM: LeNet5 over learning rates and weight decays (Figures 10 to 13), and the verdicts that follow."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable

from book.finding import Finding, graded, of_all, scale, span
from book.lsam.trainings import EARLY, LITTLE, MIDDLE, SEEDS, WHERE, Record, fluctuation, lenet, over_epochs, points
from flatlab.stats.intervals import student

RATES = (0.03, 0.05, 0.06, 0.07)
DECAYS = (0.0003, 0.0005, 0.0008, 0.001, 0.002)
SMALL, LARGE = 0.02, 0.05
"""The paper's two radii."""
CLOSE = 0.05
"""Share of a loss within which losses count as close."""

Cell = dict[int, Record]
Score = Callable[[Record], float]


def cell(rho: float | None, **setting: float) -> Cell:
    """The runs at a rate or decay; without a radius, SGD's. Raises `LookupError` unless all seeds are there."""
    found = lenet("plain", **setting) if rho is None else lenet("LSAM", k=1, rho=rho, **setting)
    if set(found) != set(SEEDS):
        raise LookupError(f"runs of seeds {sorted(found)} at rho {rho} and {setting}, wanted {SEEDS}")
    return found


def rates(rho: float | None) -> dict[float, Cell]:
    """The cells of a radius by learning rate."""
    return {lr: cell(rho, lr=lr) for lr in RATES}


def decays(rho: float | None) -> dict[float, Cell]:
    """The cells of a radius by weight decay."""
    return {decay: cell(rho, weight_decay=decay) for decay in DECAYS}


def accuracy(r: Record) -> float:
    """Of the last epoch."""
    return r["result"]["final"]["accuracy"]


def loss(r: Record) -> float:
    """On test images, of the last epoch."""
    return r["result"]["final"]["loss"]


def fluctuation_of(score: str) -> Score:
    """How much it fluctuates."""
    return lambda r: fluctuation(r, score)


def mean(runs: Cell, score: Score) -> float:
    """Over the seeds."""
    return statistics.mean(score(r) for r in runs.values())


def apart(one: Cell, other: Cell, score: Score) -> tuple[float, float]:
    """Mean difference of two cells seed by seed, and its 95% half-width."""
    return student([score(one[s]) - score(other[s]) for s in SEEDS])


def width(cells: Iterable[Cell], score: Score) -> list[float]:
    """From the least to the largest of the cells, by seed."""
    cells = list(cells)
    rows = ([score(runs[s]) for runs in cells] for s in SEEDS)
    return [max(row) - min(row) for row in rows]


def best(cells: dict[float, Cell]) -> float:
    """Where the mean accuracy is highest."""
    return max(cells, key=lambda at: mean(cells[at], accuracy))


def concluded(verdict: str, words: str, *grids: dict[float, Cell]) -> Finding:
    """The finding from these runs."""
    used = [r for grid in grids for runs in grid.values() for r in runs.values()]
    return Finding(verdict, f"{WHERE}, one draw, three seeds: {words}", scale(used), used)


def levels(cells: dict[float, Cell], score: Score, form: str, times: float = 1) -> str:
    """The means in the order of the cells."""
    return ", ".join(format(times * mean(runs, score), form) for runs in cells.values())


def in_words() -> dict[str, str]:
    """Numbers of the chapter's prose."""
    radii = {"small": SMALL, "large": LARGE, "sgd": None}
    wide = {name: width(rates(rho).values(), accuracy) for name, rho in radii.items()}
    more = student([a - b for a, b in zip(wide["small"], wide["large"], strict=True)])
    rises = [mean(grid[DECAYS[-1]], accuracy) - mean(grid[DECAYS[0]], accuracy) for grid in map(decays, radii.values())]
    told = {f"rates-{name}": f"{100 * statistics.mean(found):.1f}" for name, found in wide.items()}
    return told | {"rates-seen": f"{100 * sum(more):.1f}", "decays-rise": span([100 * v for v in rises], ".1f")}


# ---- learning rates: Figures 10 and 11 --------------------------------------------------------------------------------


def rate_matters() -> Finding:
    """0.03 is best and for certain above 0.07, and the accuracy fluctuates more at 0.06 and 0.07, for certain."""
    grid, sgd = rates(SMALL), rates(None)
    fall = apart(grid[0.07], grid[0.03], accuracy)
    more = [apart(grid[lr], grid[0.03], fluctuation_of("accuracy")) for lr in (0.06, 0.07)]
    words = (
        f"at rho = 0.02 and rates of 0.03, 0.05, 0.06 and 0.07 the accuracy ends at {levels(grid, accuracy, '.1f', 100)}%; "
        f"0.07 is {points(*fall)} points from 0.03. SGD ends at {levels(sgd, accuracy, '.1f', 100)}%. With LSAM the "
        "accuracy "
        f"goes up and down, beside its rise, by {levels(grid, fluctuation_of('accuracy'), '.2f', 100)} points an epoch."
    )
    parts = [best(grid) == 0.03, fall[0] < -fall[1], *(m > half for m, half in more)]
    return concluded(of_all(parts), words, grid, sgd)


def loss_fluctuates() -> Finding:
    """At 0.06 and 0.07 the test loss fluctuates more than at 0.03, for certain."""
    grid = rates(SMALL)
    more = [apart(grid[lr], grid[0.03], fluctuation_of("loss")) for lr in (0.06, 0.07)]
    told = " and ".join(f"{m:+.3f} ± {half:.3f}" for m, half in more)
    words = (
        "at rho = 0.02 and rates of 0.03, 0.05, 0.06 and 0.07 the test loss goes up and down, beside its fall and "
        "its later "
        f"rise, by {levels(grid, fluctuation_of('loss'), '.3f')} an epoch; 0.06 and 0.07 differ from 0.03 by {told}."
    )
    return concluded(of_all(m > half for m, half in more), words, grid)


def accuracies_differ_more() -> Finding:
    """The last losses span a smaller share of their mean than the accuracies do, on test and training images, in
    each seed."""
    grid = rates(SMALL)
    train = lambda r: r["result"]["final"]["train_loss"]  # noqa: E731
    shares = {}
    for name, score in (("accuracy", accuracy), ("test loss", loss), ("training loss", train)):
        ends = [[score(runs[s]) for runs in grid.values()] for s in SEEDS]
        shares[name] = [100 * (max(row) - min(row)) / statistics.mean(row) for row in ends]
    told = {name: span(found, ".0f") for name, found in shares.items()}
    words = (
        f"at rho = 0.02 the accuracies of a seed at four rates span {told['accuracy']}% of their mean, the test losses "
        f"{told['test loss']}% and the training losses {told['training loss']}%."
    )
    less = [max(shares[name]) < min(shares["accuracy"]) for name in ("test loss", "training loss")]
    return concluded(of_all(less), words, grid)


def small_radius_is_sensitive() -> Finding:
    """Between its best and worst rate the accuracy differs more at 0.02 than at 0.05, for certain."""
    small, large, sgd = (rates(rho) for rho in (SMALL, LARGE, None))
    wide = {name: width(grid.values(), accuracy) for name, grid in (("small", small), ("large", large), ("SGD", sgd))}
    more = student([a - b for a, b in zip(wide["small"], wide["large"], strict=True)])
    told = {name: f"{100 * statistics.mean(found):.1f}" for name, found in wide.items()}
    words = (
        f"between the best and the worst of four rates the accuracy of a seed differs by {told['small']} points at rho = "
        f"0.02, {told['large']} at 0.05 and {told['SGD']} with SGD, whose radius is 0. From 0.05 to 0.02 that is "
        f"{points(*more)} points more: a growth by more than {100 * sum(more):.1f} is excluded, beside {told['small']} in "
        "all. The cause was not measured."
    )
    return concluded(graded(more[0] > more[1]), words, small, large, sgd)


def large_radius_best_rate() -> Finding:
    """At 0.05, too, the rate of 0.03 is above each other, for certain; and the rates differ less than at 0.02, for
    certain."""
    small, large = rates(SMALL), rates(LARGE)
    below = [apart(large[lr], large[0.03], accuracy) for lr in RATES[1:]]
    wide = (width(grid.values(), accuracy) for grid in (small, large))
    less = student([a - b for a, b in zip(*wide, strict=True)])
    words = (
        f"at rho = 0.05 the rates 0.05, 0.06 and 0.07 end {', '.join(points(*found) for found in below)} points from 0.03. "
        f"The best and the worst rate of a seed are {points(-less[0], less[1])} points farther apart than at 0.02."
    )
    return concluded(of_all([all(m < -half for m, half in below), less[0] > less[1]]), words, small, large)


def lower_peak(words: str, small: dict[float, Cell], large: dict[float, Cell]) -> Finding:
    """Whether the best mean accuracy of the large radius is below that of the small one."""
    tops = best(small), best(large)
    less = apart(large[tops[1]], small[tops[0]], accuracy)
    told = (
        f"{words} {100 * mean(small[tops[0]], accuracy):.1f}% at rho = 0.02 (at {tops[0]:g}) and "
        f"{100 * mean(large[tops[1]], accuracy):.1f}% at 0.05 (at {tops[1]:g}), {points(*less)} points from the smaller "
        f"radius. A fall of more than {100 * (less[1] - less[0]):.1f} is excluded."
    )
    return concluded(graded(less[0] < -less[1]), told, small, large)


def lower_peak_over_rates() -> Finding:
    """The best mean accuracy over four rates is lower at 0.05 than at 0.02, for certain."""
    return lower_peak("over four rates the best accuracy is", rates(SMALL), rates(LARGE))


# ---- weight decays: Figures 12 and 13 ---------------------------------------------------------------------------------


def two_groups() -> Finding:
    """0.0003 and 0.0005 end within a point, 0.001 and 0.002 do, both for certain; and the groups are apart, for certain."""
    grid = decays(SMALL)
    within = [apart(grid[a], grid[b], accuracy) for a, b in ((0.0005, 0.0003), (0.002, 0.001))]
    group = lambda members, s: statistics.mean(accuracy(grid[d][s]) for d in members)  # noqa: E731
    between = student([group((0.001, 0.002), s) - group((0.0003, 0.0005), s) for s in SEEDS])
    words = (
        f"at rho = 0.02 and decays of 0.0003, 0.0005, 0.0008, 0.001 and 0.002 the accuracy ends at "
        f"{levels(grid, accuracy, '.1f', 100)}%. 0.0005 is {points(*within[0])} points from 0.0003, 0.002 "
        f"{points(*within[1])} from 0.001, where less than one counts as alike; the larger two are {points(*between)} from "
        "the smaller two."
    )
    alike = [abs(m) + half < LITTLE for m, half in within]
    return concluded(of_all([*alike, abs(between[0]) > between[1]]), words, grid)


def decay_leaves_the_loss() -> Finding:
    """The last test losses lie within a twentieth; on the way fluctuation and training loss differ, for certain."""
    grid, sgd = decays(SMALL), decays(None)
    ends = [mean(runs, loss) for runs in grid.values()]
    apart_at_the_end = max(ends) / min(ends) - 1
    most, least = DECAYS[-1], DECAYS[0]
    rougher = apart(grid[most], grid[least], fluctuation_of("loss"))

    def slower(cells: dict[float, Cell]) -> tuple[float, float]:
        one, other = (over_epochs(cells[decay], "train_loss", MIDDLE) for decay in (most, least))
        return student([one[s] - other[s] for s in SEEDS])

    (behind, half), (sgds, sgds_half) = slower(grid), slower(sgd)
    words = (
        f"at rho = 0.02 and decays of 0.0003, 0.0005, 0.0008, 0.001 and 0.002 the test loss ends at "
        f"{levels(grid, loss, '.2f')}, {apart_at_the_end:.0%} apart, where up to {CLOSE:.0%} counts as close. From "
        "the least "
        f"decay to the largest the training loss of epochs {MIDDLE[0]} to {MIDDLE[1]} grows by {behind:.3f} ± "
        f"{half:.3f}, as "
        f"with SGD, {sgds:.3f} ± {sgds_half:.3f}; what the test loss goes up and down in an epoch changes by "
        f"{rougher[0]:+.3f} ± {rougher[1]:.3f}."
    )
    parts = [apart_at_the_end < CLOSE, abs(rougher[0]) > rougher[1], abs(behind) > half]
    return concluded(of_all(parts), words, grid, sgd)


def large_radius_needs_no_decay() -> Finding:
    """At 0.05 the decays are nearer to each other than at 0.02, in training loss along the way and at the end."""
    small, large = decays(SMALL), decays(LARGE)

    def spreads(grid: dict[float, Cell], span_of: tuple[int, int]) -> list[float]:
        curves = [over_epochs(runs, "train_loss", span_of) for runs in grid.values()]
        return [max(c[s] for c in curves) - min(c[s] for c in curves) for s in SEEDS]

    def on_the_way(span_of: tuple[int, int]) -> tuple[float, float]:
        return student([a - b for a, b in zip(spreads(large, span_of), spreads(small, span_of), strict=True)])

    levels_at_first = " and ".join(span(spreads(grid, EARLY), ".3f") for grid in (small, large))
    early, middle = on_the_way(EARLY), on_the_way(MIDDLE)
    ends = [width(grid.values(), accuracy) for grid in (large, small)]
    end = student([a - b for a, b in zip(*ends, strict=True)])
    words = (
        "from rho = 0.02 to 0.05 the spread of the training loss over five decays grows by "
        f"{early[0]:+.4f} ± {early[1]:.4f} in the first {EARLY[1]} epochs, where it is {levels_at_first}, and by "
        f"{middle[0]:+.3f} ± {middle[1]:.3f} in epochs {MIDDLE[0]} to {MIDDLE[1]}, that of the accuracy at the end by "
        f"{points(*end)} points. At 0.05 the latter is {span([100 * v for v in ends[0]], '.1f')} points in a seed."
    )
    return concluded(of_all(m < -half for m, half in (early, middle, end)), words, small, large)


def lower_peak_over_decays() -> Finding:
    """The best mean accuracy over five decays is lower at 0.05 than at 0.02, for certain."""
    return lower_peak("over five decays the best accuracy is", decays(SMALL), decays(LARGE))


CLAIMS = {
    "lsam/figure-10-best-rate": rate_matters,
    "lsam/figure-10-loss": loss_fluctuates,
    "lsam/figure-10-accuracy-differs-more": accuracies_differ_more,
    "lsam/small-rho-sensitive": small_radius_is_sensitive,
    "lsam/figure-11-best-rate": large_radius_best_rate,
    "lsam/figure-11-lower-accuracy": lower_peak_over_rates,
    "lsam/figure-12-two-groups": two_groups,
    "lsam/figure-12-loss": decay_leaves_the_loss,
    "lsam/figure-13-similar": large_radius_needs_no_decay,
    "lsam/figure-13-lower-accuracy": lower_peak_over_decays,
}
