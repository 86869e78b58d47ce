"""What the ledger says of Figures 5 to 7 of the StableSAM paper, asked of the frozen records of the twins again."""

import itertools
import math

import pytest

from book.stable_sam.twins import (
    METHODS,
    NETWORKS,
    NUDGE,
    NUDGED,
    SEEDS,
    SHORT,
    accuracy_gap,
    amplification,
    amplified,
    apart,
    ends,
    error,
    nudged,
    spread_of_seeds,
    twins,
)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", METHODS)
def test_distance_and_generalization_error_rise_together(network, seed, method):
    assert twins(network, method, seed).tandem > 0.9


def test_sgd_twins_part_fastest_with_lenet_and_sams_with_the_fcn():
    for seed, epoch in itertools.product(SEEDS, (5, 10, 30)):
        sgd, sam, stable = (twins("lenet5", m, seed).distances[epoch] for m in METHODS)
        assert sgd > 1.05 * sam and sgd > 1.1 * stable
    lenet, fcn = ends("lenet5", apart), ends("fcn", apart)
    assert min(lenet["plain"]) > max(lenet["SAM"]) and min(lenet["SAM"]) > max(lenet["StableSAM"]), "whatever the seeds"
    assert min(fcn["SAM"]) > 1.4 * max(fcn["plain"] + fcn["StableSAM"]), "whatever the seed"


def test_stable_sam_twins_stay_closer_than_sams():
    for network, factor in (("fcn", 1.4), ("lenet5", 1.05)):
        for seed in SEEDS:
            sam, stable = (twins(network, m, seed).distances[30] for m in ("SAM", "StableSAM"))
            assert sam > factor * stable


def test_a_larger_distance_does_not_mean_a_larger_gap():
    """SAM's twins are farther apart than SGD's (the FCN) or StableSAM's (LeNet), and their gap is smaller."""
    for network, other in (("fcn", "plain"), ("lenet5", "StableSAM")):
        far, gaps = ends(network, apart), ends(network, error)
        for k in range(len(SEEDS)):
            assert far["SAM"][k] > 1.04 * far[other][k] and gaps["SAM"][k] < 0.97 * gaps[other][k]


def test_seeds_differ_by_a_tenth_and_by_more_than_sgd_and_stable_sam_do():
    """With the FCN. The difference of SAM to the other two is larger than what a seed makes."""
    fcn = ends("fcn", apart)
    assert all(0.05 < spread < 0.15 for spread in spread_of_seeds("fcn"))
    assert {sgd > stable for sgd, stable in zip(fcn["plain"], fcn["StableSAM"], strict=True)} == {True, False}
    assert all(b > a for a, b in itertools.product(fcn["plain"] + fcn["StableSAM"], fcn["SAM"]))
    assert all(0.035 < spread < 0.085 for spread in spread_of_seeds("lenet5"))


def test_with_weight_decay_twins_of_the_fcn_part_farther_and_the_gap_is_smaller():
    plain, sam, stable = (twins("fcn", m, setting="decay") for m in METHODS)
    assert apart(sam) > 1.35 * max(apart(plain), apart(stable))
    assert error(plain) > error(sam) > error(stable)
    for method, pair in zip(METHODS, (plain, sam, stable), strict=True):
        before = twins("fcn", method)
        assert 1.6 < apart(pair) / apart(before) < 1.95 and 0.6 < error(pair) / error(before) < 0.72
        assert 0.69 < pair.tandem < 0.83


def test_with_weight_decay_twins_of_lenet_keep_their_distances_and_their_order_and_the_gap_is_smaller():
    pairs = {m: twins("lenet5", m, setting="decay") for m in METHODS}
    far, middle, near = (apart(pairs[m]) for m in METHODS)
    assert far > 1.08 * middle > 1.16 * near
    plain, sam, stable = (pairs[m] for m in METHODS)
    assert error(plain) > 1.3 * error(stable) > 1.3 * error(sam)
    assert accuracy_gap(plain) < accuracy_gap(sam) < accuracy_gap(stable)
    for method, pair in pairs.items():
        before = twins("lenet5", method)
        assert 0.92 < apart(pair) / apart(before) < 1.04 and 0.69 < error(pair) / error(before) < 0.8
        assert pair.tandem > 0.95


def test_with_a_cosine_schedule_the_same_twins_end_farthest_apart_and_on_lenet_every_measure_has_the_papers_order():
    for network, order in (("fcn", ("SAM", "plain", "StableSAM")), ("lenet5", METHODS)):
        pairs = [twins(network, m, setting="cosine") for m in order]
        far, middle, near = (apart(pair) for pair in pairs)
        assert far > 1.05 * middle > 1.1 * near
        if network == "lenet5":
            for what in (error, accuracy_gap):
                assert what(pairs[0]) > 1.07 * what(pairs[1]) > 1.14 * what(pairs[2])
        shorter = [1 - apart(pair) / apart(twins(network, m)) for m, pair in zip(order, pairs, strict=True)]
        assert min(shorter) > 0.095 and max(shorter) < 0.285
        assert all(pair.tandem > 0.79 for pair in pairs)


@pytest.mark.parametrize("network", NETWORKS)
def test_identical_twins_stay_at_distance_zero(network):
    assert twins(network, identical=True).distances == [0] * 61


@pytest.mark.parametrize(
    "network, setting", [("fcn", "constant"), ("fcn", "decay"), ("fcn", "cosine"), ("lenet5", "constant")]
)
def test_any_disturbance_parts_twins_as_far_as_another_example_does(network, setting):
    """One weight moved by 1e-6, the training sets equal: the distances are within a quarter of those of the example."""
    example = twins(network, setting=setting).distances
    nudged = twins(network, identical=True, setting=setting, nudge=NUDGE).distances
    assert nudged[0] < 1e-7 and example[0] == 0
    for epoch in (5, 10, 30, 60):
        assert 0.8 < nudged[epoch] / example[epoch] < 1.25


@pytest.mark.parametrize("network", NETWORKS)
def test_a_nudge_parts_twins_of_sam_and_stable_sam_as_far_as_another_example_does(network):
    """After two epochs for certain at least half as far, with equal training sets and all settings those of the pairs."""
    mean, low, high = amplification()
    assert 0.5 < low < mean < high
    for method in NUDGED:
        assert min(amplified(network, method)) > 0.8
        for seed, pair in nudged(network, method).items():
            example, own = twins(network, method, seed).record["config"], pair.record["config"]
            assert {k for k in example if example[k] != own.get(k)} == {"identical", "epochs"}
            assert own["nudge"] == NUDGE and own["schedule"] == "constant" and own["epochs"] >= SHORT
            assert pair.distances[0] < 1e-6 < 1e-3 < pair.distances[SHORT]


def test_the_interval_of_amplification_is_that_of_logarithms():
    """Written out: three seeds, two methods, a t quantile of 4.303."""
    logs = [sum(math.log(amplified("lenet5", m)[k]) for m in NUDGED) / 2 for k in range(3)]
    mean = sum(logs) / 3
    half = 4.3027 * math.sqrt(sum((v - mean) ** 2 for v in logs) / 2 / 3)
    assert amplification() == pytest.approx([math.exp(mean + k * half) for k in (0, -1, 1)], rel=1e-4)
