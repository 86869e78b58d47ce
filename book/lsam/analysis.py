"""LSAM: planes around solutions and gradients of ResNet-20; the verdicts that follow from these and all other records."""

from __future__ import annotations

import functools
import itertools
import math
import statistics
from typing import Any

from book.finding import RESULTS, Finding, graded, of_all, scale, span
from book.lsam import cifar100, rates, said, trainings
from book.lsam.trainings import (
    DRAWS,
    RADII,
    SETTING,
    Record,
    apart,
    by_draws,
    difference,
    fluctuates_less,
    fluctuations,
    lenet,
    mean_of,
    points,
    trained,
)  # fmt: skip
from book.stable_sam import success_rates
from flatlab.runs import records

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


def at_small_radii() -> dict[str, str]:
    """Of the gradients and losses of ResNet-20 at the paper's radii."""
    near = [balls(state)[rho] for state in states() for rho in RADII]
    shares = [100 * share(state, rho, k) for state in states() for rho in RADII for k in DRAWS]
    draws = [ball["loss_spread"]["1"] for ball in near]
    *fewer, most = (f"{100 * share(states()[0], 0.05, k):.1f}" for k in DRAWS[1:])
    return {
        "noise-share": span(shares, ".0f"),
        "more-draws": f"{', '.join(fewer)} and {most}",
        "loss-noise": span(state["loss_noise"] for state in states()),
        "draw-least": f"{min(draws):.5f}",
        "draw-most": f"{max(draws):.4f}",
        "loss-rise": f"{max(ball['loss_change'] for ball in near):.5f}",
        "loss-error": f"{max(ball['loss_change_error'] for ball in near):.5f}",
    }


def in_words() -> dict[str, str]:
    """Of the trainings, the gradients and the paper's table, by the names under which the page asks for them."""
    start, later = states()
    at_the_papers = [100 * apart("accuracy", rho=rho)[0] for rho in RADII]
    with_draws = [100 * apart("accuracy", k=k, rho=0.05)[0] for k in DRAWS]
    one, *_, most = by_draws(*DRAWS)
    sgd, _, near, _ = map(surface, planes())
    sam = [balls(state)[0.05]["sam_change"] / state["noise"] for state in (start, later)]
    numbers = {
        "half": f"{share(start, 0.05):.0%}",
        "half-later": f"{share(later, 0.05):.0%}",
        "most": " and ".join(f"{share(state, 0.15):.0%}" for state in (start, later)),
        "sam": " and ".join(f"{v:.0%}" for v in sam),
        "far": " and ".join(f"{share(state, 5.0):.0%}" for state in (start, later)),
        "radii-gain": span(at_the_papers, ".1f"),
        "radii-loss": f"{max(abs(apart('loss', rho=rho)[0]) for rho in RADII):.3f}",
        "draws-below": f"{-min(with_draws):.1f}",
        "draws-above": f"{max(with_draws):.1f}",
        "one-draw": f"{mean_of(fluctuations(one)):.2f}",
        "calmer": f"{fluctuates_less(most, one)[1]:.1f}",
        "far-train-loss": f"{apart('train_loss', rho=5.0)[0]:.2f}",
        "far-test-loss": f"{-apart('loss', rho=5.0)[0]:.2f}",
        "farthest": f"{-100 * apart('accuracy', rho=10.0)[0]:.1f}",
        "alike": f"{max(abs(ours / theirs - 1) for ours, theirs in zip(near, sgd, strict=True)):.1%}",
        "wide": f"{height(plane('LSAM', 5.0), 0.5):.1f}",
        "wide-sgd": f"{height(plane('plain'), 0.5):.1f}",
        "table-cifar10": f"{said.over('SGD', 0):.1f}",
        "table-cifar100": f"{said.over('SGD', 5):.1f}",
    }
    return {f"lsam-{name}": text for name, text in (numbers | at_small_radii()).items()}


# ---- the claims: planes ----------------------------------------------------------------------------------------------


def pictured(verdict: str, words: str) -> Finding:
    """The finding from the four planes."""
    return Finding(verdict, words, scale(planes()), planes())


def half_a_filter_away() -> str:
    """The training loss there around each of the four solutions, in words."""
    names = ("SGD", "SAM", "LSAM at 0.05", "LSAM at 5")
    return ", ".join(f"{name} {height(r, 0.5):.2f}" for name, r in zip(names, planes(), strict=True))


def flatter_than(*others: str) -> Finding:
    """The loss rises less over half a filter's length than around these solutions, by 2%, at 0.05 and at 5."""
    found = rises()
    told = ", ".join(f"{name} {v:.2f}" for name, v in found.items())
    parts = {name: all(found[name] < 0.98 * found[other] for other in others) for name in ("LSAM at 0.05", "LSAM at 5")}
    answers = ", ".join(f"{name} {'is' if flat else 'is not'} the flatter one" for name, flat in parts.items())
    words = (
        "Rise of the training loss over half a filter's length from the solution, on planes of the same filter-normalized "
        f"directions: {told}. By this {answers}. One seed each; a difference of 2% counts."
    )
    return pictured(of_all(parts.values()), words)


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
        f"{half_a_filter_away()}. Test loss and accuracy of SGD, SAM and LSAM at 5: {tests}. One seed each."
    )
    return pictured(of_all([low, narrow, worse_loss, worse_accuracy]), words)


def rises() -> dict[str, float]:
    """By how much the training loss rises over half a filter's length, around each of the four solutions."""
    names = ("SGD", "SAM", "LSAM at 0.05", "LSAM at 5")
    return {name: height(r, 0.5) - height(r, 0) for name, r in zip(names, planes(), strict=True)}


def average_calms() -> Finding:
    """The loss rises less around LSAM's solutions than around SGD's, by 2%, at a radius of the paper and far beyond."""
    found = rises()
    told = ", ".join(f"{name} {v:.2f}" for name, v in found.items())
    words = f"Rise of the training loss over half a filter's length from the solution, same plane: {told}. One seed each."
    return pictured(of_all(found[name] < 0.98 * found["SGD"] for name in ("LSAM at 0.05", "LSAM at 5")), words)


def calm_generalizes() -> Finding:
    """Where the loss rises less than around SGD's solution, by 2%, three seeds have the lower test loss and the higher
    accuracy for certain.
    """
    found, final = rises(), [r["result"]["final"] for r in planes()]
    every = {"SAM": lenet("SAM"), "LSAM at 0.05": lenet("LSAM", k=1, rho=0.05), "LSAM at 5": lenet("LSAM", k=1, rho=5.0)}
    cells = {name: cell for name, cell in every.items() if found[name] < 0.98 * found["SGD"]}
    losses, accuracies = ({n: difference(c, score) for n, c in cells.items()} for score in ("loss", "accuracy"))
    lower = bool(cells) and all(mean < -half for mean, half in losses.values())
    higher = bool(cells) and all(mean > half for mean, half in accuracies.values())
    over_seeds = "; ".join(
        f"{n} {losses[n][0]:+.2f} ± {losses[n][1]:.2f} and {points(*accuracies[n])} points" for n in cells
    )
    told = ", ".join(
        f"{name} {rise:.2f}, {f['loss']:.2f} and {f['accuracy']:.1%}"
        for (name, rise), f in zip(found.items(), final, strict=True)
    )
    words = (
        f"Rise of the training loss over half a filter's length, test loss and accuracy of one seed: {told}. Over three "
        f"seeds test loss and accuracy less SGD's are: {over_seeds}. As the best of nine radii LSAM's lower test loss is "
        "not certain (see lsam/optimal-radius)."
    )
    return pictured(of_all([lower, higher]), words)


# ---- the claims: gradients -------------------------------------------------------------------------------------------


def measured(verdict: str, words: str, *more: Record) -> Finding:
    """The finding from the gradients of ResNet-20."""
    c = gradients()["config"]
    size = f"ResNet-20 on CIFAR-10, at the initialization and after {c['steps'][-1]} steps, 1 seed"
    return Finding(verdict, words, "; ".join([size, scale(more)]) if more else size, [gradients(), *more])


def draws_improve_gradient() -> Finding:
    """The random part of the change falls like one over root k, to 3%, and trainings get calmer, for certain."""
    every = [balls(state)[rho] for state in states() for rho in RADII]
    falls = all(abs(b["change"][str(k)] / expected_change(b, k) - 1) < 0.03 for b in every for k in DRAWS)
    cells = by_draws(*DRAWS)
    less, half = fluctuates_less(cells[-1], cells[0])
    one, *more = (f"{100 * share(states()[0], 0.05, k):.1f}" for k in DRAWS)
    words = (
        "At rho = 0.05 and at the initialization, more draws than one, 2, 3, 4, 8 and 16, take the change of the gradient "
        f"from {one}% of another minibatch's to {', '.join(more)}%: its random part "
        f"{'falls' if falls else 'does not fall'} like 1 / sqrt(k), the rest is common to all draws. In trainings of "
        f"LeNet5 {fluctuation_in_words(cells)}; 16 draws are calmer than one by {less:.2f} ± {half:.2f}."
    )
    return measured(of_all([falls, less > half]), words, *(r for cell in cells for r in cell.values()))


def fluctuation_in_words(cells: list[dict[int, Record]]) -> str:
    """How much the accuracy of trainings fluctuates, and SGD's."""
    told = span([mean_of(fluctuations(cell)) for cell in cells])
    return (
        f"the accuracy goes up and down, beside its rise, by {told} points an epoch with 1 to {DRAWS[-1]} draws, "
        "with SGD by "
        f"{mean_of(fluctuations(lenet('plain'))):.2f}"
    )


def rho_trades() -> Finding:
    """While the systematic change grows with the radius, the random one falls."""
    start = states()[0]
    random = [math.sqrt(b["change"]["1"] ** 2 - b["systematic"]) / start["noise"] for b in start["balls"]]
    rhos = [b["rho"] for b in start["balls"]]
    falls = [b < a for a, b in itertools.pairwise(random)]
    words = (
        f"The bias grows with rho, and the noise of the draws {'falls' if all(falls) else 'grows, too'}: it is "
        f"{random[0]:.0%} of another minibatch's at {rhos[0]:g} and {random[-1]:.0%} at {rhos[-1]:g}, at the "
        "initialization."
    )
    return measured(graded(all(falls), any(falls)), words)


def draws_reduce_noise() -> Finding:
    """The draws move the gradient less with k, and the curves are calmer at 16 draws than at one, for certain."""
    falls = all(share(state, 0.05, 16) < share(state, 0.05, 1) for state in states())
    cells = by_draws(*DRAWS)
    less, half = fluctuates_less(cells[-1], cells[0])
    words = (
        "The noise of the draws falls with k, but at rho = 0.05 it is small beside that of the minibatches. With LeNet5 on "
        f"10,000 images of CIFAR-10 (three seeds) {fluctuation_in_words(cells)}; 16 draws are calmer than one by "
        f"{less:.2f} ± {half:.2f}."
    )
    return trained(graded(falls and less > half, falls or less > half), words, *cells, more=(gradients(),))


# ---- the claims: the saddle of another paper --------------------------------------------------------------------------


def sam_is_held_by_saddles() -> Finding:
    """In part: on Lucchi's function the saddle holds more of SAM's starts than of gradient descent's, which is not SGD."""
    sam, gd = success_rates.at_the_saddle("SAM"), success_rates.gd_at_the_saddle()
    words = (
        "The saddle of Lucchi's function attracts every start of SAM within rho on its direction of negative curvature, "
        "and a start of gradient descent only on a curve: at eta = 0.1 and rho = 0.05, 0.1, 0.2 and 0.5 it holds "
        f"{success_rates.shares_held('SAM')} of SAM's starts, {gd:.0%} of gradient descent's. Both take the whole gradient."
    )
    return success_rates.concluded(graded(False, all(held > gd for held in sam)), words)


CLAIMS = (
    trainings.CLAIMS
    | rates.CLAIMS
    | cifar100.CLAIMS
    | said.CLAIMS
    | {
        "lsam/background-sam-saddles": sam_is_held_by_saddles,
        "lsam/figure-8-k-reduces-noise": draws_reduce_noise,
        "lsam/summary-flatter": functools.partial(flatter_than, "SGD", "SAM"),
        "lsam/figure-1-landscape": functools.partial(flatter_than, "SGD"),
        "lsam/sgd-lower-training-loss": sgd_lower_and_sharper,
        "lsam/low-oscillation-generalizes": calm_generalizes,
        "lsam/corollary-1-oscillation": average_calms,
        "lsam/samples-improve-gradient": draws_improve_gradient,
        "lsam/rho-trades-bias-variance": rho_trades,
    }
)
