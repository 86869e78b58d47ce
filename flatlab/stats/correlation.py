"""How well columns of numbers predict another one, within what it depends on, and how sure that is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

__all__ = ["cluster_bootstrap", "kendall_within", "partial_spearman", "pearson", "spearman"]


def pearson(x: ArrayLike, y: ArrayLike) -> NDArray:
    r"""Pearson's correlation of each column of `x`, shape `(n, p)` or `(n,)`, with `y`, `(n,)`; shape `(p,)` or `()`.

    $\sum (x - \bar x)(y - \bar y) / \sqrt{\sum (x - \bar x)^2 \sum (y - \bar y)^2}$. It is nan for a constant column.
    Raises `ValueError` if lengths differ or there are fewer than two rows. Source: Pearson 1895.

    >>> float(pearson([1.0, 2.0, 4.0], [2.0, 4.0, 8.0]).round(9))
    1.0
    """
    x, y = _columns(x, y)
    varies = (np.ptp(x, axis=0) > 0) & (np.ptp(y) > 0)  # less its mean, a constant column may keep a rounding error
    x, y = x - x.mean(0), y - y.mean()
    lengths = np.where(varies, np.sqrt((x * x).sum(0) * (y * y).sum()), 0.0)
    return np.where(lengths > 0, (y @ x) / np.where(lengths > 0, lengths, 1.0), np.nan)[()]


def spearman(x: ArrayLike, y: ArrayLike) -> NDArray:
    """Pearson's correlation of the ranks, ties at their mean rank; shapes and errors as those of `pearson`.

    Source: Spearman 1904.

    >>> float(spearman([1.0, 2.0, 4.0], [1.0, 100.0, 101.0]).round(9))
    1.0
    """
    return pearson(*_ranks(x, y))


def partial_spearman(x: ArrayLike, y: ArrayLike, given: ArrayLike) -> NDArray:
    r"""Spearman's correlation of each column of `x` with `y` that is left once that with `given`, `(n,)`, is accounted for.

    $(r_{xy} - r_{xz} r_{yz}) / \sqrt{(1 - r_{xz}^2)(1 - r_{yz}^2)}$ of the ranks, $z$ being `given`: the correlation of
    what a line in the ranks of `given` leaves of the others'. It is nan for a column that `given` orders completely.
    Errors as those of `pearson`. Source: Kendall 1942.

    >>> x, z = [1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]
    >>> float(partial_spearman(x, [1.0, 2.0, 4.0, 3.0], z).round(3))         # (0.8 - 0.8 * 0.4) / (0.6 * 0.9165)
    0.873
    """
    (x, y), z = _ranks(x, y), _ranks(given, y)[0]
    xy, xz, yz = pearson(x, y), pearson(x, z), pearson(y, z)
    left = (1 - xz**2) * (1 - yz**2)
    return np.where(left > 1e-12, (xy - xz * yz) / np.sqrt(np.where(left > 1e-12, left, 1.0)), np.nan)[()]


def kendall_within(x: ArrayLike, y: ArrayLike, groups: Sequence[Hashable]) -> tuple[NDArray, int]:
    """Kendall's tau of each column of `x` with `y` over the pairs of rows of the same group, and the number of such pairs.

    The share of pairs that both order alike less the share that they order differently; a tie counts as neither. With one
    group it is Kendall's tau-a. Where a group shares all settings but one, its pairs differ in that one alone: the
    granulated coefficient of Jiang et al. (2020), with pairs counting alike in the place of groups. Without pairs, nan.

    >>> tau, pairs = kendall_within([1.0, 2.0, 1.0, 2.0], [0.1, 0.2, 8.0, 7.0], ["a", "a", "b", "b"])
    >>> float(tau), pairs
    (0.0, 2)
    """
    x, y = _columns(x, y)
    if len(groups) != len(y):
        raise ValueError(f"groups must name one group a row, got {len(groups)} for {len(y)} rows")
    first, second = np.triu_indices(len(y), 1)
    same = np.array([groups[a] == groups[b] for a, b in zip(first, second, strict=True)], dtype=bool)
    first, second = first[same], second[same]
    if not len(first):
        return np.full(x.shape[1:], np.nan)[()], 0
    return (np.sign(y[first] - y[second]) @ np.sign(x[first] - x[second]) / len(first))[()], len(first)


def cluster_bootstrap(
    statistic: Callable[[NDArray], ArrayLike],
    clusters: Sequence[Hashable],
    *,
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> tuple[NDArray, NDArray]:
    """Lower and upper end of the percentile interval of a statistic, of its shape, over resamples of whole clusters.

    Rows of one cluster are not independent, so that a resample draws as many clusters as there are, with replacement, and
    takes each with all its rows. `clusters` names the cluster of each row; `statistic` takes the places of the rows drawn,
    an array of integers, and returns a number or an array. Numbers of one resample belong together: an interval of a
    difference comes from a statistic that is the difference. Values that are nan are left out;
    if all are, so are both ends.

    Raises `ValueError` for fewer than two clusters, `samples` below 1 or a `level` that is not between 0 and 1. Source:
    Davison and Hinkley 1997, section 3.8.

    >>> values = np.array([1.0, 1.0, 5.0, 5.0, 3.0])
    >>> low, high = cluster_bootstrap(lambda rows: values[rows].mean(), ["a", "a", "b", "b", "c"])
    >>> float(low), float(high)
    (1.0, 5.0)
    """
    places: dict[Hashable, list[int]] = {}
    for row, cluster in enumerate(clusters):
        places.setdefault(cluster, []).append(row)
    if len(places) < 2:
        raise ValueError(f"clusters must name at least two clusters, got {len(places)}")
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    groups, draw = [np.array(rows) for rows in places.values()], np.random.default_rng(seed)
    drawn = (draw.integers(len(groups), size=len(groups)) for _ in range(samples))
    values = np.stack([np.asarray(statistic(np.concatenate([groups[k] for k in ks])), dtype=float) for ks in drawn])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")
        return tuple(np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0))


def _ranks(x: ArrayLike, y: ArrayLike) -> tuple[NDArray, NDArray]:
    x, y = _columns(x, y)
    ranks = rankdata(np.column_stack([x, y]), axis=0)  # one call: on few rows, calls are what takes time
    return ranks[:, :-1].reshape(x.shape), ranks[:, -1]


def _columns(x: ArrayLike, y: ArrayLike) -> tuple[NDArray, NDArray]:
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if y.ndim != 1 or x.ndim not in (1, 2) or len(x) != len(y) or len(y) < 2:
        raise ValueError(f"x and y must have the same rows, at least two, y one column; got shapes {x.shape}, {y.shape}")
    return x, y
