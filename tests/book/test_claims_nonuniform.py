"""What the ledger says of Figures 1 and 2 of the nonuniformity paper, asked of the frozen records again."""

from functools import cache
from pathlib import Path

import pytest
import torch

from flatlab.runs import records
from toy_problems import NonuniformMinima
from toy_problems.nonuniform_minima.random_product import exit_shares

RESULTS = Path(__file__).parents[2] / "book" / "results"


@cache
def escapes():
    record = records.only(RESULTS, "nonuniform_escape", runs=2000)
    return record


def share(method, lr, steps, what="zero"):
    """Share of the runs at a learning rate after so many steps."""
    record = escapes()
    result, settings = record["result"], record["config"]
    (curve,) = [c for c in result["curves"] if c["method"] == method]
    (k,) = [k for k, rate in enumerate(result["learning_rates"]) if abs(rate - lr) < 1e-9]
    return curve[what][settings["steps"].index(steps)][k] / settings["runs"]


def test_sgd_escapes_above_the_almost_sure_limit_only():
    assert share("SGD", 0.54, 2000, "left") == 0
    assert share("SGD", 0.56, 2000) == pytest.approx(0.165, abs=0.035)
    assert share("SGD", 0.58, 2000) == 1
    assert share("SGD", 0.6, 200) == pytest.approx(0.902, abs=0.03) and share("SGD", 0.6, 500) == 1


def test_the_record_of_sgd_is_the_exact_share():
    low, high = (end - 1 for end in NonuniformMinima.outer)
    for lr in (0.52, 0.56, 0.58, 0.6, 0.62, 0.7):
        for steps in (200, 500):
            exact = exit_shares((1 - 0.2 * lr, 1 - 3.8 * lr), 1e-4, low, high, steps)[-1].item()
            error = (exact * (1 - exact) / 2000) ** 0.5
            assert abs(share("SGD", lr, steps, "left") - exact) < 4 * error + 1e-9


def test_momentum_escapes_less_at_the_papers_rate_than_beside_it():
    assert share("Momentum", 0.6, 200) == pytest.approx(0.663, abs=0.045)
    assert share("Momentum", 0.6, 2000) == pytest.approx(0.891, abs=0.03)
    assert share("Momentum", 0.58, 2000) == pytest.approx(0.970, abs=0.02)
    assert share("Momentum", 0.64, 2000) == 1


def test_nesterov_leaves_always_and_arrives_in_three_runs_of_four():
    assert share("Nesterov", 0.6, 200, "left") == 1
    assert share("Nesterov", 0.6, 2000) == pytest.approx(0.748, abs=0.04)
    assert share("Nesterov", 0.4, 200) == 1
    assert share("Nesterov", 0.7, 2000) == 0 == share("Nesterov", 0.7, 2000, "one")


def test_sam_escapes_at_the_papers_rate_and_where_sgd_does_not():
    for method in ("SAM", "SAM as published"):
        assert share(method, 0.6, 200) > 0.99 and share(method, 0.6, 500) == 1
    assert share("SAM", 0.54, 500) == pytest.approx(0.992, abs=0.01)
    assert share("SAM", 0.5, 2000, "left") == 0
    assert share("SAM as published", 0.54, 2000, "left") == 0


def test_full_batch_descent_never_leaves():
    record = escapes()
    (curve,) = [c for c in record["result"]["curves"] if c["method"] == "GD"]
    assert all(count == 0 for row in curve["left"] for count in row)
    assert all(count == record["config"]["runs"] for row in curve["one"] for count in row)


@cache
def valley(theta, lam):
    """Ends and settings of a record of the valley: norm and product of each method, least norm and valley of the data."""
    record = records.only(RESULTS, "factorization_valley", theta=list(theta), lam=lam)
    result = record["result"]
    bottom = torch.tensor(result["data"]["valley"])
    curves = {
        c["method"]: None if c["norm"][0][-1] is None else (torch.tensor(c["norm"]), torch.tensor(c["product"]))
        for c in result["curves"]
    }
    assert len(bottom) == 20
    return curves, bottom, (2 * bottom.abs()).sqrt(), result["data"]["rest"]


PAPER, CLEAR = (0.1, -0.1), (1.0, 1.0)


def test_sgd_and_sam_reach_the_valley_and_cov_does_not_stay_at_the_papers_settings():
    curves, bottom, least, _ = valley(PAPER, 0.3)
    off = {name: (product[:, 50:] - bottom[:, None]).mean() for name, (_, product) in curves.items()}
    assert abs(off["SGD"]) < 0.0005 and abs(off["SAM"]) < 0.0015
    assert off["COV"] == pytest.approx(0.0037, abs=0.001)
    assert (curves["COV"][0][:, -1] < least).all(), "below the least norm that a minimum can have"
    distance = {name: (norm[:, -1] - least).abs().mean() for name, (norm, _) in curves.items()}
    assert distance["SAM"] == pytest.approx(0.017, abs=0.003) and distance["COV"] == pytest.approx(0.042, abs=0.005)
    halved = valley(PAPER, 0.15)[0]["COV"][0][:, -1]
    assert (halved < least).sum() == pytest.approx(16, abs=2)


def test_the_penalized_loss_has_nothing_left_in_half_the_data_sets_and_without_the_factor_in_all():
    curves, _, _, rest = valley(PAPER, 0.3)
    assert sum(p == 0 for p in rest["COV"]) == 10 and all(p == 0 for p in rest["COV, whole"])
    assert curves["COV, whole"][0][:, -1].max() < 1e-6


def test_sgd_nearly_stops_while_sam_and_cov_go_on():
    curves, _, _, _ = valley(CLEAR, 0.3)
    moved = {name: (values[0][:, 10] - values[0][:, -1]).mean() for name, values in curves.items() if values}
    assert moved["SGD"] == pytest.approx(0.06, abs=0.02) and moved["SAM"] > 1 and moved["COV"] > 0.9


def test_where_the_signal_is_strong_both_come_to_the_least_norm_and_cov_sooner():
    curves, bottom, least, _ = valley(CLEAR, 0.3)
    for name, within in (("SAM", 0.015), ("COV", 0.01)):
        assert ((curves[name][0][:, -1] / least).mean() - 1).abs() < within
    assert (curves["COV"][0][:, 30] < curves["SAM"][0][:, 30]).all()
    assert (curves["COV"][1][:, 50:] - bottom[:, None]).mean() == pytest.approx(-0.0046, abs=0.001)


def test_without_the_factor_cov_diverges_or_leaves_the_valley():
    assert valley(CLEAR, 0.3)[0]["COV, whole"] is None
    curves, bottom, least, _ = valley(CLEAR, 0.03)
    norm, product = curves["COV, whole"]
    assert (product[:, 50:] - bottom[:, None]).mean() == pytest.approx(-0.030, abs=0.003)
    assert (norm[:, -1] < least).all()
    assert curves["COV"][0][:, -1].mean() == pytest.approx(2.39, abs=0.03), "a lighter penalty is behind SAM"
