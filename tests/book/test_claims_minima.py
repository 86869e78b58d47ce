"""What the ledger and the chapter say of Figure 5 of the relative flatness paper, asked of the minima's records again."""

import statistics

import pytest

from book.relative_flatness import minima
from book.relative_flatness.minima import SCALED, leads, leads_all, rescaling_takes, share_larger, strong
from flatlab.stats.predictors import MEASURES, columns, gaps, predictors, set_up, within
from tests.stats.test_predictors import study


@pytest.fixture(scope="module")
def found():
    return minima.of_lenet()


@pytest.fixture(scope="module")
def digits():
    return minima.digits()


def test_of_the_papers_measures_only_two_survive_a_rescaling_of_layers():
    """Each of them at each minimum, over what it was before; the function stays the same to rounding."""
    reached = minima.lenet()
    ratios = columns(reached, rescaled=True) / columns(reached)
    change = {name: [abs(v - 1) for v in column] for name, column in zip(MEASURES, ratios.T, strict=True)}
    for name in ("κ", "κ, Theorem 4", "Fisher-Rao", "−margin"):
        assert max(change[name]) < 1e-3, name
    for name in SCALED:
        assert statistics.median(change[name]) > 0.1, name
    assert all(r["result"]["rescaling"]["output_change"] < 1e-4 for r in reached)


@pytest.mark.slow
def test_a_verdict_follows_the_correlations():
    """Of made-up minima whose gap is kappa and a little noise, kappa leads, and not where it is the trace that is so."""
    made = study()
    told = predictors(made, samples=300)
    assert leads(told, "Tr H") == strong(told) == "held"
    assert rescaling_takes(told) == "held in part", "two of the three measures say nothing here"
    for r in made:
        for m in (r["result"]["measures"], r["result"]["rescaled"]):
            m["pac_bayes"], m["weight_norm"] = m["trace"], m["trace"]["value"]
            m["relative_flatness"], m["trace"] = m["trace"]["value"], {"value": m["relative_flatness"]}
    told = predictors(made, samples=300)
    assert leads(told, "Tr H") == leads_all(told) == "not reproduced"
    assert rescaling_takes(told) == "held in part", "the trace keeps its own"
    for r in made:
        for m in (r["result"]["measures"], r["result"]["rescaled"]):
            m["trace"], m["relative_flatness"] = m["pac_bayes"], r["result"]["scores"]["loss_gap"]
    assert rescaling_takes(predictors(made, samples=300)) == "held"


def test_on_digits_the_norm_of_the_weights_predicts_and_curvature_has_the_wrong_sign(digits):
    found = predictors(digits, samples=500)
    assert found["‖w‖"].spearman.low > 0.1 and found["‖w‖, last layer"].spearman.low > 0.1
    assert found["Tr H"].spearman.high < 0 and found["PAC-Bayes 1/σ²"].spearman.high < 0
    assert found["κ"].spearman.low < 0 < found["κ"].spearman.high
    assert found["‖w‖"].behind_spearman.high < 0, "the norm is clearly ahead of kappa"
    assert found["PAC-Bayes 1/σ²"].given_loss.high < 0, "nor is it the training loss alone"


def test_on_digits_a_larger_rate_alone_makes_the_minimum_flatter_and_the_gap_larger(digits):
    tau, pairs = within(digits, "lr")
    assert pairs > 40
    assert max(tau[name] for name in ("κ", "κ, Theorem 4", "Tr H", "PAC-Bayes 1/σ²")) < -0.5 and tau["‖w‖"] > 0.5
    x = columns(digits)
    by = {name: x[:, k] for k, name in enumerate(MEASURES)} | {"gap": gaps(digits)}
    rate = [r["config"]["lr"] for r in digits]
    rest = [(set_up(r)[0], set_up(r)[2:], r["config"]["seed"]) for r in digits]
    pairs = [(i, j) for i in range(len(x)) for j in range(len(x)) if rest[i] == rest[j] and rate[i] < rate[j]]
    larger = {name: sum(column[j] > column[i] for i, j in pairs) for name, column in by.items()}
    assert len(pairs) == 50 and larger["‖w‖"] == 50 and larger["gap"] >= 45
    assert larger["Tr H"] <= 7 and larger["κ"] <= 9


@pytest.mark.slow
def test_on_lenet_too_the_norm_predicts_and_curvature_has_the_wrong_sign(found):
    runs = minima.lenet()
    assert found["‖w‖"].spearman.low > 0.4 and found["−margin"].spearman.low > 0.4
    for name in ("Tr H", "PAC-Bayes 1/σ²"):
        assert found[name].spearman.high < -0.2 and found[name].given_loss.high < -0.3, name
    assert found["κ"].spearman.low < 0 < found["κ"].spearman.high
    assert found["Fisher-Rao"].behind_spearman.high < 0, "it is ahead of kappa"
    larger = {quantity: share_larger(runs, "lr", quantity) for quantity in ("‖w‖", "gap", "Tr H")}
    assert larger["‖w‖"] == 1 and larger["gap"] > 0.9 and larger["Tr H"] < 0.05
    accuracy = predictors(runs, "accuracy_gap", samples=300)
    assert accuracy["Tr H"].spearman.high < 0 < accuracy["‖w‖"].spearman.low
    assert accuracy["training loss"].spearman.value == pytest.approx(-0.62, abs=0.01)
