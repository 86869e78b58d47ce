"""The held-out samples are a function of three numbers, the same on every machine."""

import hashlib

import pytest
import torch

from flatlab.data import held_out


@pytest.mark.parametrize(("n", "count"), [(2, 1), (10, 9), (50_000, 5_000)])
def test_the_two_parts_share_nothing_and_miss_nothing(n, count):
    train, validation = held_out(n, count, seed=3)
    assert len(validation) == count and torch.cat([train, validation]).sort().values.equal(torch.arange(n))
    assert train.equal(train.sort().values) and validation.equal(validation.sort().values)


def test_the_split_depends_on_nothing_but_its_arguments():
    first = held_out(50_000, 5_000)
    torch.manual_seed(99)
    torch.rand(7)
    state = torch.get_rng_state()
    assert held_out(50_000, 5_000)[1].equal(first[1]) and torch.get_rng_state().equal(state)
    with torch.device("meta"):
        assert held_out(50_000, 5_000)[1].equal(first[1])
    assert hashlib.sha256(first[1].numpy()).hexdigest()[:12] == "f2300dbb1ea3"  # records rest on this very split
    assert not held_out(50_000, 5_000, seed=1)[1].equal(first[1])


def test_a_larger_part_contains_a_smaller_one():
    small, large = held_out(100, 10, seed=5)[1], held_out(100, 30, seed=5)[1]
    assert set(small.tolist()) < set(large.tolist())


@pytest.mark.parametrize("count", [-1, 0, 10, 11])
def test_an_impossible_count_is_refused(count):
    with pytest.raises(ValueError, match=f"count must be between 1 and n - 1 = 9, got {count}"):
        held_out(10, count)
