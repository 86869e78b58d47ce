"""The interval covers the truth as often as it says, and is scipy's own."""

import math

import pytest
import torch
from scipy import stats

from flatlab.stats.intervals import student


def test_it_is_the_interval_of_a_t_test():
    values = [0.3, -1.2, 2.5, 0.9]
    mean, half = student(values, level=0.9)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (mean - half, mean + half) == pytest.approx((low, high))


def test_of_intervals_from_three_seeds_95_in_100_cover_the_mean():
    draws = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0)).add(5.0).tolist()
    covered = sum(abs(mean - 5.0) <= half for mean, half in map(student, draws))
    assert 0.93 < covered / 2000 < 0.97


def test_one_seed_says_nothing_of_its_error_and_none_is_an_error():
    assert student([0.5]) == (0.5, math.inf)
    with pytest.raises(ValueError, match="at least one number"):
        student([])
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 95"):
        student([1.0], level=95)
