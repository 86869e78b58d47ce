"""Whether a method differs from another on the same seeds, and by how much."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

from flatlab.stats.intervals import student

__all__ = ["Comparison", "compare", "holm", "seeds_needed"]


@dataclass(frozen=True)
class Comparison:
    """A mean difference, the half-width of its confidence interval over seeds, and the p-values of two tests."""

    difference: float
    half: float
    paired_p: float
    """Student's test on the differences, seed by seed."""
    welch_p: float
    """Welch's two-sample test, which takes the two sets of seeds for unrelated."""


def compare(values: Mapping[int, float], base: Mapping[int, float], level: float = 0.95) -> Comparison:
    """`values` less `base`, both by seed, over the seeds that have both; in their unit.

    A p-value is 1 where no seed differs, and nan where nothing varies that the test could go by. Raises `ValueError` for
    fewer than two such seeds. Source: Student 1908 and Welch 1947, by `scipy.stats`.

    >>> c = compare({1: 3.0, 2: 5.0, 3: 7.0}, {1: 2.0, 2: 3.0, 3: 5.0})
    >>> round(c.difference, 3), round(c.half, 3), round(c.paired_p, 3), round(c.welch_p, 3)
    (1.667, 1.434, 0.038, 0.319)
    """
    seeds = sorted(set(values) & set(base))
    if len(seeds) < 2:
        raise ValueError(f"values and base must share at least two seeds, got {seeds}")
    ours, theirs = [values[s] for s in seeds], [base[s] for s in seeds]
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean, half = student(differences, level)
    if not any(differences):
        return Comparison(mean, half, 1.0, 1.0)
    n, rounding = len(seeds), 1e-9 * max(map(abs, ours + theirs))
    spread, first, second = map(statistics.stdev, (differences, ours, theirs))
    paired = welch = float("nan")
    if spread > rounding:
        paired = float(stats.ttest_1samp(differences, 0).pvalue)
    if max(first, second) > rounding:
        one, other = map(statistics.fmean, (ours, theirs))
        welch = float(stats.ttest_ind_from_stats(one, first, n, other, second, n, equal_var=False).pvalue)
    return Comparison(mean, half, paired, welch)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction for several tests at once: reject where a corrected value is at most the level wanted.

    The k-th smallest of m values is multiplied by m - k + 1, none may be below a smaller one's, and none is above 1. A nan
    counts as 1. Source: Holm 1979.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]
    """
    p_values = [1.0 if p != p else p for p in p_values]
    order = sorted(range(len(p_values)), key=lambda k: p_values[k])
    out, least = [0.0] * len(p_values), 0.0
    for rank, k in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[k]))
        out[k] = least
    return out


def seeds_needed(difference: float, deviation: float, level: float = 0.05, power: float = 0.8) -> int:
    r"""How many pairs of runs the paired t-test takes to see a difference, two-sided at `level`, with this `power`.

    The smallest $n \ge 2$ with $P(|T| > t_{n-1, 1 - \mathrm{level}/2}) \ge \mathrm{power}$, where T has the noncentral
    t distribution with n - 1 degrees of freedom and noncentrality $\sqrt{n}$ `difference` / `deviation`: exact for normal
    differences. `deviation` is that of the differences of a pair, in the unit of `difference`. Raises `ValueError` for a
    difference that is not above 0, a deviation below 0, and a level or power that is not between 0 and 1. Source: Cohen
    1988, *Statistical Power Analysis*, chapter 2, with the exact distribution in place of its tables.

    >>> seeds_needed(0.5, 0.5), seeds_needed(0.2, 0.16)                   # a table of power gives 10 for one deviation
    (10, 8)
    """
    if not difference > 0 or not 0 <= deviation < float("inf"):
        raise ValueError(f"difference must be > 0 and deviation >= 0, got {difference} and {deviation}")
    if not 0 < level < 1 or not 0 < power < 1:
        raise ValueError(f"level and power must be between 0 and 1, got {level} and {power}")

    def enough(n: int) -> bool:
        if deviation == 0:
            return True
        limit, shift = stats.t.ppf(1 - level / 2, n - 1), n**0.5 * difference / deviation
        return stats.nct.sf(limit, n - 1, shift) + stats.nct.sf(limit, n - 1, -shift) >= power

    few, many = 1, 2
    while not enough(many):
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many
