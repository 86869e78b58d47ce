"""LSAM: what the paper's text says, against its own Table 1 and against its other sentences; the verdicts that follow."""

from __future__ import annotations

import functools
import statistics
from typing import NamedTuple

from book import accuracies
from book.finding import CONTRADICTS, HELD, Finding, graded, span

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


def called(name: str) -> str:
    """The paper's name, and whose method it is where that is not plain."""
    return {"SSAM": "StableSAM (its SSAM)"}.get(name, name)


# ---- the claims: the table -------------------------------------------------------------------------------------------


def read(agrees: bool, words: str) -> Finding:
    """The finding from the paper alone."""
    return Finding(HELD if agrees else CONTRADICTS, f"In the paper's own table {words}.", "the paper's Table 1", [])


def gain_cifar10() -> Finding:
    """1.6 points over SAM with ResNet-20 and 1.64 with ResNet-56."""
    gains = [over("SAM", column) for column in (0, 1)]
    words = f"LSAM gains {gains[0]:.2f} over SAM with ResNet-20 and {gains[1]:.2f} with ResNet-56"
    return read(all(abs(gain - told) < 0.006 for gain, told in zip(gains, (1.6, 1.64), strict=True)), words)


def gain_cifar100() -> Finding:
    """11.07 points with ResNet-20 and 6.11 with ResNet-56, over one and the same method."""
    first, second = ([name for name in table("accuracy") if over(name, c) == told] for c, told in ((5, 11.07), (6, 6.11)))
    words = f"11.07 is the gain over {' and '.join(first)}, 6.11 the one over {' and '.join(second)}; no method has both"
    return read(bool(set(first) & set(second)), words)


def pyramidnet_matches() -> Finding:
    """No other method is above LSAM."""
    column, means = 4, table("accuracy")
    above = [name for name in means if over(name, column) < 0]
    told = ", ".join(f"{called(name)} {means[name][column]:.2f}" for name in above)
    return read(not above, f"{means['LSAM'][column]:.2f} is below {told}")


def lower_variance() -> Finding:
    """No other method has a lower deviation, in any column."""
    beaten = [column for column in range(10) if steadier(column)]
    return read(not beaten, f"another method has the lower deviation in {len(beaten)} of 10 columns")


def steadier_than_sam_and_variants() -> Finding:
    """Neither SAM nor a variant of it has a lower deviation than LSAM, in any column."""
    beaten = [column for column in range(10) if set(steadier(column)) - {"SGD"}]
    return read(not beaten, f"SAM or a variant of it has the lower deviation in {len(beaten)} of 10 columns")


def improves_over_both() -> Finding:
    """LSAM is above SGD and above SAM* in every column."""
    below = {other: sum(over(other, column) < 0 for column in range(10)) for other in ("SGD", "SAM*")}
    words = f"LSAM is below SAM* in {below['SAM*']} of 10 columns and below SGD in {below['SGD']}"
    return read(not any(below.values()), words)


def large_models_tradeoff() -> Finding:
    """With ResNeXt on CIFAR-100 the 81.35 is SAM*'s, and LSAM is above SGD and within one point of the best."""
    means = {name: row[7] for name, row in table("accuracy").items()}
    (owner,) = [name for name, mean in means.items() if mean == 81.35]
    words = (
        f"81.35 belongs to {called(owner)}, SAM* has {means['SAM*']:.2f}, and SGD with {means['SGD']:.2f} is above LSAM's "
        f"{means['LSAM']:.2f} as well, which is {-over(owner, 7):.2f} points below the best"
    )
    return read(owner == "SAM*" and over("SGD", 7) > 0 and over(owner, 7) > -1, words)


def figure_3_variance() -> Finding:
    """On CIFAR-10 LSAM's deviation is least with WRN-28-10 and PyramidNet, and larger with ResNeXt."""
    own = dict(zip(COLUMNS, table("deviation")["LSAM"][:5], strict=True))
    words = f"LSAM's deviations on CIFAR-10 are {listed(own)}"
    return read(max(own["WRN-28-10"], own["PyramidNet"]) < own["ResNeXt"], words)


def figure_5_variance() -> Finding:
    """On CIFAR-100 LSAM's deviations with WRN-28-10 and PyramidNet are below those with both ResNets."""
    own = dict(zip(COLUMNS, table("deviation")["LSAM"][5:], strict=True))
    words = f"LSAM's deviations on CIFAR-100 are {listed(own)}"
    return read(max(own["WRN-28-10"], own["PyramidNet"]) < min(own["ResNet-20"], own["ResNet-56"]), words)


def listed(values: dict[str, float]) -> str:
    """Names with their values."""
    return ", ".join(f"{name} {value:.2f}" for name, value in values.items())


def figure_4_accuracy() -> Finding:
    """On CIFAR-100 LSAM's accuracies lie between 78 and 82."""
    own = table("accuracy")["LSAM"][5:]
    words = f"LSAM's accuracies on CIFAR-100 are {span(own)}, {sum(a > 82 for a in own)} of five above 82"
    return read(all(78 <= a <= 82 for a in own), words)


def helps_more_on_harder_data() -> Finding:
    """With each network the gain over SAM* is larger on CIFAR-100."""
    gains = {name: (over("SAM*", k), over("SAM*", k + 5)) for k, name in enumerate(COLUMNS)}
    told = {name: f"{name} {easy:+.2f} and {hard:+.2f}" for name, (easy, hard) in gains.items()}
    less = [told[name] for name, (easy, hard) in gains.items() if hard < easy]
    more = [words for words in told.values() if words not in less]
    words = (
        f"the gain over SAM* is smaller on CIFAR-100 than on CIFAR-10 with {len(less)} of five networks "
        f"({', '.join(less)}), and larger with the others ({', '.join(more)}). Section 5.2 has the benefit grow where data "
        "are easier, section 5.3 where they are harder"
    )
    return read(not less, words)


def superior_or_comparable() -> Finding:
    """LSAM is nowhere more than half a point below another method."""
    behind = {(name, c): -over(name, c) for name in table("accuracy") for c in range(10)}
    name, column = max(behind, key=behind.get)
    words = (
        f"LSAM is up to {behind[name, column]:.2f} points below {called(name)} with {COLUMNS[column % 5]} on "
        f"{'CIFAR-100' if column > 4 else 'CIFAR-10'}, where SGD is above it, too"
    )
    return read(max(behind.values()) < 0.5, words)


def maxima_vary_more() -> Finding:
    """The mean deviation of each method with a maximum is above LSAM's, and above SGD's."""
    mean = {name: statistics.mean(row) for name, row in table("deviation").items()}
    with_maximum = [mean[name] for name in ("SAM*", "ASAM", "SAM", "GASAM", "SSAM")]
    told = ", ".join(f"{called(name)} {value:.2f}" for name, value in mean.items())
    steady = "varies as much as" if mean["SGD"] >= mean["SAM*"] else "varies less than"
    words = (
        f"In the paper's own table the deviations are on average over its ten columns: {told}. More than LSAM they vary, "
        f"but SGD, without a maximum, {steady} SAM*. A deviation over three seeds is known to a factor between 0.5 "
        "and 6."
    )
    verdict = graded(min(with_maximum) > max(mean["SGD"], mean["LSAM"]), min(with_maximum) > mean["LSAM"])
    return Finding(verdict, words, "the paper's Table 1, three seeds a cell", [])


# ---- the claims: sentences -------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """Two statements of the paper and what each is about; where both are about the same they exclude each other."""

    one: str
    other: str
    about_one: set
    about_other: set


def epochs(first: int, last: int) -> set[int]:
    """Those from the first to the last."""
    return set(range(first, last + 1))


AHEAD = Pair(
    "Section 5.3 has WRN-28-10 and PyramidNet ahead of the other networks throughout the 200 epochs of Figure 4",
    "has all networks behave alike in the first 25", epochs(0, 200), epochs(0, 25),
)  # fmt: skip
RISING = Pair(
    "Section 5.3 reads a slow but steady improvement on CIFAR-10 out of epochs 150 to 200 in Figure 3",
    "sets CIFAR-100 apart in Figure 5 because accuracy on CIFAR-10 is nearly constant by then",
    epochs(150, 200), epochs(150, 200),
)  # fmt: skip
SENSITIVE = Pair(
    "Section 5.6 ends with accuracies that differ little over radius, learning rate, weight decay and draws",
    "begins with a learning rate that strongly affects the final accuracy at a radius of 0.02",
    {"radius", "learning rate", "weight decay", "draws"}, {"learning rate"},
)  # fmt: skip


def excluded(pair: Pair) -> Finding:
    """Contradictory where the two statements are about the same; else it would remain to be run."""
    if not pair.about_one & pair.about_other:
        raise ValueError("these two statements are about different things")
    return Finding(CONTRADICTS, f"{pair.one}, and {pair.other}.", "the paper's own sentences", [])


CLAIMS = {
    "lsam/gain-cifar10": gain_cifar10,
    "lsam/gain-cifar100": gain_cifar100,
    "lsam/cifar10-pyramidnet-matches": pyramidnet_matches,
    "lsam/lower-variance": lower_variance,
    "lsam/summary-smaller-variance": steadier_than_sam_and_variants,
    "lsam/summary-improves-over-both": improves_over_both,
    "lsam/large-models-tradeoff": large_models_tradeoff,
    "lsam/max-methods-vary-more": maxima_vary_more,
    "lsam/figure-3-variance": figure_3_variance,
    "lsam/figure-4-accuracy": figure_4_accuracy,
    "lsam/figure-5-variance": figure_5_variance,
    "lsam/harder-data-needs-regularity": helps_more_on_harder_data,
    "lsam/conclusion-superior-or-comparable": superior_or_comparable,
} | {
    f"lsam/{name}": functools.partial(excluded, pair)
    for name, pair in {
        "figure-3-still-improving": RISING,
        "figure-5-still-improving": RISING,
        "figure-4-large-ahead": AHEAD,
        "figure-4-gap-after-50": AHEAD,
        "insensitive": SENSITIVE,
    }.items()
}
