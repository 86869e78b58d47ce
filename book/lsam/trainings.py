"""LSAM: whole trainings of LeNet5 beside SGD's, and the verdicts that follow."""

from __future__ import annotations

import functools
import itertools
import statistics
from collections.abc import Iterable
from typing import Any

from book.finding import RESULTS, Finding, graded, of_all, scale, span
from flatlab.runs import records
from flatlab.stats.comparison import compare, holm
from flatlab.stats.intervals import student

Record = dict[str, Any]

RADII = (0.01, 0.02, 0.05, 0.1, 0.15)
"""The paper's."""
LARGE_RADII = (0.5, 1.5, 5.0, 10.0)
"""Ours, far beyond."""
DRAWS = (1, 2, 3, 4, 8, 16)
SEEDS = (1, 42, 123)
SETTING = {"data": "cifar10", "network": "lenet5", "examples": 10_000, "epochs": 15}


# ---- whole trainings of LeNet5 ---------------------------------------------------------------------------------------


@functools.cache
def lenet(method: str, lr: float = 0.03, weight_decay: float = 5e-4, **config: Any) -> dict[int, Record]:
    """The runs of one cell, by seed."""
    found = records.find(RESULTS, "train", **SETTING, lr=lr, weight_decay=weight_decay, method=method, **config)
    return {r["config"]["seed"]: r for r in found if r["config"]["seed"] in SEEDS}


def apart(score: str, k: int = 1, **config: Any) -> tuple[float, float]:
    """Mean difference of an LSAM cell to SGD in a last score, seed by seed, and its 95% half-width."""
    return difference(lenet("LSAM", k=k, **config), score)


def difference(cell: dict[int, Record], score: str) -> tuple[float, float]:
    """Of any cell. Raises `LookupError` unless it has all seeds."""
    sgd = lenet("plain")
    if set(cell) != set(SEEDS) or set(sgd) != set(SEEDS):
        raise LookupError(f"runs of seeds {sorted(cell)} against SGD's of {sorted(sgd)}, wanted {SEEDS} of both")
    ours, theirs = last(score, cell), last(score, sgd)
    return student([ours[s] - theirs[s] for s in SEEDS])


def last(score: str, cell: dict[int, Record]) -> dict[int, float]:
    """A score of the last epoch, by seed."""
    return {seed: r["result"]["final"][score] for seed, r in cell.items()}


def fluctuation(r: Record, score: str, epochs: slice = slice(None)) -> float:
    """How far a score goes up and down in an epoch, beside its way to its best value and from there to the last."""
    values = [point[score] for point in r["result"]["curves"]][epochs]
    best = max(values) if score == "accuracy" else min(values)
    way = abs(values[0] - best) + abs(values[-1] - best)
    return (sum(abs(b - a) for a, b in itertools.pairwise(values)) - way) / (len(values) - 1)


LAST_TEN = slice(-11, None)
"""The last ten changes from an epoch to the next."""


def fluctuations(cell: dict[int, Record], epochs: slice = LAST_TEN) -> dict[int, float]:
    """That of the test accuracy in points, by seed."""
    return {seed: 100 * fluctuation(r, "accuracy", epochs) for seed, r in cell.items()}


def fluctuates_less(ours: dict[int, Record], theirs: dict[int, Record], epochs: slice = LAST_TEN) -> tuple[float, float]:
    """How much less the first fluctuates than the second, seed by seed: mean and 95% half-width, in points."""
    one, other = fluctuations(ours, epochs), fluctuations(theirs, epochs)
    return student([other[s] - one[s] for s in SEEDS])


def mean_of(values: dict[int, float]) -> float:
    """Over the seeds."""
    return statistics.mean(values.values())


LITTLE = 0.01
"""A difference in accuracy below which two trainings count as alike."""


def bound(found: Iterable[tuple[float, float]]) -> float:
    """The largest difference that these intervals, means and half-widths, leave open."""
    return max(abs(mean) + half for mean, half in found)


# ---- the claims: LeNet5 ----------------------------------------------------------------------------------------------


def in_words() -> dict[str, str]:
    """The largest gains over SGD, in points of accuracy, that three seeds leave open at the paper's radii, and SAM's."""
    ends = {"lsam": max(sum(apart("accuracy", rho=rho)) for rho in RADII), "sam": sum(difference(lenet("SAM"), "accuracy"))}
    return {f"lenet-gain-{name}": f"{100 * end:.1f}" for name, end in ends.items()}


WHERE = "LeNet5 on 10,000 images of CIFAR-10"


def points(mean: float, half: float) -> str:
    """A difference in points of accuracy."""
    return f"{100 * mean:+.1f} ± {100 * half:.1f}"


def trained(verdict: str, words: str, *cells: dict[int, Record], more: tuple[Record, ...] = ()) -> Finding:
    """The finding from cells of trainings and SGD's."""
    used = [r for cell in (lenet("plain"), *cells) for r in cell.values()]
    return Finding(verdict, words, scale(used), [*used, *more])


def by_draws(*draws: int) -> list[dict[int, Record]]:
    """The cells at a radius of 0.05."""
    return [lenet("LSAM", k=k, rho=0.05) for k in draws]


def moderate_k_suffices() -> Finding:
    """With 2, 3 and 4 draws the accuracy is above SGD's for certain."""
    found = [apart("accuracy", k=k, rho=0.05) for k in (2, 3, 4)]
    told = ", ".join(points(*f) for f in found)
    most = 100 * max(mean + half for mean, half in found)
    words = (
        f"{WHERE} at rho = 0.05, three seeds: with 2, 3 and 4 draws the accuracy differs by {told} points from SGD's. A "
        f"gain of more than {most:.1f} points would have shown; how flat the ends are was not measured."
    )
    return trained(of_all(mean > half for mean, half in found), words, *by_draws(2, 3, 4))


def optimal_radius() -> Finding:
    """The radius of the lowest test loss is better than SGD for certain, as one of nine, and the largest is worse."""
    every = (*RADII, *LARGE_RADII)
    accuracy, loss = ({rho: apart(score, rho=rho) for rho in every} for score in ("accuracy", "loss"))
    ps = holm([compare(last("loss", lenet("LSAM", k=1, rho=r)), last("loss", lenet("plain"))).paired_p for r in every])
    best = min(every, key=lambda rho: loss[rho][0])
    p, clear = ps[every.index(best)], sum(abs(accuracy[r][0]) > accuracy[r][1] for r in RADII)
    words = (
        f"For {WHERE} (three seeds) {clear or 'none'} of five radii from 0.01 to 0.15 can be told from SGD by the "
        f"accuracy. The test loss is lowest at {best:g}, by {-loss[best][0]:.2f} ± {loss[best][1]:.2f} below SGD's, which "
        f"as the best of nine is {'' if p < 0.05 else 'not '}certain (Holm p {p:.2f}), with a difference in accuracy of "
        f"{points(*accuracy[best])} points; at {every[-1]:g} that is {points(*accuracy[every[-1]])}."
    )
    verdict = of_all([p < 0.05 and loss[best][0] < 0, accuracy[every[-1]][0] < -accuracy[every[-1]][1]])
    return trained(verdict, words, *(lenet("LSAM", k=1, rho=rho) for rho in every))


def one_draw_suffices() -> Finding:
    """One draw is above SGD for certain, and 16 are not above one for certain, nor above 8; in part if only the second."""
    found = {k: apart("accuracy", k=k, rho=0.05) for k in DRAWS}
    first, *_, most = (last("accuracy", cell) for cell in by_draws(*DRAWS))
    eight = last("accuracy", lenet("LSAM", k=8, rho=0.05))
    more, beyond = (student([most[s] - few[s] for s in SEEDS]) for few in (first, eight))
    one, no_more = found[1][0] > found[1][1], more[0] <= more[1] and beyond[0] <= beyond[1]
    zero = sum(abs(mean) <= half for mean, half in found.values())
    words = (
        f"For {WHERE} at rho = 0.05 (three seeds) 1 to 16 draws end "
        f"{span([100 * mean for mean, _ in found.values()], '+.1f')} points from SGD, {zero} of {len(DRAWS)} with an "
        f"interval that holds zero. With one draw it is {points(*found[1])}: there is no effect that it would suffice for. "
        f"16 draws end {points(*more)} points from one and {points(*beyond)} from eight; a benefit of "
        f"{100 * sum(more):.1f} and of {100 * sum(beyond):.1f} would have shown."
    )
    return trained(graded(one and no_more, no_more), words, *by_draws(*DRAWS))


def roles_of_rho_and_k() -> Finding:
    """No number of draws changes the end by a point, for certain, and a radius of 5 changes the training loss, for "
    "certain."""
    found = [apart("accuracy", k=k, rho=0.05) for k in DRAWS]
    same, least = bound(found) < LITTLE, 100 * bound(found)
    loss = apart("train_loss", rho=5.0)
    words = (
        f"{WHERE}, three seeds: the accuracy with 1 to 16 draws is less than {least:.1f} points from SGD's, a difference "
        f"{'that counts as little' if same else 'that might still count'}; at a radius of 5 the training loss is "
        f"{loss[0]:+.2f} ± {loss[1]:.2f} from SGD's."
    )
    moved = abs(loss[0]) > loss[1]
    return trained(graded(same and moved, same or moved), words, *by_draws(*DRAWS), lenet("LSAM", k=1, rho=5.0))


def sam_is_slower() -> Finding:
    """SAM's last training loss is above SGD's and its test accuracy below it, both for certain."""
    loss, accuracy = (difference(lenet("SAM"), score) for score in ("train_loss", "accuracy"))
    words = (
        f"{WHERE}, three seeds, SAM at 0.05: after as many epochs its training loss is {loss[0]:+.2f} ± {loss[1]:.2f} from "
        f"SGD's and its accuracy {points(*accuracy)} points, which "
        "shows nothing. That the sharpest direction is the cause does not follow."
    )
    return trained(of_all([loss[0] > loss[1], accuracy[0] < -accuracy[1]]), words, lenet("SAM"))


# ---- the claims: Figures 6 to 9, a quarter of the paper's epochs for a quarter of ours --------------------------------

EARLY, MIDDLE, LATE = (1, 4), (5, 11), (12, 15)
"""The epochs of LeNet5 that stand for the paper's 0 to 50, 50 to 150 and 150 to 200."""


def over_epochs(cell: dict[int, Record], score: str, span_of: tuple[int, int]) -> dict[int, float]:
    """Mean of a score over these epochs, the last included, by seed."""
    first, end = span_of
    return {
        seed: statistics.mean(p[score] for p in r["result"]["curves"] if first <= p["epoch"] <= end)
        for seed, r in cell.items()
    }


def by_radius() -> dict[float, dict[int, Record]]:
    """The cells of one draw at the paper's radii."""
    return {rho: lenet("LSAM", k=1, rho=rho) for rho in RADII}


def alike_at_first() -> Finding:
    """At the end of the first quarter each radius is, for certain, less than an epoch ahead of SGD or behind it."""
    last_epoch = (EARLY[1], EARLY[1])
    sgd, found = over_epochs(lenet("plain"), "accuracy", last_epoch), []
    before = over_epochs(lenet("plain"), "accuracy", (EARLY[1] - 1, EARLY[1] - 1))
    epoch = statistics.mean(sgd[s] - before[s] for s in SEEDS)
    for cell in by_radius().values():
        ours = over_epochs(cell, "accuracy", last_epoch)
        found.append(student([ours[s] - sgd[s] for s in SEEDS]))
    words = (
        f"{WHERE}, one draw, three seeds: after {EARLY[1]} of 15 epochs, a quarter as the paper's 50 of 200, the accuracy "
        f"at the five radii is {span([100 * mean for mean, _ in found], '+.1f')} points from SGD's. A difference of "
        f"{100 * bound(found):.1f} would have shown at each; the last of these epochs is worth {100 * epoch:.1f}."
    )
    return trained(graded(bound(found) < epoch), words, *by_radius().values())


def middle_radii_lead() -> Finding:
    """In the middle epochs 0.02 and 0.05 are more accurate than the other radii, with a lower loss, both for certain."""
    lead = {}
    for score in ("accuracy", "loss"):
        found = {rho: over_epochs(cell, score, MIDDLE) for rho, cell in by_radius().items()}
        mean = lambda rhos, s, found=found: statistics.mean(found[rho][s] for rho in rhos)  # noqa: E731
        lead[score] = student([mean((0.02, 0.05), s) - mean((0.01, 0.1, 0.15), s) for s in SEEDS])
    accuracy, loss = lead.values()
    words = (
        f"{WHERE}, one draw, three seeds: over epochs {MIDDLE[0]} to {MIDDLE[1]} of 15 the radii 0.02 and 0.05 lead the "
        f"three others by {points(*accuracy)} points of accuracy, and their test loss is {loss[0]:+.3f} ± {loss[1]:.3f} "
        f"from the others'. A lead of more than {100 * sum(accuracy):.1f} points is excluded."
    )
    return trained(of_all([accuracy[0] > accuracy[1], loss[0] < -loss[1]]), words, *by_radius().values())


def radii_part_late() -> Finding:
    """The radii lie further apart in the last quarter than in the middle, and one can be told from SGD."""
    wide = {}
    for name, epochs in (("middle", MIDDLE), ("late", LATE)):
        means = [statistics.mean(over_epochs(cell, "accuracy", epochs).values()) for cell in by_radius().values()]
        wide[name] = 100 * (max(means) - min(means))
    ends = [apart("accuracy", rho=rho) for rho in RADII]
    told = sum(abs(mean) > half for mean, half in ends)
    words = (
        f"{WHERE}, one draw, three seeds: the mean accuracies of the five radii span {wide['middle']:.2f} points over "
        f"epochs {MIDDLE[0]} to {MIDDLE[1]} of 15 and {wide['late']:.2f} over epochs {LATE[0]} to {LATE[1]}; at the end "
        f"{told or 'none'} can be told from SGD, and a difference of "
        f"{100 * bound(ends):.1f} points would have shown at each."
    )
    return trained(graded(bool(told) and wide["late"] > wide["middle"]), words, *by_radius().values())


def draws_end_alike() -> Finding:
    """In part: for certain all numbers of draws end within two points of one draw; the level is another network's."""
    first, *_ = ends = [last("accuracy", cell) for cell in by_draws(*DRAWS)]
    level = [100 * statistics.mean(end.values()) for end in ends]
    found = [student([end[s] - first[s] for s in SEEDS]) for end in ends]
    words = (
        f"{WHERE} at rho = 0.05, three seeds: 1, 2, 3, 4, 8 and 16 draws end at {span(level, '.1f')}%, "
        f"{span([100 * mean for mean, _ in found[1:]], '+.1f')} points from one draw; a difference of "
        f"{100 * bound(found):.1f} would have shown at each. The level of 0.80 is another "
        "network's and other data's."
    )
    return trained(graded(False, bound(found) < 2 * LITTLE), words, *by_draws(*DRAWS))


LAST_QUARTER = slice(LATE[0] - 2, None)
"""The epoch before the last quarter, and those of it."""


def smoother_not_better() -> Finding:
    """In the last quarter 16 draws fluctuate less than one for certain, and more draws do not end higher for certain."""
    one, *more = by_draws(*DRAWS)
    less, half = fluctuates_less(more[-1], one, LAST_QUARTER)
    told = [mean_of(fluctuations(cell, LAST_QUARTER)) for cell in (one, *more, lenet("plain"))]
    first, *ends = (last("accuracy", cell) for cell in (one, *more))
    gains = [student([end[s] - first[s] for s in SEEDS]) for end in ends]
    better = any(mean > half for mean, half in gains)
    words = (
        f"{WHERE} at rho = 0.05, three seeds: in the last four epochs the accuracy goes up and down, beside its rise, by "
        f"{told[0]:.2f} points an epoch with one draw, {span(told[1:-1])} with more and {told[-1]:.2f} with SGD; 16 "
        "draws are "
        f"calmer than one by {less:.2f} ± {half:.2f}. More draws {'end' if better else 'do not end'} higher for certain."
    )
    return trained(of_all([less > half, not better]), words, one, *more)


CLAIMS = {
    "lsam/sam-slower": sam_is_slower,
    "lsam/moderate-k-suffices": moderate_k_suffices,
    "lsam/optimal-radius": optimal_radius,
    "lsam/roles-of-rho-and-k": roles_of_rho_and_k,
    "lsam/figure-6-early-alike": alike_at_first,
    "lsam/figure-6-middle-radii-best": middle_radii_lead,
    "lsam/figure-7-late-differences": radii_part_late,
    "lsam/figure-8-same-accuracy": draws_end_alike,
    "lsam/figure-8-k-one-suffices": one_draw_suffices,
    "lsam/figure-9-smoother-not-better": smoother_not_better,
}
