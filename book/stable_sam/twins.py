"""Twins of Figures 5 to 7: the pairs on record, what they say of the figures' claims."""

from __future__ import annotations

import collections
import functools
import math
import statistics
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from book.finding import RESULTS, Finding, graded, of_all, scale, span
from flatlab.runs import records
from flatlab.stats.intervals import student

METHODS = {"plain": "SGD", "SAM": "SAM", "StableSAM": "StableSAM"}
NETWORKS = {"fcn": "the fully connected network", "lenet5": "LeNet"}
SETTINGS = {
    "constant": {"schedule": "constant", "weight_decay": 0.0},
    "decay": {"schedule": "constant", "weight_decay": 5e-4},
    "cosine": {"schedule": "cosine", "weight_decay": 0.0},
}
"""Of Figures 5, 6 and 7."""
SEEDS = (1, 42, 123)
"""Those of the pairs at a constant rate; the others have the first."""
NUDGE = 1e-6


class Pair(NamedTuple):
    """A pair's record: `distances` from the start on, all else after every epoch."""

    record: dict[str, Any]

    @property
    def distances(self) -> list[float]:
        """The normalized distance of the twins."""
        return [d["distance"] for d in self.record["result"]["distances"]]

    @property
    def errors(self) -> list[float]:
        """The generalization error: loss on the test set less that on the training set."""
        return [c["loss"] - c["whole_train_loss"] for c in self.record["result"]["curves"]]

    @property
    def accuracy_gaps(self) -> list[float]:
        """Training accuracy less test accuracy."""
        return [c["whole_train_accuracy"] - c["accuracy"] for c in self.record["result"]["curves"]]

    @property
    def tandem(self) -> float:
        """The correlation of distance and generalization error over the epochs."""
        return statistics.correlation(self.distances[1:], self.errors)

    @property
    def tandem_by_accuracy(self) -> float:
        """The correlation of distance and accuracy gap over the epochs."""
        return statistics.correlation(self.distances[1:], self.accuracy_gaps)


def apart(pair: Pair) -> float:
    """The distance in the end."""
    return pair.distances[-1]


def error(pair: Pair) -> float:
    """The generalization error in the end."""
    return pair.errors[-1]


def accuracy_gap(pair: Pair) -> float:
    """The accuracy gap in the end."""
    return pair.accuracy_gaps[-1]


@functools.cache
def twins(network, method="plain", seed=1, setting="constant", identical=False, nudge=None) -> Pair:
    """One pair of 60 epochs."""
    named = {"network": network, "method": method, "seed": seed, "identical": identical, "nudge": nudge, "epochs": 60}
    return Pair(records.only(RESULTS, "twins", **named, **SETTINGS[setting]))


def ends(network: str, what: Callable[[Pair], float], setting: str = "constant") -> dict[str, list[float]]:
    """A number of every pair of a setting, a list over its seeds for each method."""
    seeds = SEEDS if setting == "constant" else SEEDS[:1]
    return {m: [what(twins(network, m, seed, setting)) for seed in seeds] for m in METHODS}


def orders(network: str, what: Callable[[Pair], float], setting: str = "constant") -> list[list[str]]:
    """The methods from the largest number to the smallest, for each seed."""
    by_method = ends(network, what, setting)
    return [sorted(METHODS, key=lambda m, k=k: -by_method[m][k]) for k in range(len(by_method["plain"]))]


def farthest(network: str, setting: str = "constant") -> set[str]:
    """The methods whose twins end farthest apart with some seed."""
    return {order[0] for order in orders(network, apart, setting)}


def spread_of_seeds(network: str) -> list[float]:
    """For each method, the range of its distances over seeds relative to their mean."""
    return [(max(v) - min(v)) / statistics.mean(v) for v in ends(network, apart).values()]


def pairs() -> list[dict[str, Any]]:
    """The records of all pairs with another example."""
    return records.find(RESULTS, "twins", identical=False)


def controls() -> list[dict[str, Any]]:
    """The records of SGD's twins whose training sets are the same, nudged or not."""
    return records.find(RESULTS, "twins", identical=True, method="plain")


def nudged_ratios() -> list[float]:
    """Distance of SGD's twins with a nudge over that with another example, after 5, 10, 30 and 60 epochs."""
    kinds = [("fcn", "constant"), ("fcn", "decay"), ("fcn", "cosine"), ("lenet5", "constant")]
    both = [(twins(n, setting=s, identical=True, nudge=NUDGE), twins(n, setting=s)) for n, s in kinds]
    return [nudged.distances[k] / other.distances[k] for nudged, other in both for k in (5, 10, 30, 60)]


NUDGED = ("SAM", "StableSAM")
NUDGED_SEEDS = {"fcn": (1, 42), "lenet5": SEEDS}
"""Of the nudged pairs of these methods."""
SHORT = 2
"""Epochs that each of them has at least. At a constant rate they are the first of a longer run."""


@functools.cache
def nudged(network: str, method: str) -> dict[int, Pair]:
    """The nudged pairs of SAM or StableSAM, by seed. Raises `LookupError` unless they have the seeds that they should."""
    asked = {"network": network, "method": method, "identical": True, "nudge": NUDGE, **SETTINGS["constant"]}
    found = {r["config"]["seed"]: Pair(r) for r in records.find(RESULTS, "twins", **asked)}
    if set(found) != set(NUDGED_SEEDS[network]):
        told = f"nudged twins of {method} on {network} have the seeds {sorted(found)}"
        raise LookupError(f"{told}, wanted {NUDGED_SEEDS[network]}")
    return found


def short_records() -> list[dict[str, Any]]:
    """The records of all nudged pairs of SAM and StableSAM."""
    return [pair.record for n in NETWORKS for m in NUDGED for pair in nudged(n, m).values()]


def amplified(network: str, method: str, epoch: int = SHORT) -> list[float]:
    """Distance after an epoch with a nudge over that with another example, seed by seed."""
    pairs = nudged(network, method)
    return [pairs[seed].distances[epoch] / twins(network, method, seed).distances[epoch] for seed in NUDGED_SEEDS[network]]


def below(what: Callable[[Pair], float]) -> bool:
    """Whether StableSAM's number is below SAM's with both networks and every seed."""
    found = [ends(network, what) for network in NETWORKS]
    return all(s < a for by in found for s, a in zip(by["StableSAM"], by["SAM"], strict=True))


def amplification() -> tuple[float, float, float]:
    """The geometric mean of `amplified` on LeNet over both methods and the seeds, and its 95% interval over seeds."""
    by_seed = zip(*(amplified("lenet5", m) for m in NUDGED), strict=True)
    mean, half = student([statistics.fmean(map(math.log, ratios)) for ratios in by_seed])
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def example_counts() -> bool:
    """Whether another example parts twins of SAM and StableSAM at least twice as far as a nudge does, for certain."""
    return amplification()[2] < 0.5


# ---- words -----------------------------------------------------------------------------------------------------------


def percent(values: Iterable[float]) -> str:
    """Shares from the least to the largest, in percent."""
    return span([100 * v for v in values], ".0f") + "%"


def by_method(network: str, what: Callable[[Pair], float], form: str, setting: str = "constant") -> str:
    """A number of the three methods."""
    return ", ".join(f"{METHODS[m]} {span(v, form)}" for m, v in ends(network, what, setting).items())


def names(methods: Iterable[str]) -> str:
    """The twins of these methods."""
    return " or ".join(sorted(f"{METHODS[m]}'s" for m in methods))


def means(what: Callable[[Pair], float], digits: int) -> str:
    """StableSAM's and SAM's means over seeds for both networks, and the difference seed by seed with its 95% half-width."""
    words = []
    for network, name in NETWORKS.items():
        by = ends(network, what)
        one, other = (f"{statistics.mean(by[m]):.{digits}f}" for m in ("StableSAM", "SAM"))
        mean, half = student([s - a for s, a in zip(by["StableSAM"], by["SAM"], strict=True)])
        words.append(f"with {name} {one} against {other}, by {mean:+.{digits}f} ± {half:.{digits}f}")
    return "; ".join(words)


def by_a_nudge() -> str:
    """How much farther than another example a nudge parts twins of SAM and StableSAM."""
    lenet = "{:.2f} [{:.2f}, {:.2f}]".format(*amplification())
    fcn = span([ratio for m in NUDGED for ratio in amplified("fcn", m)])
    return (
        f"{lenet} times as far as another example with LeNet ({SHORT} epochs, mean and 95% interval over three seeds) and "
        f"{fcn} times with the fully connected network (two seeds)"
    )


def in_words() -> dict[str, str]:
    """The numbers in the chapter's sentences, by the names under which the page asks for them."""
    fcn, lenet = ({what: ends(n, what) for what in (apart, error)} for n in NETWORKS)
    less = lambda what: [1 - s / a for s, a in zip(lenet[what]["StableSAM"], lenet[what]["SAM"], strict=True)]  # noqa: E731
    decayed = {n: {what: changes(what, "decay", n) for what in (apart, error)} for n in NETWORKS}
    first, second = (twins("fcn", identical=True, nudge=NUDGE).distances[epoch] for epoch in (0, 1))
    numbers = {
        "fcn-sam": span(fcn[apart]["SAM"], ".3f"),
        "fcn-others": span(fcn[apart]["plain"] + fcn[apart]["StableSAM"], ".3f"),
        "fcn-errors": " against ".join(f"{statistics.mean(fcn[error][m]):.3f}" for m in ("SAM", "plain")),
        **{f"lenet-{m.lower()}": span(lenet[apart][m]) for m in METHODS},
        "lenet-closer": percent(less(apart)),
        "lenet-larger": percent([-v for v in less(error)]),
        "fcn-seeds": percent(spread_of_seeds("fcn")),
        "lenet-seeds": percent(spread_of_seeds("lenet5")),
        "settled": f"{sum(order[-1] == 'plain' for order in orders('lenet5', settled_accuracy_gap))} of {len(SEEDS)}",
        "decay-farther": span(decayed["fcn"][apart], ".1f"),
        "decay-tandem": span([twins("fcn", m, setting="decay").tandem for m in METHODS]),
        "decay-fcn-error": percent([1 - f for f in decayed["fcn"][error]]),
        "decay-most": f"{100 * max(abs(f - 1) for f in decayed['lenet5'][apart]):.0f}%",
        "decay-error": percent([1 - f for f in decayed["lenet5"][error]]),
        "cosine-shorter": percent([1 - f for n in NETWORKS for f in changes(apart, "cosine", n)]),
        "nudge-lenet": "{:.1f} [{:.1f}, {:.1f}]".format(*amplification()),
        "nudge-others": span([r for n in NETWORKS for m in NUDGED for r in amplified(n, m)], ".1f"),
        "nudge-first": f"{first:.0e}".replace("e-08", " · 10⁻⁸"),
        "nudge-second": f"{second:.0e}".replace("e-03", " · 10⁻³"),
    }
    return {f"twins-{name}": text for name, text in numbers.items()}


# ---- the claims ------------------------------------------------------------------------------------------------------


def concluded(verdict: str, words: str, *settings: str, more: list[dict[str, Any]] | None = None) -> Finding:
    """The finding from all pairs of these settings, from SGD's controls, and from more records."""
    kinds = [(n, m, s) for s in settings for n in NETWORKS for m in METHODS]
    used = [twins(n, m, seed, s).record for n, m, s in kinds for seed in (SEEDS if s == "constant" else SEEDS[:1])]
    size = f"{scale(used)}; with a nudge {SHORT} epochs, 2 and 3 seeds" if more else scale(used)
    return Finding(verdict, words, size, [*used, *controls(), *(more or [])])


def tandem() -> Finding:
    """Correlation above 0.9 in every pair."""
    found = [twins(n, m, seed).tandem for n in NETWORKS for m in METHODS for seed in SEEDS]
    words = f"Correlation {span(found)} over the 60 epochs of a pair. Both grow from zero as training goes on."
    return concluded(of_all(r > 0.9 for r in found), words, "constant")


def sgd_parts_fastest() -> Finding:
    """SGD's twins end farther apart than any of the others', whatever the seeds."""
    parts, words = [], []
    for network, name in NETWORKS.items():
        found = ends(network, apart)
        parts.append(min(found["plain"]) > max(found["SAM"] + found["StableSAM"]))
        digits = ".2f" if network == "lenet5" else ".3f"
        ends_at = by_method(network, apart, digits)
        words.append(f"with {name} {names(farthest(network))} twins end farthest apart ({ends_at})")
    return concluded(of_all(parts), f"With three seeds, after 60 epochs: {'; '.join(words)}.", "constant")


def stable_less_sensitive() -> Finding:
    """StableSAM's twins stay closer than SAM's with every seed, and it is the example that parts them."""
    closer, counts = below(apart), example_counts()
    words = (
        f"Mean distance of StableSAM's and SAM's twins, three seeds: {means(apart, 3)}; "
        f"{'closer' if closer else 'not closer'} with every seed. But a nudge of 1e-6 to one weight parts them "
        f"{by_a_nudge()}: after two epochs their distance {'shows' if counts else 'does not show'} the sensitivity to an "
        "example; beyond two epochs one seed alone, with LeNet, was followed, to the fifth."
    )
    return concluded(graded(closer and counts, closer), words, "constant", more=short_records())


def confirms_theory() -> Finding:
    """StableSAM's generalization error is smaller than SAM's with both networks, and the distance is the example's."""
    smaller, counts = below(error), example_counts()
    words = (
        f"StableSAM's generalization error is {'' if smaller else 'not '}consistently smaller than SAM's, three seeds: "
        f"{means(error, 3)}. And a nudge of 1e-6 parts their twins {by_a_nudge()}, SGD's "
        f"{span(nudged_ratios())} times (one seed, from the fifth to the 60th epoch): the distance shows how training "
        "amplifies any disturbance, which the theorems' strong convexity excludes."
    )
    return concluded(graded(smaller and counts), words, "constant", more=short_records())


def settled_error(pair: Pair) -> float:
    """The generalization error, mean of the last ten epochs."""
    return statistics.fmean(pair.errors[-10:])


def settled_accuracy_gap(pair: Pair) -> float:
    """The accuracy gap, mean of the last ten epochs: from one to the next LeNet's moves by a point and more."""
    return statistics.fmean(pair.accuracy_gaps[-10:])


def placed(found: list[list[str]], place: int) -> str:
    """The method at a place of the orders, and with how many of the seeds where they differ."""
    seeds = collections.Counter(METHODS[order[place]] for order in found).most_common()
    if len(seeds) == 1:
        return f"{seeds[0][0]}'s"
    return " or ".join(f"{name}'s ({k} of {len(found)} seeds)" for name, k in seeds)


def same_by_accuracy() -> Finding:
    """The accuracy gap goes with the distance over the epochs, at a correlation above 0.9, and orders the methods as the
    generalization error does over the last ten epochs."""
    course = {n: [twins(n, m, s).tandem_by_accuracy for m in METHODS for s in SEEDS] for n in NETWORKS}
    same, words = [], []
    for network, name in NETWORKS.items():
        both = orders(network, settled_error), orders(network, settled_accuracy_gap)
        same += [a == b for a, b in zip(*both, strict=True)]
        extremes = [placed(found, place) for found in both for place in (0, -1)]
        told = "the largest gap by loss is {} and the smallest {}, by accuracy they are {} and {}".format(*extremes)
        words.append(f"with {name} {told}")
    courses = " and ".join(f"{span(course[n])} with {name}" for n, name in NETWORKS.items())
    words = (
        f"Over the epochs of a pair the accuracy gap goes with the distance of the twins (correlation {courses}). The "
        f"order of the methods is another one. Over the last ten epochs, with three seeds: {'; '.join(words)}."
    )
    return concluded(of_all([*(min(found) > 0.9 for found in course.values()), all(same)]), words, "constant")


def seeds_agree() -> Finding:
    """The distances of three seeds differ by less than 3%; in part if the farthest twins are those of one method."""
    spreads = {network: spread_of_seeds(network) for network in NETWORKS}
    one = all(len(farthest(network)) == 1 for network in NETWORKS)
    closest = {network: {order[-1] for order in orders(network, apart)} for network in NETWORKS}
    words = "; ".join(
        f"with {name} by {percent(spreads[n])}, where the farthest apart are {names(farthest(n))} and the closest "
        f"{names(closest[n])}" for n, name in NETWORKS.items()
    )  # fmt: skip
    words = f"Three seeds differ in their distance {words}."
    return concluded(graded(max(sum(spreads.values(), [])) < 0.03, one), words, "constant")


def trends_stay(setting: str) -> list[bool]:
    """Whether the same twins are farthest apart as at a constant rate, and distance and error still in tandem."""
    same = [farthest(network, setting) == farthest(network) for network in NETWORKS]
    return same + [min(twins(n, m, setting=setting).tandem for m in METHODS) > 0.9 for n in NETWORKS]


def told_of(setting: str) -> str:
    """The farthest twins and the correlation, network by network."""
    return "; ".join(
        f"with {name} {names(farthest(n, setting))} twins end farthest apart, correlation of distance and error "
        f"{span([twins(n, m, setting=setting).tandem for m in METHODS])}" for n, name in NETWORKS.items()
    )  # fmt: skip


def changes(what: Callable[[Pair], float], setting: str, network: str) -> list[float]:
    """What a setting makes of the number that a constant rate gives, seed 1, as a factor for each method."""
    return [what(twins(network, m, setting=setting)) / what(twins(network, m)) for m in METHODS]


def weight_decay() -> Finding:
    """Figure 6."""
    words = "; ".join(
        f"with {name} times {span(changes(apart, 'decay', n))} and {span(changes(error, 'decay', n))}"
        for n, name in NETWORKS.items()
    )
    words = f"One seed: {told_of('decay')}. Against no decay, distance and generalization error change {words}."
    return concluded(of_all(trends_stay("decay")), words, "decay")


def cosine() -> Finding:
    """Figure 7."""
    shorter = [1 - f for n in NETWORKS for f in changes(apart, "cosine", n)]
    every = apart, error, accuracy_gap
    agree = [name for n, name in NETWORKS.items() if all(orders(n, what, "cosine") == [list(METHODS)] for what in every)]
    all_three = f"Distance, error and accuracy gap all fall from SGD to StableSAM with {' and '.join(agree)}."
    words = f"One seed: {told_of('cosine')}. The distances are {percent(shorter)} shorter than at a constant rate."
    return concluded(of_all(trends_stay("cosine")), f"{words} {all_three}" if agree else words, "cosine")


CLAIMS = {
    "stable-sam/figure-5-tandem": tandem,
    "stable-sam/figure-5-sgd-diverges-fastest": sgd_parts_fastest,
    "stable-sam/figure-5-stable-less-sensitive": stable_less_sensitive,
    "stable-sam/figure-5-confirms-theory": confirms_theory,
    "stable-sam/figure-5-accuracy-gap": same_by_accuracy,
    "stable-sam/figure-5-seeds-agree": seeds_agree,
    "stable-sam/figure-6-weight-decay": weight_decay,
    "stable-sam/figure-7-cosine-schedule": cosine,
}
