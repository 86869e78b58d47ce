"""Figure 4: what its record says of the bound and of representativeness; the verdicts that follow."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from book.finding import HELD, Finding, graded, of_all, span
from book.relative_flatness.data_sets import record, studied
from book.relative_flatness.minima import plain
from flatlab.stats.intervals import student
from toy_problems.gaussian_features.flatness_and_gap import correlation

DELTA = 0.1
"""The bandwidth that the chapter draws; the paper's is not known."""


class Study(NamedTuple):
    """All data sets of a dimension and a bandwidth, shape (separations, data sets); the worst case by separation alone."""

    gap: Tensor
    split: Tensor
    held: Tensor
    true: Tensor
    worst: Tensor

    @property
    def representativeness(self) -> Tensor:
        """As it is known in the toy: the gap less feature robustness with true labels."""
        return self.gap - self.true

    @property
    def known(self) -> Tensor:
        """Its size."""
        return self.representativeness.abs()

    @property
    def bound(self) -> Tensor:
        """Its estimate by splits and kappa's term, `held`."""
        return self.split + self.held


def config() -> dict:
    """The settings of the record."""
    return record("representativeness")["config"]


@functools.cache
def study(m: int, delta: float = DELTA) -> Study:
    """One of them."""
    *columns, worst = zip(*(studied(m, s, delta) for s in config()["separations"]), strict=True)
    return Study(*map(torch.stack, columns), torch.tensor(worst, dtype=torch.float64))


def studies(*deltas: float) -> list[Study]:
    """In two dimensions, then in ten, at these bandwidths or at all."""
    return [study(m, delta) for m in config()["dimensions"] for delta in deltas or config()["deltas"]]


def narrow(most: float) -> list[float]:
    """The bandwidths up to this one."""
    return [delta for delta in config()["deltas"] if delta <= most]


def concluded(verdict: str, words: str) -> Finding:
    """The finding from the record."""
    c = config()
    size = (
        f"least squares on {' and '.join(map(str, c['dimensions']))} features, {c['sets']} data sets of {c['samples']} for "
        f"each of {len(c['separations'])} separations, {len(c['deltas'])} bandwidths"
    )
    return Finding(verdict, words, size, [record("representativeness")])


def inside(s: Study) -> float:
    """The share of the data sets in which the bound lies above the gap."""
    return (s.gap <= s.bound).double().mean().item()


def how_often() -> str:
    """The same for every bandwidth and dimension."""
    return span([100 * inside(s) for s in studies()], ".0f") + "% of the data sets, by delta and dimension"


def ratio(s: Study) -> float:
    """The median of the bound over the size of the gap."""
    return (s.bound / s.gap.abs()).median().item()


def least_ratio() -> float:
    """The least over bandwidths and dimensions."""
    return min(map(ratio, studies()))


def missed(s: Study) -> float:
    """The mean size of representativeness over that of the gap: by how much the loss around the samples misses it."""
    return (s.known.mean() / s.gap.abs().mean()).item()


def left(values: Tensor) -> float:
    """What is left at the largest separation of a mean over data sets at the smallest."""
    return (values.mean(1)[-1] / values.mean(1)[0]).item()


def falls(values: Tensor) -> bool:
    """Whether the mean over data sets is lower at the largest separation than at the smallest for certain."""
    mean, half = student((values[0] - values[-1]).tolist())
    return mean > half


def in_words() -> dict[str, str]:
    """The numbers in the chapter's sentences on the bound, its correlations and representativeness."""
    ties = [v for s in studies(DELTA) for v in correlation(s.bound, s.gap).tolist()]
    wide, ten = studies(config()["deltas"][-1]), study(10)
    numbers = {
        "holds": span([100 * inside(s) for s in studies()], ".0f"),
        "ratio": span(map(ratio, studies(DELTA)), ".1f"),
        "tie-least": plain(min(ties)),
        "tie-most": plain(max(ties)),
        "true-most": plain(max(correlation(s.true, s.gap).max().item() for s in studies())),
        "known": f"{ten.known.mean():.2f}",
        "distance": f"{least_distance():.2f}",
        "true-close": plain(correlation(wide[1].true, wide[1].gap)[0].item()),
        "held-close": plain(correlation(wide[1].held, wide[1].gap)[0].item()),
        "wide-tie": " and ".join(plain(knows(s)) for s in wide),
        "wide-ratio": " and ".join(f"{ratio(s):.0f}" for s in wide),
    }
    return {f"rf-bound-{name}": text for name, text in numbers.items()}


def least_distance() -> float:
    """The least L1 distance of density and estimate, at most 2, in ten dimensions and at the chapter's bandwidth."""
    k = config()["deltas"].index(DELTA)
    return min(p["distance"][k] for p in record("representativeness")["result"]["points"] if p["m"] == 10)


# ---- the bound ---------------------------------------------------------------------------------------------------------


def it_bounds() -> list[bool]:
    """Above nine gaps of ten whatever the bandwidth, and its median below twice the gap's size for one of them."""
    return [min(map(inside, studies())) > 0.9, least_ratio() < 2]


def knows(s: Study) -> float:
    """The correlation of bound and gap over data sets, mean over separations."""
    return correlation(s.bound, s.gap).mean().item()


def tight_bound() -> Finding:
    """Above nine gaps of ten for every bandwidth, and below twice the gap's size, by the median, for one of them."""
    words = (
        f"In the toy the sum lies above the gap in {how_often()}. Its median is {least_ratio():.1f} times the size of the "
        f"gap or more, {span(map(ratio, studies(DELTA)), '.1f')} times at delta = {DELTA:g}. At a given separation it does "
        f"not know the gap: there they correlate at {span(map(knows, studies(DELTA)))} at that delta. Over separations "
        "both fall."
    )
    return concluded(of_all(it_bounds()), words)


def figure_4_tight() -> Finding:
    """The same criterion."""
    two, ten = studies(DELTA)
    words = (
        f"It lies above the gap in {how_often()}. At delta = {DELTA:g} its median is {ratio(two):.1f} times the size of "
        f"the gap in two dimensions and {ratio(ten):.1f} in ten, at no delta less than {least_ratio():.1f}. At a given "
        f"separation its correlation with the gap is {knows(two):.2f} and {knows(ten):.2f} at that delta."
    )
    return concluded(of_all(it_bounds()), words)


def figure_4_falls() -> Finding:
    """For every bandwidth and dimension, for certain; in part for some."""
    lower = [falls(s.bound) for s in studies()]
    two, ten = (1 - left(s.bound) for s in studies(DELTA))
    wide = ""
    for m, name in ((2, "two"), (10, "ten")):
        if level := [f"{delta:g}" for delta in config()["deltas"] if not falls(study(m, delta).bound)]:
            wide += f" In {name} dimensions it does not fall at delta = {', '.join(level)}."
    low, high = config()["separations"][0], config()["separations"][-1]
    words = (
        f"At delta = {DELTA:g} it falls by {two:.0%} in two dimensions and by {ten:.0%} in ten, from separation {low:g} to "
        f"{high:g}, as every loss does.{wide}"
    )
    return concluded(of_all(lower), words)


def follows_from_representative_data() -> Finding:
    """By equation (5) and Theorem 5 where representativeness is zero; what the toy says, where it is not, stands beside
    it."""
    ten = study(10)
    above = (ten.gap <= ten.held).double().mean().item()
    words = (
        "It follows from equation (5) where representativeness is zero. In the toy it is not zero: at delta = "
        f"{DELTA:g} and in ten dimensions delta^2 / (2 m) kappa lies above the gap in {above:.0%} of the data sets."
    )
    return concluded(HELD, words)


# ---- representativeness ------------------------------------------------------------------------------------------------


def main_predictor() -> Finding:
    """An identity by its proof; how large representativeness is in the toy stands beside it."""
    least = min(map(missed, studies()))
    ends = torch.stack([study(2, delta).representativeness.mean(1)[-2:] for delta in config()["deltas"]])
    against = "of opposite sign to" if (ends < 0).all() else "not always of the sign of"
    words = (
        "As an identity, yes: without representativeness the gap is feature robustness. In the toy representativeness was "
        f"never small against the gap: at least {least:.1f} of its size for every delta, and in two dimensions {against} "
        "kappa's term where labels are locally constant."
    )
    return concluded(HELD, words)


def loss_around_the_samples() -> Finding:
    """An identity by its proof; how far the loss around the samples misses the gap in the toy stands beside it."""
    found = [missed(s) for s in studies()]
    words = (
        "As an identity it holds: the gap is representativeness and the mean change of the loss around the samples. Its "
        "premise is false in the toy, where that change misses the gap by "
        f"{min(found):.1f} of its size or more at every delta."
    )
    return concluded(HELD, words)


def flatness_is_the_gap() -> Finding:
    """At the two largest separations, where labels are constant, kappa's term is within a tenth of the gap by the median at
    some bandwidth, and follows it over data sets with a correlation above 0.9. In part otherwise: by equation (5) and
    Theorem 5 it holds for representative data, which those of the toy are not."""
    far = slice(-2, None)
    off = min(((s.held - s.gap).abs() / s.gap.abs())[far].median().item() for s in studies())
    follows = [correlation(s.held, s.gap)[far].mean().item() for s in studies(DELTA)]
    least = min((s.known[far].mean() / s.gap[far].abs().mean()).item() for s in studies())
    words = (
        f"In the toy, where labels are constant (separations of {config()['separations'][-2]:g} and "
        f"{config()['separations'][-1]:g}), delta^2 / (2 m) kappa misses the gap by {off:.0%} of its size or more, by the "
        f"median, at every delta, and correlates with it at {span(follows)}. The data is not representative there: "
        f"representativeness is at least {least:.1f} of the gap, so that the explanation stays untested. For "
        "representative data the first half follows from equation (5) and Theorem 5."
    )
    return concluded(graded(off < 0.1 and min(follows) > 0.9, True), words)


def below_the_worst_case() -> Finding:
    """A fifth of it or less, up to a bandwidth of 0.2."""
    above = [(s.worst / s.known.mean(1)).min().item() for s in studies(*narrow(0.2))]
    words = (
        f"In the toy the known representativeness is at least {min(above):.0f} times below the largest loss times the L1 "
        f"error of the density estimate, for delta up to 0.2. In ten dimensions and at delta = {DELTA:g} that error is "
        f"{least_distance():.3f} or more of 2: the estimate shares next to nothing with the density."
    )
    return concluded(of_all(v > 5 for v in above), words)


def constant_approximately() -> Finding:
    """Robustness with true labels is within a tenth of that with labels held at the two largest separations."""
    shares = torch.stack([s.true.mean(1) / s.held.mean(1) for s in studies(DELTA)])
    off = (shares - 1).abs().amax(0)
    c = config()["separations"]
    words = (
        f"At separation {c[-1]:g} feature robustness with true labels is within {off[-1]:.1%} of that with labels held, at "
        f"{c[-2]:g} within {off[-2]:.1%} (delta = {DELTA:g}); where the classes touch it is "
        f"{span([100 * v for v in shares[:, 0].tolist()], '.0f')}% of it."
    )
    return concluded(of_all(v < 0.1 for v in off[-2:].tolist()), words)


def estimate_by_splits() -> Finding:
    """Up to a bandwidth of 0.2 it is within a third of the known size, and correlates with it by more than 0.5."""
    some = studies(*narrow(0.2))
    times = [(s.split.mean() / s.known.mean()).item() for s in some]
    tied = max(correlation(s.split, s.known).abs().max().item() for s in some)
    words = (
        f"In our reading the estimate by splits is {span(times, '.1f')} times the known "
        f"representativeness for delta up to 0.2, and at a given separation not correlated with it ({tied:.2f} at most). "
        f"Up to delta = {DELTA:g} it is the scatter of the test part, and over separations both fall; at 0.2 in two "
        "dimensions the known one grows."
    )
    return concluded(of_all([max(times) < 4 / 3, tied > 0.5]), words)


def less_representative_where_close() -> Finding:
    """The known size falls with the separation for certain, for every bandwidth and dimension; in part for some."""
    fewer = [100 * (1 - left(s.known)) for s in studies(*narrow(DELTA))]
    wide = [left(s.known) for s in studies(config()["deltas"][-1])]
    words = (
        f"For delta up to {DELTA:g} the known representativeness falls with growing separation, by {span(fewer, '.0f')}%. "
        f"For a wide kernel, delta = {config()['deltas'][-1]:g}, it grows to {span(wide, '.1f')} times."
    )
    return concluded(of_all(falls(s.known) for s in studies()), words)


CLAIMS = {
    "relative-flatness/summary-main-predictor": main_predictor,
    "relative-flatness/summary-tight-bound": tight_bound,
    "relative-flatness/representativeness-below-worst-case": below_the_worst_case,
    "relative-flatness/gap-from-local-properties": loss_around_the_samples,
    "relative-flatness/flatness-approximates-gap": flatness_is_the_gap,
    "relative-flatness/theorem-5-gap": follows_from_representative_data,
    "relative-flatness/approximately-constant-labels": constant_approximately,
    "relative-flatness/representativeness-can-be-approximated": estimate_by_splits,
    "relative-flatness/figure-4-tight": figure_4_tight,
    "relative-flatness/figure-4-falls": figure_4_falls,
    "relative-flatness/low-separation-less-representative": less_representative_where_close,
}
