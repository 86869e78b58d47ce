"""What the ledger says of Figures 1 and 2 of the nonuniformity paper, asked of the frozen records again."""

from functools import cache

import pytest
import torch
from scipy.stats import spearmanr

from book.finding import RESULTS
from book.nonuniformity.escapes import held_by_rounding, record, share
from flatlab.runs import records
from toy_problems import NonuniformMinima
from toy_problems.nonuniform_minima import NonuniformEscape
from toy_problems.nonuniform_minima.random_product import exit_shares


def test_sgd_escapes_above_the_almost_sure_limit_only():
    """0.5595: below it no run has left, a little above it a part of them has arrived, further on all have. Full-batch
    descent never leaves."""
    assert all(share("SGD", lr, 2000, "left") == 0 for lr in record()["result"]["learning_rates"] if lr < 0.5595)
    assert share("SGD", 0.56, 2000) == pytest.approx(0.165, abs=0.035)
    assert all(share("SGD", lr, 2000) == 1 for lr in record()["result"]["learning_rates"] if lr > 0.57)
    assert all(share("GD", lr, 2000, "left") == 0 for lr in record()["result"]["learning_rates"])


def test_the_record_of_sgd_is_the_exact_share():
    low, high = (end - 1 for end in NonuniformMinima.outer)
    for lr in (0.52, 0.56, 0.58, 0.6, 0.62, 0.7):
        for steps in (200, 500):
            exact = exit_shares((1 - 0.2 * lr, 1 - 3.8 * lr), 1e-4, low, high, steps)[-1].item()
            error = (exact * (1 - exact) / 2000) ** 0.5
            assert abs(share("SGD", lr, steps, "left") - exact) < 4 * error + 1e-9


def test_nesterov_leaves_where_sgd_stays_and_finds_no_minimum_above_two_thirds():
    assert share("Nesterov", 0.4, 200) == 1
    assert share("Nesterov", 0.7, 2000) == 0 == share("Nesterov", 0.7, 2000, "one")


def test_sam_leaves_from_its_own_limit_and_the_published_form_from_that_of_sgd():
    """0.514: from there on the climbs of its cycle end beyond the way out."""
    assert share("SAM", 0.5, 2000, "left") == 0 and share("SAM", 0.54, 500) == pytest.approx(0.992, abs=0.01)
    assert share("SAM as published", 0.54, 2000, "left") == 0


def test_full_batch_descent_never_leaves():
    (curve,) = [c for c in record()["result"]["curves"] if c["method"] == "GD"]
    assert all(count == 0 for row in curve["left"] for count in row)
    assert all(count == record()["config"]["runs"] for row in curve["one"] for count in row)


def test_rounding_holds_as_many_as_the_experiment_counts_within_nothing():
    least = NonuniformEscape(learning_rates=1, lr_min=0.6, lr_max=0.6, steps=(2000,), radius=1e-300)._count("Momentum")
    assert held_by_rounding() == least["one"].item() > 0


@cache
def valley(theta, lam):
    """Ends and settings of a record of the valley: norm and product of each method, least norm and valley of the data."""
    result = records.only(RESULTS, "factorization_valley", theta=list(theta), lam=lam)["result"]
    bottom = torch.tensor(result["data"]["valley"])
    curves = {
        c["method"]: None if c["norm"][0][-1] is None else (torch.tensor(c["norm"]), torch.tensor(c["product"]))
        for c in result["curves"]
    }
    assert len(bottom) == 20
    return curves, bottom, (2 * bottom.abs()).sqrt(), result["data"]["rest"]


PAPER, CLEAR = (0.1, -0.1), (1.0, 1.0)


def test_the_penalized_loss_has_nothing_left_in_half_the_data_sets_and_without_the_factor_in_all():
    curves, _, _, rest = valley(PAPER, 0.3)
    assert sum(p == 0 for p in rest["COV"]) == 10 and all(p == 0 for p in rest["COV, whole"])
    assert curves["COV, whole"][0][:, -1].max() < 1e-6


def test_where_the_signal_is_strong_cov_is_the_faster_and_rests_half_a_percent_off_the_valley():
    curves, bottom, _, _ = valley(CLEAR, 0.3)
    assert (curves["COV"][0][:, 30] < curves["SAM"][0][:, 30]).all()
    assert (curves["COV"][1][:, 50:] - bottom[:, None]).mean() == pytest.approx(-0.0046, abs=0.001)


def test_without_the_factor_cov_diverges_or_leaves_the_valley():
    assert valley(CLEAR, 0.3)[0]["COV, whole"] is None
    curves, bottom, least, _ = valley(CLEAR, 0.03)
    norm, product = curves["COV, whole"]
    assert (product[:, 50:] - bottom[:, None]).mean() == pytest.approx(-0.030, abs=0.003)
    assert (norm[:, -1] < least).all()
    assert curves["COV"][0][:, -1].mean() == pytest.approx(2.39, abs=0.03), "a lighter penalty is behind SAM"


def test_noise_and_sharpness_order_small_transformers_alike_and_the_noise_not_by_their_errors():
    """Figure 3 on a small scale, by scipy's own rank correlation, at the end and within either half of the trainings."""
    runs = records.find(RESULTS, "noise_and_sharpness", network="vit_micro32")
    grid = {(r["config"]["lr"], r["config"]["batch"], r["config"]["augment"]) for r in runs}
    assert len(grid) == len(runs) == 5 * 3 * 2
    for r in runs:
        half, end = r["result"]["measured"][1:]
        assert half["noise"] < end["noise"], "while the error falls"
        assert r["result"]["curves"][half["epoch"] - 1]["accuracy"] < r["result"]["final"]["accuracy"]
    for augment in ("none", "crop_flip"):
        chosen = [r for r in runs if r["config"]["augment"] == augment]
        error = [1 - r["result"]["final"]["accuracy"] for r in chosen]
        of = {
            key: [r["result"]["measured"][-1][key] for r in chosen] for key in ("noise", "eigenvalue", "ascent", "adaptive")
        }
        assert spearmanr(of["noise"], of["eigenvalue"]).statistic > 0.95
        assert all(spearmanr(values, error).pvalue > 0.05 for values in of.values())
    half = [
        (1 - r["result"]["curves"][9]["accuracy"], r["result"]["measured"][1]["noise"], r["config"]["batch"]) for r in runs
    ]
    own = spearmanr([noise * (10_000 - b) / (b * 9_999) for _, noise, b in half], [error for error, _, _ in half])
    assert own.statistic < 0 and own.pvalue < 0.05, "with the factor of each training's own batch the sign turns"
