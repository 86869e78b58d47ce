"""What the ledger says of Figures 5 to 7 of the StableSAM paper, asked of the frozen records of the twins again."""

import statistics
from pathlib import Path

import pytest

from flatlab import records

RESULTS = Path(__file__).parents[2] / "book" / "results"
CONSTANT = {"schedule": "constant", "weight_decay": 0.0, "seed": 1}


def twins(network, method="plain", identical=False, epochs=60, **more):
    """The distances (from the start) and the curves of one pair."""
    named = {"network": network, "method": method, "identical": identical, "epochs": epochs}
    found = records.find(RESULTS, "twins", **named, **CONSTANT, **more)
    (record,) = [r for r in found if r["config"].get("nudge") == more.get("nudge")]
    return [d["distance"] for d in record["result"]["distances"]], record["result"]["curves"]


def gap(curves, score="loss"):
    return [abs(c[score] - c[f"whole_train_{score}"]) for c in curves]


@pytest.mark.parametrize("network", ["fcn", "lenet5"])
@pytest.mark.parametrize("method", ["plain", "SAM", "StableSAM"])
def test_distance_and_generalization_error_rise_together(network, method):
    distances, curves = twins(network, method)
    assert statistics.correlation(distances[1:], gap(curves)) > 0.9


def test_sgd_twins_part_fastest_with_lenet_and_not_with_the_fcn():
    for epoch in (5, 10, 30):
        sgd, sam, stable = (twins("lenet5", m)[0][epoch] for m in ("plain", "SAM", "StableSAM"))
        assert sgd > 1.1 * sam and sgd > 1.1 * stable
    assert twins("fcn", "SAM")[0][60] > 1.4 * twins("fcn")[0][60]


def test_stable_sam_twins_stay_closer_than_sams():
    for network, factor in (("fcn", 1.4), ("lenet5", 1.05)):
        assert twins(network, "SAM")[0][30] > factor * twins(network, "StableSAM")[0][30]


def test_a_larger_distance_does_not_mean_a_larger_gap():
    """SAM's twins are farther apart than SGD's (the FCN) or StableSAM's (LeNet), and their gap is smaller."""
    for network, other in (("fcn", "plain"), ("lenet5", "StableSAM")):
        (far, sam), (near, others) = twins(network, "SAM"), twins(network, other)
        assert far[-1] > 1.04 * near[-1] and gap(sam)[-1] < 0.97 * gap(others)[-1]


@pytest.mark.parametrize(("network", "epochs"), [("fcn", 60), ("lenet5", 10)])
def test_any_disturbance_parts_twins_as_far_as_another_example_does(network, epochs):
    """One weight moved by 1e-6, the training sets equal: the distances are within a fifth of those of the example."""
    example, _ = twins(network)
    nudged, _ = twins(network, identical=True, epochs=epochs, nudge=1e-6)
    assert nudged[0] < 1e-7 and example[0] == 0
    for epoch in {5, 10, 30, 60} & set(range(epochs + 1)):
        assert 0.8 < nudged[epoch] / example[epoch] < 1.2
