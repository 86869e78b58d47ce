"""Correlations against scipy and known cases, and intervals that cover the truth as often as they say."""

import numpy as np
import pytest
from scipy import stats

from flatlab.stats.correlation import cluster_bootstrap, kendall_within, partial_spearman, pearson, spearman

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 3)).round(1), RNG.normal(size=40).round(1)  # rounded: ties
X[:, 1] += Y


def test_they_are_scipys_column_by_column():
    for ours, theirs in ((pearson, stats.pearsonr), (spearman, stats.spearmanr)):
        found = ours(X, Y)
        assert found.shape == (3,)
        for k in range(3):
            assert found[k] == pytest.approx(theirs(X[:, k], Y).statistic) == pytest.approx(float(ours(X[:, k], Y)))


def test_a_rank_correlation_does_not_mind_a_rising_function_and_pearsons_does():
    assert spearman(np.exp(3 * X), Y) == pytest.approx(spearman(X, Y))
    assert abs(pearson(np.exp(3 * X), Y) - pearson(X, Y)).max() > 0.1


def test_the_partial_one_is_that_of_what_regression_on_the_ranks_leaves():
    z = RNG.normal(size=40)
    ranks = [stats.rankdata(v) for v in (X[:, 1], Y, z)]
    lines = [np.polyval(np.polyfit(ranks[2], r, 1), ranks[2]) for r in ranks[:2]]
    expected = stats.pearsonr(ranks[0] - lines[0], ranks[1] - lines[1]).statistic
    assert partial_spearman(X[:, 1], Y, z) == pytest.approx(expected)


def test_what_only_a_common_cause_ties_together_is_untied_by_it():
    cause = RNG.normal(size=3000)
    x, y = cause + RNG.normal(size=3000), cause + RNG.normal(size=3000)
    assert spearman(x, y) > 0.4 and abs(partial_spearman(x, y, cause)) < 0.06
    assert np.isnan(partial_spearman(cause, y, cause)), "nothing is left of the cause itself"


def test_kendall_over_one_group_is_scipys_and_over_many_the_mean_over_their_pairs():
    x, y = RNG.normal(size=(12, 2)), RNG.normal(size=12)  # no ties: tau-a is tau-b
    tau, pairs = kendall_within(x, y, ["all"] * 12)
    assert pairs == 66
    assert tau == pytest.approx([stats.kendalltau(x[:, k], y).statistic for k in range(2)])
    groups = np.array([0] * 7 + [1] * 4 + [2])
    inside = [stats.kendalltau(x[groups == g, 0], y[groups == g]).statistic for g in (0, 1)]
    tau, pairs = kendall_within(x[:, 0], y, groups.tolist())
    assert (tau, pairs) == (pytest.approx((21 * inside[0] + 6 * inside[1]) / 27), 27)
    tau, pairs = kendall_within(x, y, range(12))
    assert np.isnan(tau).all() and tau.shape == (2,) and pairs == 0


def test_simpsons_paradox():
    """In each group the measure falls with the gap; over the groups it rises."""
    groups = np.repeat([0, 1, 2], 5)
    inside = np.tile(np.arange(5.0), 3)
    x, y = 10 * groups + inside, 10 * groups - inside
    assert kendall_within(x, y, groups.tolist())[0] == -1 and spearman(x, y) > 0.6


@pytest.mark.slow
def test_whole_clusters_are_drawn_and_intervals_cover_the_truth():
    """Ten clusters of five equal rows: intervals of the mean cover it in nine cases of ten; drawn by rows, in six."""
    clusters, alone, covered = np.repeat(range(10), 5), range(50), [0, 0]
    for trial in range(150):
        values = np.repeat(np.random.default_rng(trial).normal(size=10), 5)
        for k, named in enumerate((clusters.tolist(), alone)):
            low, high = cluster_bootstrap(lambda rows, v=values: v[rows].mean(), named, samples=200, seed=trial)
            covered[k] += low <= 0 <= high
    assert covered[0] / 150 > 0.84 and covered[1] / 150 < 0.7


def test_a_resample_takes_each_cluster_with_all_its_rows():
    clusters, seen = ["a", "b", "a", "c", "a"], []
    cluster_bootstrap(lambda rows: seen.append(rows) or 0.0, clusters, samples=50)
    counts = np.stack([np.bincount(rows, minlength=5) for rows in seen])
    assert (counts[:, [0]] == counts[:, [2, 4]]).all()
    assert (counts[:, [0, 1, 3]].sum(1) == 3).all() and counts.max() == 3


def test_the_ends_leave_half_of_the_rest_on_each_side():
    count = iter(range(1001))
    assert cluster_bootstrap(lambda rows: next(count), "ab", level=0.9, samples=1001) == pytest.approx((50, 950))


def test_the_interval_of_one_cluster_a_row_is_scipys():
    both = np.stack([X[:, 1], Y], 1)
    low, high = cluster_bootstrap(lambda rows: pearson(both[rows, 0], both[rows, 1]), range(40), samples=4000)
    with np.errstate(all="ignore"):
        theirs = stats.bootstrap(
            (X[:, 1], Y), lambda a, b: stats.pearsonr(a, b).statistic, paired=True, vectorized=False, method="percentile",
            n_resamples=2000,
        ).confidence_interval  # fmt: skip
    assert (low, high) == (pytest.approx(theirs.low, abs=0.02), pytest.approx(theirs.high, abs=0.02))
    again = cluster_bootstrap(lambda rows: pearson(both[rows, 0], both[rows, 1]), range(40), samples=4000)
    assert (low, high) == again, "the seed makes it"


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"same rows.*\(3,\), \(2,\)"):
        spearman([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="one group a row, got 1 for 2"):
        kendall_within([1.0, 2.0], [1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match="at least two clusters, got 1"):
        cluster_bootstrap(np.sum, ["a", "a"])
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 95"):
        cluster_bootstrap(np.sum, ["a", "b"], level=95)
    assert np.isnan(pearson([1.0, 1.0], [1.0, 2.0]))
    assert np.isnan(pearson([0.1] * 3, [0.1] * 3)) and np.isnan(pearson([0.1] * 3, [1.0, 2.0, 4.0])), "but for rounding"
