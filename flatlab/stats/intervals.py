"""How sure a mean over seeds is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import stats

__all__ = ["student"]


def student(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    r"""The mean of independent values and the half-width of its confidence interval, in their unit.

    $\bar x \pm t_{n - 1} \, s / \sqrt{n}$, with `s` the sample's standard deviation and $t_{n-1}$ the quantile of Student's
    distribution: exact for normal values. For two methods on the same seeds, give the differences seed by seed: what the
    seeds have in common then drops out. The half-width of a single value is infinite.

    Raises `ValueError` if there is no value, or `level` is not between 0 and 1. Source: Student 1908.

    >>> mean, half = student([1.0, 2.0, 3.0])                   # 4.303 * 1 / sqrt(3)
    >>> mean, round(half, 3)
    (2.0, 2.484)
    """
    n = len(values)
    if n == 0:
        raise ValueError("values must hold at least one number, got none")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    mean = math.fsum(values) / n
    if n == 1:
        return mean, math.inf
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    return mean, float(stats.t.ppf((1 + level) / 2, n - 1)) * deviation / math.sqrt(n)
