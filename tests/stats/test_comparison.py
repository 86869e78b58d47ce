"""Differences over seeds: against the tests' definitions, and Holm's rule by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from flatlab.stats.comparison import compare, holm, seeds_needed


def test_the_tests_are_those_of_their_definitions():
    rng = np.random.default_rng(0)
    base = dict(enumerate(rng.normal(size=6)))
    ours = {s: v + rng.normal(0.5, 0.3) for s, v in base.items()} | {99: 100.0}  # a seed that the base lacks is left out
    found = compare(ours, base)
    a, b = np.array([ours[s] for s in base]), np.array(list(base.values()))
    d = a - b
    t = d.mean() / (d.std(ddof=1) / math.sqrt(6))
    assert found.difference == pytest.approx(d.mean())
    assert found.paired_p == pytest.approx(2 * stats.t.sf(abs(t), 5))
    assert found.half == pytest.approx(stats.t.ppf(0.975, 5) * d.std(ddof=1) / math.sqrt(6))
    u, v = a.var(ddof=1) / 6, b.var(ddof=1) / 6
    freedom = (u + v) ** 2 / (u**2 / 5 + v**2 / 5)
    assert found.welch_p == pytest.approx(2 * stats.t.sf(abs(d.mean()) / math.sqrt(u + v), freedom))


@pytest.mark.slow
def test_welch_keeps_its_level_where_there_is_no_difference():
    """Of many comparisons of equal things one in twenty is below 0.05; after Holm's rule, one family of four in twenty."""
    rng = np.random.default_rng(1)
    alone, family = [], []
    for _ in range(400):
        base = dict(enumerate(rng.normal(size=5)))
        ps = [compare(dict(enumerate(rng.normal(size=5))), base).paired_p for _ in range(4)]
        alone.append(ps[0] < 0.05)
        family.append(min(holm(ps)) < 0.05)
    assert np.mean(alone) == pytest.approx(0.05, abs=0.03) and np.mean(family) < 0.08


def test_holm_never_reorders_and_stays_below_bonferroni():
    ps = [0.2, 0.011, 0.5, 0.012, 0.9]
    found = holm(ps)
    assert np.argsort(found, kind="stable").tolist() == np.argsort(ps, kind="stable").tolist()
    assert all(p <= q <= min(1, 5 * p) for p, q in zip(ps, found, strict=True))
    assert found[1] == pytest.approx(0.055) and found[3] == found[1], "not below a smaller one's"
    assert holm([]) == []


def test_equal_runs_differ_by_nothing_and_one_seed_is_refused():
    same = compare({1: 0.5, 2: 0.7}, {1: 0.5, 2: 0.7})
    assert (same.difference, same.paired_p, same.welch_p) == (0, 1, 1)
    with pytest.raises(ValueError, match=r"at least two seeds, got \[2\]"):
        compare({1: 0.5, 2: 0.7}, {2: 0.7, 3: 0.9})


def test_where_nothing_varies_there_is_no_test():
    shifted = compare({1: 0.1 + 0.7, 2: 0.2 + 0.7, 3: 0.3 + 0.7}, {1: 0.1, 2: 0.2, 3: 0.3})
    assert shifted.difference == pytest.approx(0.7) and math.isnan(shifted.paired_p) and shifted.welch_p < 0.05
    level = compare({1: 0.8, 2: 0.8}, {1: 0.3, 2: 0.3})
    assert math.isnan(level.paired_p) and math.isnan(level.welch_p)


@pytest.mark.parametrize("difference, deviation", [(0.2, 0.16), (0.2, 0.5), (1.0, 0.1), (0.05, 1.0), (3.0, 1e-4)])
def test_seeds_needed_are_the_fewest_that_reach_the_power(difference, deviation):
    def power(n):
        limit, shift = stats.t.ppf(0.975, n - 1), math.sqrt(n) * difference / deviation
        return 1 - stats.nct.cdf(limit, n - 1, shift)  # the other tail is nothing beside it

    n = seeds_needed(difference, deviation)
    assert n >= 2 and power(n) >= 0.8 and (n == 2 or power(n - 1) < 0.8)


def test_as_many_seeds_see_the_difference_in_four_of_five_cases():
    """By scipy's own power of its own test, from drawn differences."""
    n = seeds_needed(0.2, 0.25)

    def power(pairs):
        rng = np.random.default_rng(2)
        draw = lambda size: rng.normal(0.2, 0.25, size=size)  # noqa: E731
        test = lambda d, axis: stats.ttest_1samp(d, 0, axis=axis)  # noqa: E731
        return float(stats.power(test, draw, pairs, significance=0.05, n_resamples=20_000).power)

    assert 0.8 <= power(n) < 0.85 and power(n - 1) < 0.8


def test_seeds_needed_of_pairs_that_do_not_vary_and_of_nonsense():
    assert seeds_needed(0.1, 0.0) == 2
    for wrong in ((0.0, 1.0), (0.1, -1.0), (0.1, math.inf), (0.1, math.nan)):
        with pytest.raises(ValueError, match=r"difference must be > 0 and deviation >= 0"):
            seeds_needed(*wrong)
    with pytest.raises(ValueError, match=r"level and power must be between 0 and 1, got 0.05 and 1.0"):
        seeds_needed(0.1, 1.0, power=1.0)
