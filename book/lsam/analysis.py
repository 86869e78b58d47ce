"""LSAM: the paper's table against its text, our trainings, planes and gradients, and the verdicts that follow."""

from __future__ import annotations

import functools
import itertools
import math
import statistics
from typing import Any

from book import accuracies
from book.finding import RESULTS, Finding, graded, of_all, scale, span
from book.stable_sam import success_rates
from flatlab.runs import records
from flatlab.stats.intervals import student

Record = dict[str, Any]

RADII = (0.01, 0.02, 0.05, 0.1, 0.15)
"""The paper's."""
LARGE_RADII = (0.5, 1.5, 5.0, 10.0)
"""Ours, far beyond."""
DRAWS = (1, 2, 3, 4, 8, 16)
SEEDS = (1, 42, 123)
SETTING = {"data": "cifar10", "network": "lenet5", "examples": 10_000, "epochs": 15}


# ---- the paper's table -----------------------------------------------------------------------------------------------

NAMES = {"SGD": "SGD", "SAM": "SAM*", "ASAM": "ASAM", "USAM": "SAM", "GASAM": "GASAM", "StableSAM": "SSAM", "LSAM": "LSAM"}
"""The paper's name of each method."""
COLUMNS = ("ResNet-20", "ResNet-56", "ResNeXt", "WRN-28-10", "PyramidNet")
"""Of the table, first for CIFAR-10, then for CIFAR-100."""


@functools.cache
def table(field: str) -> dict[str, list[float]]:
    """Table 1 by the paper's names: `accuracy` or `deviation` of the ten columns."""
    found = {}
    for method, name in NAMES.items():
        cells = [a for data in ("cifar10", "cifar100") for a in accuracies.column("LSAM", data, method)]
        found[name] = [getattr(a, field) for a in cells]
    return found


def over(other: str, column: int) -> float:
    """By how many points LSAM is ahead of another method in the table."""
    return round(table("accuracy")["LSAM"][column] - table("accuracy")[other][column], 2)


def steadier(column: int) -> list[str]:
    """The methods with a smaller deviation than LSAM's."""
    return [name for name, row in table("deviation").items() if row[column] < table("deviation")["LSAM"][column]]


# ---- whole trainings of LeNet5 ---------------------------------------------------------------------------------------


@functools.cache
def lenet(method: str, **config: Any) -> dict[int, Record]:
    """The runs of one cell, by seed."""
    found = records.find(RESULTS, "train", **SETTING, lr=0.03, method=method, **config)
    return {r["config"]["seed"]: r for r in found if r["config"]["seed"] in SEEDS}


def apart(score: str, k: int = 1, **config: Any) -> tuple[float, float]:
    """Mean difference of an LSAM cell to SGD in a last score, seed by seed, and its 95% half-width."""
    return difference(lenet("LSAM", k=k, **config), score)


def difference(cell: dict[int, Record], score: str) -> tuple[float, float]:
    """Of any cell. Raises `LookupError` unless it has all seeds."""
    sgd = lenet("plain")
    if set(cell) != set(SEEDS) or set(sgd) != set(SEEDS):
        raise LookupError(f"runs of seeds {sorted(cell)} against SGD's of {sorted(sgd)}, wanted {SEEDS} of both")
    return student([cell[s]["result"]["final"][score] - sgd[s]["result"]["final"][score] for s in SEEDS])


def jumps(cell: dict[int, Record]) -> float:
    """Mean change of the test accuracy from one epoch to the next, up or down, over the last ten; in points."""
    curves = [[point["accuracy"] for point in r["result"]["curves"]][-11:] for r in cell.values()]
    return 100 * statistics.mean(abs(b - a) for curve in curves for a, b in itertools.pairwise(curve))


# ---- planes around solutions -----------------------------------------------------------------------------------------

CEILING = 4.0
"""Where the pictures are cut off."""


@functools.cache
def plane(method: str, rho: float | None = None) -> Record:
    """The plane around one run's solution."""
    return records.only(RESULTS, "loss_plane", **SETTING, method=method, rho=rho)


def slice_through_two() -> Record:
    """The loss of a small network along the line through two of its solutions."""
    return records.only(RESULTS, "network_slice", data="digits", seed=1)


def planes() -> list[Record]:
    """Those of SGD, of SAM, and of LSAM at a radius of the paper and at a hundred times that."""
    return [plane("plain"), plane("SAM", 0.05), plane("LSAM", 0.05), plane("LSAM", 5.0)]


def height(r: Record, distance: float) -> float:
    """Mean training loss over the edge of the square of half-width `distance`, in filters' lengths, around the solution."""
    places, z = r["result"]["places"], r["result"]["plane"]["train"]
    cells = [(max(abs(x), abs(y)), v) for x, row in zip(places, z, strict=True) for y, v in zip(places, row, strict=True)]
    return statistics.mean(CEILING if v is None else v for far, v in cells if abs(far - distance) < 1e-6)


def surface(r: Record) -> list[float]:
    """In the middle, at a quarter and at half of the filters' lengths."""
    return [height(r, distance) for distance in (0.0, 0.25, 0.5)]


# ---- gradients of ResNet-20 ------------------------------------------------------------------------------------------


@functools.cache
def gradients() -> Record:
    """The record of LSAM's gradient beside that of the minibatch, at the initialization and after 150 steps of SGD."""
    return records.only(RESULTS, "local_gradients", data="cifar10", network="resnet20")


def states() -> list[dict[str, Any]]:
    """The two states."""
    return gradients()["result"]["states"]


def balls(state: dict[str, Any]) -> dict[float, dict[str, Any]]:
    """What was measured at each radius."""
    return {ball["rho"]: ball for ball in state["balls"]}


def share(state: dict[str, Any], rho: float, k: int = 1) -> float:
    """How far k draws move the gradient, as a share of another minibatch's difference."""
    return balls(state)[rho]["change"][str(k)] / state["noise"]


def expected_change(ball: dict[str, Any], k: int) -> float:
    """What k draws would move it if a draw's random part fell like one over root k and the rest were common to all."""
    return math.sqrt(ball["systematic"] + (ball["change"]["1"] ** 2 - ball["systematic"]) / k)


# ---- numbers in the chapter's sentences ------------------------------------------------------------------------------


def in_words() -> dict[str, str]:
    """Of the trainings and the gradients, by the names under which the page asks for them."""
    start, later = states()
    at_the_papers = [100 * apart("accuracy", rho=rho)[0] for rho in RADII]
    by_draws = [100 * apart("accuracy", k=k, rho=0.05)[0] for k in DRAWS]
    sam = [balls(state)[0.05]["sam_change"] / state["noise"] for state in (start, later)]
    numbers = {
        "half": f"{share(start, 0.05):.0%}",
        "half-later": f"{share(later, 0.05):.0%}",
        "most": " and ".join(f"{share(state, 0.15):.0%}" for state in (start, later)),
        "sam": " and ".join(f"{v:.0%}" for v in sam),
        "far": " and ".join(f"{share(state, 5.0):.0%}" for state in (start, later)),
        "radii-gain": span(at_the_papers, ".1f"),
        "draws-below": f"{-min(by_draws):.1f}",
        "draws-above": f"{max(by_draws):.1f}",
        "far-train-loss": f"{apart('train_loss', rho=5.0)[0]:.2f}",
        "far-test-loss": f"{-apart('loss', rho=5.0)[0]:.2f}",
        "wide": f"{height(plane('LSAM', 5.0), 0.5):.1f}",
        "wide-sgd": f"{height(plane('plain'), 0.5):.1f}",
    }
    return {f"lsam-{name}": text for name, text in numbers.items()}


# ---- the claims: LeNet5 ----------------------------------------------------------------------------------------------

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
    words = f"{WHERE} at rho = 0.05, three seeds: with 2, 3 and 4 draws the accuracy differs by {told} points from SGD's."
    return trained(of_all(mean > half for mean, half in found), words, *by_draws(2, 3, 4))


def optimal_radius() -> Finding:
    """A radius between others has the lowest test loss; held whole if the accuracy there is above SGD's for certain."""
    every = (*RADII, *LARGE_RADII)
    accuracy, loss = ({rho: apart(score, rho=rho) for rho in every} for score in ("accuracy", "loss"))
    best = min(every, key=lambda rho: loss[rho][0])
    inner, clear = best not in (every[0], every[-1]), sum(abs(accuracy[r][0]) > accuracy[r][1] for r in RADII)
    words = (
        f"For {WHERE} (three seeds) {clear or 'none'} of five radii from 0.01 to 0.15 can be told from SGD by the "
        f"accuracy. The test loss is lowest at {best:g}, by {-loss[best][0]:.2f} ± {loss[best][1]:.2f} below SGD's, with a "
        f"difference in accuracy of {points(*accuracy[best])} points; at {every[-1]:g} that is "
        f"{points(*accuracy[every[-1]])}."
    )
    verdict = graded(inner and accuracy[best][0] > accuracy[best][1], inner)
    return trained(verdict, words, *(lenet("LSAM", k=1, rho=rho) for rho in every))


def one_draw_suffices() -> Finding:
    """One draw is above SGD for certain, and 16 are not above one; in part if only the second."""
    found = {k: apart("accuracy", k=k, rho=0.05) for k in DRAWS}
    one, no_more = found[1][0] > found[1][1], found[16][0] - found[16][1] < found[1][0]
    zero = sum(abs(mean) <= half for mean, half in found.values())
    words = (
        f"For {WHERE} at rho = 0.05 (three seeds) 1 to 16 draws end "
        f"{span([100 * mean for mean, _ in found.values()], '+.1f')} points from SGD, {zero} of {len(DRAWS)} with an "
        f"interval that holds zero. With one draw it is {points(*found[1])}."
    )
    return trained(graded(one and no_more, no_more), words, *by_draws(*DRAWS))


def draws_reduce_noise() -> Finding:
    """The draws move the gradient less with k, and the curves are calmer by a third at 16 draws than at one."""
    falls = all(share(state, 0.05, 16) < share(state, 0.05, 1) for state in states())
    one, sixteen, sgd = jumps(by_draws(1)[0]), jumps(by_draws(16)[0]), jumps(lenet("plain"))
    calmer = sixteen < one / 1.5
    words = (
        "The noise of the draws falls with k, but at rho = 0.05 it is small beside that of the minibatches. LeNet5's "
        f"curves on 10,000 images of CIFAR-10 (three seeds) jump from epoch to epoch by {sixteen:.1f} points of accuracy "
        f"at k = 16, {one:.1f} at k = 1 and {sgd:.1f} with SGD."
    )
    return trained(graded(falls and calmer, falls or calmer), words, *by_draws(1, 16), more=(gradients(),))


def roles_of_rho_and_k() -> Finding:
    """No number of draws changes the end for certain, and the radius changes it."""
    same = all(abs(mean) <= half for mean, half in (apart("accuracy", k=k, rho=0.05) for k in DRAWS))
    change = {score: apart(score, rho=5.0) for score in ("train_loss", "loss")}
    words = (
        f"{WHERE}, three seeds: from 1 to 16 draws the end "
        f"{'cannot be told from' if same else 'is not always'} SGD's; at a radius of 5 the training loss is "
        f"{change['train_loss'][0]:+.2f} ± {change['train_loss'][1]:.2f} from SGD's, the test loss "
        f"{change['loss'][0]:+.2f} ± {change['loss'][1]:.2f}."
    )
    moved = all(abs(mean) > half for mean, half in change.values())
    return trained(graded(same and moved, same or moved), words, *by_draws(*DRAWS), lenet("LSAM", k=1, rho=5.0))


# ---- the claims: planes ----------------------------------------------------------------------------------------------


def pictured(verdict: str, words: str) -> Finding:
    """The finding from the four planes."""
    return Finding(verdict, words, scale(planes()), planes())


def half_a_filter_away() -> tuple[dict[str, float], str]:
    """The training loss there around each of the four solutions, and in words."""
    found = {name: height(r, 0.5) for name, r in zip(("SGD", "SAM", "LSAM at 0.05", "LSAM at 5"), planes(), strict=True)}
    return found, ", ".join(f"{name} {v:.2f}" for name, v in found.items())


def flatter() -> Finding:
    """At a radius of the paper, half a filter's length away, the loss is lower than SGD's and than SAM's by 2%."""
    found, told = half_a_filter_away()
    words = f"Training loss half a filter's length from the solution, on filter-normalized planes of one network: {told}."
    return pictured(of_all(found["LSAM at 0.05"] < 0.98 * found[other] for other in ("SGD", "SAM")), words)


def broader_than_sgd() -> Finding:
    """There the loss is lower than SGD's by 2%, at a radius of the paper and at a hundred times that."""
    found, told = half_a_filter_away()
    words = f"On planes of the same filter-normalized directions, training loss half a filter's length away: {told}."
    return pictured(of_all(found[name] < 0.98 * found["SGD"] for name in ("LSAM at 0.05", "LSAM at 5")), words)


def sgd_lower_and_sharper() -> Finding:
    """SGD's training loss is lower than SAM's and wide LSAM's, its surroundings narrower, its test scores worse."""
    sgd, sam, _, wide = planes()
    low = all(height(sgd, 0) < height(other, 0) for other in (sam, wide))
    narrow = all(height(sgd, 0.5) > height(other, 0.5) for other in (sam, wide))
    final = [r["result"]["final"] for r in (sgd, sam, wide)]
    worse_loss, worse_accuracy = (
        all(sign * final[0][score] > sign * other[score] for other in final[1:])
        for score, sign in (("loss", 1), ("accuracy", -1))
    )
    losses = ", ".join(f"{height(r, 0):.2f}" for r in planes())
    tests = ", ".join(f"{f['loss']:.2f} and {f['accuracy']:.1%}" for f in final)
    words = (
        f"Training loss of SGD, SAM, LSAM at 0.05 and at 5: {losses}; half a filter's length away: "
        f"{half_a_filter_away()[1]}. Test loss and accuracy of SGD, SAM and LSAM at 5: {tests}."
    )
    return pictured(of_all([low, narrow, worse_loss, worse_accuracy]), words)


# ---- the claims: gradients -------------------------------------------------------------------------------------------


def measured(verdict: str, words: str, *more: Record) -> Finding:
    """The finding from the gradients of ResNet-20."""
    c = gradients()["config"]
    size = f"ResNet-20 on CIFAR-10, at the initialization and after {c['steps'][-1]} steps, 1 seed"
    return Finding(verdict, words, "; ".join([size, scale(more)]) if more else size, [gradients(), *more])


def draws_improve_gradient() -> Finding:
    """The random part of the change falls like one over root k, to 3%, and trainings get calmer by a third."""
    every = [balls(state)[rho] for state in states() for rho in RADII]
    falls = all(abs(b["change"][str(k)] / expected_change(b, k) - 1) < 0.03 for b in every for k in DRAWS)
    cells = by_draws(*DRAWS)
    calmer = min(map(jumps, cells[1:])) < jumps(cells[0]) / 1.5
    one, *more = (f"{100 * share(states()[0], 0.05, k):.1f}" for k in DRAWS)
    words = (
        f"At rho = 0.05 2, 3, 4, 8 and 16 draws in place of one take the change of the gradient from {one}% of another "
        f"minibatch's to {', '.join(more)}%: its random part {'falls' if falls else 'does not fall'} like 1 / sqrt(k), "
        "the rest is common to all draws. Trainings of LeNet5 with 1 to 16 draws jump by "
        f"{span(map(jumps, cells))} points from epoch to epoch, SGD by {jumps(lenet('plain')):.2f}."
    )
    return measured(of_all([falls, calmer]), words, *(r for cell in cells for r in cell.values()))


def rho_trades() -> Finding:
    """While the systematic change grows with the radius, the random one falls."""
    start = states()[0]
    random = [math.sqrt(b["change"]["1"] ** 2 - b["systematic"]) / start["noise"] for b in start["balls"]]
    rhos = [b["rho"] for b in start["balls"]]
    falls = [b < a for a, b in itertools.pairwise(random)]
    words = (
        f"The noise of the draws {'falls' if all(falls) else 'grows'} with rho, while the bias grows: it is "
        f"{random[0]:.0%} of another minibatch's at {rhos[0]:g} and {random[-1]:.0%} at {rhos[-1]:g}."
    )
    return measured(graded(all(falls), any(falls)), words)


# ---- the claims: the text against its table --------------------------------------------------------------------------


def read(verdict: str, words: str) -> Finding:
    """The finding from the paper alone."""
    return Finding(verdict, f"In the paper's own table {words}.", "the paper's Table 1", [])


def gain_cifar10() -> Finding:
    """1.6 points over SAM with ResNet-20 and 1.64 with ResNet-56."""
    gains = [over("SAM", column) for column in (0, 1)]
    words = f"LSAM gains {gains[0]:.2f} over SAM with ResNet-20 and {gains[1]:.2f} with ResNet-56"
    return read(of_all(abs(gain - told) < 0.006 for gain, told in zip(gains, (1.6, 1.64), strict=True)), words)


def gain_cifar100() -> Finding:
    """11.07 points with ResNet-20 and 6.11 with ResNet-56, over one and the same method; in part if over two."""
    first, second = ([name for name in table("accuracy") if over(name, c) == told] for c, told in ((5, 11.07), (6, 6.11)))
    words = f"11.07 is the gain over {' and '.join(first)}, 6.11 the one over {' and '.join(second)}"
    return read(graded(bool(set(first) & set(second)), bool(first or second)), words)


def pyramidnet_matches() -> Finding:
    """No other method is above LSAM."""
    column, means = 4, table("accuracy")
    above = [name for name in means if over(name, column) < 0]
    told = ", ".join(f"{name} ({means[name][column]:.2f})" for name in above)
    return read(graded(not above), f"{means['LSAM'][column]:.2f} is below {told}")


def lower_variance() -> Finding:
    """No other method has a lower deviation, in any column."""
    beaten = [column for column in range(10) if steadier(column)]
    return read(graded(not beaten), f"another method has the lower deviation in {len(beaten)} of 10 columns")


# ---- the claims: the saddle of another paper --------------------------------------------------------------------------


def sam_is_held_by_saddles() -> Finding:
    """On Lucchi's function the saddle holds more of SAM's starts than of gradient descent's, at every radius."""
    sam, gd = success_rates.at_the_saddle("SAM"), success_rates.gd_at_the_saddle()
    words = (
        "The saddle of Lucchi's function attracts every start of SAM within rho along its direction of negative curvature, "
        "and a start of gradient descent only on a curve: at eta = 0.1 and rho = 0.05, 0.1, 0.2 and 0.5 it holds "
        f"{success_rates.shares_held('SAM')} of SAM's starts, {gd:.0%} of gradient descent's. Both take the whole gradient."
    )
    return success_rates.concluded(of_all(held > gd for held in sam), words)


CLAIMS = {
    "lsam/background-sam-saddles": sam_is_held_by_saddles,
    "lsam/moderate-k-suffices": moderate_k_suffices,
    "lsam/optimal-radius": optimal_radius,
    "lsam/figure-8-k-one-suffices": one_draw_suffices,
    "lsam/figure-8-k-reduces-noise": draws_reduce_noise,
    "lsam/roles-of-rho-and-k": roles_of_rho_and_k,
    "lsam/summary-flatter": flatter,
    "lsam/figure-1-landscape": broader_than_sgd,
    "lsam/sgd-lower-training-loss": sgd_lower_and_sharper,
    "lsam/samples-improve-gradient": draws_improve_gradient,
    "lsam/rho-trades-bias-variance": rho_trades,
    "lsam/gain-cifar10": gain_cifar10,
    "lsam/gain-cifar100": gain_cifar100,
    "lsam/cifar10-pyramidnet-matches": pyramidnet_matches,
    "lsam/lower-variance": lower_variance,
}
