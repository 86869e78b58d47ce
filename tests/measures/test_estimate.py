"""A standard error that means what it says, and a stop that rests on it."""

import warnings

import pytest
import torch
from measured_problems import Quadratic, random

from flatlab.measures import Estimate, average_sharpness, hessian_frobenius, hessian_trace, local_average
from flatlab.measures.estimate import sample_mean

TRACE = 8.3
SPECTRUM = [5.0, 2.0, 1.0, 0.5, -0.3, 0.1]
SQUARES = sum(x * x for x in SPECTRUM)
SEEDS = 50

CALLS = {
    "trace": (lambda *a, **k: hessian_trace(*a, **k, deflate=0), TRACE),
    "deflated trace": (lambda *a, **k: hessian_trace(*a, **k, deflate=2), TRACE),
    "gaussian trace": (lambda *a, **k: hessian_trace(*a, **k, deflate=0, probes="gaussian"), TRACE),
    "frobenius": (lambda *a, **k: hessian_frobenius(*a, **k, deflate=0), SQUARES),
    "deflated frobenius": (lambda *a, **k: hessian_frobenius(*a, **k, deflate=1), SQUARES),
    "average sharpness": (lambda *a, **k: average_sharpness(*a, sigma=1.0, **k), TRACE / 2),
    "local average": (lambda *a, **k: local_average(*a, rho=2.0, **k), None),
}


@pytest.mark.parametrize("how", [{"samples": 50}, {"rtol": 0.1}])
@pytest.mark.parametrize("name", CALLS)
def test_the_true_value_lies_within_three_standard_errors_as_often_as_it_should(name, how):
    call, truth = CALLS[name]
    bowl, w = Quadratic(SPECTRUM), random(6, seed=7)
    truth = bowl.loss(w).item() + 4 / 16 * TRACE if truth is None else truth
    found = [call(bowl, w, seed=seed, **how) for seed in range(SEEDS)]
    inside = sum(abs(e.value - truth) <= 3 * e.stderr for e in found)
    # 99.7% of a normal law; a spread known from 16 samples at first leaves 99%: at most 3 of 50 outside.
    assert inside >= SEEDS - 3
    close = sum(abs(e.value - truth) <= e.stderr for e in found)
    assert 0.45 * SEEDS <= close <= 0.9 * SEEDS  # 68% lie within one: the error is not inflated either


def test_sampling_runs_until_the_relative_error_is_reached():
    bowl, w = Quadratic(SPECTRUM), random(6, seed=7)
    coarse, fine = (hessian_trace(bowl, w, rtol=r, deflate=0) for r in (0.1, 0.02))
    assert coarse.stderr <= 0.1 * coarse.value and fine.stderr <= 0.02 * fine.value
    assert fine.samples > 5 * coarse.samples


def test_a_cap_that_comes_first_is_said_aloud():
    bowl, w = Quadratic(SPECTRUM), random(6, seed=7)
    with pytest.warns(RuntimeWarning, match="rtol 0.0001 not reached in 40 samples"):
        found = hessian_trace(bowl, w, samples=40, rtol=1e-4, deflate=0)
    assert found.samples == 40 and found.stderr > 0


def test_a_still_mean_does_not_stop_the_sampling():
    # Twenty equal pairs: the mean never moves, the spread says that nothing is known yet.
    numbers = iter([1.0, -0.9] * 500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = sample_mean(lambda k: torch.tensor([next(numbers) for _ in range(k)]), 200, 0.01)
    assert found.samples == 200


def test_mean_and_error_are_those_of_the_whole_sample_whatever_the_blocks():
    values = random(1000, seed=1) + 1e6
    position = 0

    def draw(count):
        nonlocal position
        position += count
        return values[position - count : position]

    found = sample_mean(draw, 1000, None)
    assert found.value == pytest.approx(values.mean().item(), rel=1e-12)
    assert found.stderr == pytest.approx(values.std().item() / 1000**0.5, rel=1e-9)
    position = 0
    with pytest.warns(RuntimeWarning):
        blocks = sample_mean(draw, 1000, 1e-12)
    assert blocks.stderr == pytest.approx(found.stderr, rel=1e-6)


def test_an_estimate_is_a_frozen_number():
    e = Estimate(2.5, 0.1, 10)
    assert float(e) == 2.5
    with pytest.raises(AttributeError):
        e.value = 3.0


def test_a_generator_goes_on_where_a_seed_begins_again():
    bowl, w = Quadratic(SPECTRUM), random(6, seed=7)
    generator = torch.Generator().manual_seed(0)
    first, second = (hessian_trace(bowl, w, 20, seed=generator, deflate=0).value for _ in range(2))
    assert first == hessian_trace(bowl, w, 20, seed=0, deflate=0).value != second


def test_a_precision_is_reached_in_few_blocks_and_without_many_more_samples_than_it_needs():
    """Each block is as large as the spread so far says, at most doubling the number: logarithmically many."""
    blocks, g = [], torch.Generator().manual_seed(0)

    def draw(count):
        blocks.append(count)
        return 1 + torch.randn(count, generator=g, dtype=torch.float64)

    found = sample_mean(draw, None, 0.02)
    assert found.stderr <= 0.02 * abs(found.value)
    assert 2000 < found.samples < 6000 and len(blocks) < 16, "one over 0.02^2 is 2500"
