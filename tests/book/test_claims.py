"""What the ledger says of Figures 1, 3 and 4, asked of the frozen records again."""

import math
from pathlib import Path

import pytest
import torch

from flatlab import records

RESULTS = Path(__file__).parents[2] / "book" / "results"
RECORD = records.only(RESULTS, "lucchi_success_rate", starts=10_000)
CONFIG = RECORD["config"]
RATES = torch.tensor(RECORD["result"]["learning_rates"], dtype=torch.float64)
LARGE = RATES >= 0.06


def share(method, rho=None, *, steps=300, radius=0.01, what="success"):
    """Share of the starts, one number a learning rate."""
    curves = RECORD["result"]["curves"]
    (curve,) = [c for c in curves if c["method"] == method and c.get("rho") == rho]
    counts = torch.tensor(curve[what])[:, CONFIG["steps"].index(steps)]
    return (counts if what == "diverged" else counts[:, CONFIG["radii"].index(radius)]) / CONFIG["starts"]


def at(lr):
    return int((RATES / lr).log().abs().argmin())


def test_gd_is_highest_at_large_rates_and_not_at_small_ones():
    for rho in CONFIG["rhos"]:
        for method in ("SAM", "StableSAM"):
            assert (share("GD")[LARGE] >= share(method, rho)[LARGE]).all()
    assert share("SAM", 0.1)[at(0.01)] == pytest.approx(0.28, abs=0.01)
    assert share("GD")[at(0.01)] == pytest.approx(0.03, abs=0.01)


@pytest.mark.parametrize("rho, radius", [(0.05, 0.01), (0.05, 0.02), (0.1, 0.02), (0.1, 0.05), (0.2, 0.05), (0.2, 0.1)])
def test_sams_collapse_is_its_cycle(rho, radius):
    """The last rate at which half of StableSAM's successes are SAM's too lies where the cycle reaches the radius."""
    predicted = 2 * radius / ((2 + math.sqrt(2)) * (rho + radius))
    success = share("SAM", rho, steps=1000, radius=radius) / share("StableSAM", rho, steps=1000, radius=radius)
    measured = RATES[success > 0.45].max().item()
    assert abs(math.log(measured / predicted)) < math.log(1.35)
    lenient = share("SAM", rho, radius=0.5)[LARGE] - share("StableSAM", rho, radius=0.5)[LARGE]
    assert lenient.abs().max() < 0.015


def test_stable_sam_is_level_at_large_rates():
    for rho in (0.05, 0.1, 0.2):
        for radius in CONFIG["radii"]:
            level = share("StableSAM", rho, radius=radius)[LARGE]
            assert level.max() - level.min() < 0.015


def test_the_saddle_takes_its_share_with_rho_from_both():
    for rho, stable, sam in ((0.05, 256, 254), (0.1, 572, 565), (0.2, 1360, 1382), (0.5, 3804, 3891)):
        for method, expected in (("StableSAM", stable), ("SAM", sam)):
            assert 10_000 * share(method, rho, radius=0.1, what="saddle")[at(0.1)] == pytest.approx(expected)
    assert share("GD", radius=0.5, what="saddle")[LARGE].max() == 0


def test_small_rho_is_like_gd_for_stable_sam_only():
    assert (share("GD")[LARGE] - share("StableSAM", 0.05)[LARGE]).abs().max() < 0.029
    assert share("SAM", 0.05)[-1] == 0


def test_only_sam_at_large_rho_diverges():
    assert share("SAM", 0.5, what="diverged")[-1] == pytest.approx(0.106, abs=0.005)
    for rho in CONFIG["rhos"]:
        assert share("StableSAM", rho, what="diverged").max() == 0
        assert rho == 0.5 or share("SAM", rho, what="diverged").max() == 0
    assert share("GD", what="diverged").max() == 0


def test_the_rise_depends_on_rate_times_steps():
    """GD's curve after 100 steps at ten times the rate is the curve after 1,000 steps."""
    small = (RATES <= 0.02).nonzero().ravel()
    for k in small.tolist():
        tenfold = at(10 * RATES[k].item())
        if abs(math.log(RATES[tenfold].item() / (10 * RATES[k].item()))) < 0.03:
            for radius in (0.1, 0.5):
                gap = share("GD", steps=1000, radius=radius)[k] - share("GD", steps=100, radius=radius)[tenfold]
                assert gap.abs() < 0.06
    assert (share("GD", steps=1000, radius=0.01)[LARGE] == 1).all()


def pairs(method, rho):
    """The curves of three seeds, a list of windows each: four an epoch, for 20 epochs."""
    runs = records.find(RESULTS, "gradient_pairs", method=method, rho=rho, data="mnist", epochs=20)
    assert sorted(run["config"]["seed"] for run in runs) == [1, 42, 123]
    return [run["result"]["curves"] for run in runs]


def epoch(curves, number, field):
    """Mean of a field over the windows of an epoch and the seeds."""
    values = [point[field] for curve in curves for point in curve[4 * number - 4 : 4 * number]]
    return sum(values) / len(values)


def test_the_far_gradient_is_longer():
    for rho, expected in ((0.01, 0.77), (0.05, 0.53), (0.2, 0.52)):
        assert epoch(pairs("SAM", rho), 20, "ratio") == pytest.approx(expected, abs=0.006)
        for method in ("SAM", "StableSAM"):
            assert max(epoch(pairs(method, rho), number, "ratio") for number in range(1, 21)) < 1


def test_the_ratio_falls_late_in_training_with_sam():
    for rho, early, late in ((0.01, 0.94, 0.77), (0.05, 0.80, 0.53), (0.2, 0.61, 0.52)):
        assert epoch(pairs("SAM", rho), 2, "ratio") == pytest.approx(early, abs=0.006)
        assert epoch(pairs("SAM", rho), 20, "ratio") == pytest.approx(late, abs=0.006)
    stable = pairs("StableSAM", 0.2)
    assert epoch(stable, 2, "ratio") == pytest.approx(0.54, abs=0.006)
    assert epoch(stable, 20, "ratio") == pytest.approx(0.57, abs=0.006)


def test_the_excess_is_positive_but_not_at_the_start():
    for method in ("SAM", "StableSAM"):
        for rho in (0.01, 0.05, 0.2):
            for curve in pairs(method, rho):
                assert 0.987 < sum(point["positive"] for point in curve) / len(curve) < 0.9965
                assert 0.42 < curve[0]["positive"] < 0.75


def test_the_ratio_exceeds_one_at_the_start():
    for curve in pairs("SAM", 0.2):
        assert curve[0]["ratio_high"] == pytest.approx(1.2, abs=0.02)
        assert all(point["ratio_high"] < 1 for point in curve[4:])
