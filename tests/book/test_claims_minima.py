"""What the ledger says of Figure 5 of the relative flatness paper, asked of the records of LeNet5's minima again.

A verdict is computed from the minima, and must be that of the ledger.
"""

import statistics
from pathlib import Path

import pytest
import yaml

from flatlab import records
from flatlab.predictors import MEASURES, SETTINGS, columns, gaps, predictors, set_up, within
from tests.test_predictors import study

BOOK = Path(__file__).parents[2] / "book"
RIVALS = {"trace": "Tr H", "pac-bayes": "PAC-Bayes 1/σ²", "fisher-rao": "Fisher-Rao", "weights-norm": "‖w‖"}
"""The paper's other measures, as its text defines them."""
SCALED = ("Tr H", "PAC-Bayes 1/σ²", "‖w‖")
"""Those of them that a rescaling of layers changes."""


def minima():
    """The records of LeNet5: all 110 are there, and each training reached the loss at which it was to stop."""
    found = records.find(BOOK / "results", "minimum", data="cifar10", network="lenet5", examples=10000)
    assert len(found) == 110 and all(r["result"]["reached"] for r in found)
    return found


def of_all(parts, whole="held"):
    """`held` where all of them hold, `did not hold` where none does, else `held in part`."""
    return whole if all(parts) else "held in part" if any(parts) else "did not hold"


def leads(kappa, rival):
    """That kappa's correlation is higher: held if both intervals of the lead are above 0 and kappa's own correlation is
    positive, in part if it leads otherwise, as before a rival whose sign is wrong, and not if it leads in neither."""
    both = rival.behind_pearson, rival.behind_spearman
    whole = all(c.low > 0 for c in both) and min(kappa.pearson.value, kappa.spearman.value) > 0
    return "held" if whole else of_all([c.value > 0 for c in both], "held in part")


def verdicts(found):
    """The verdict on each claim, from the predictors of the loss gap."""
    kappa, rivals = found["κ"], {claim: found[name] for claim, name in RIVALS.items()}
    own = {claim: leads(kappa, p) for claim, p in rivals.items()}
    others = [p for claim, p in rivals.items() if claim != "fisher-rao"] + [kappa]
    fisher = rivals["fisher-rao"]
    best = "held" if set(own.values()) == {"held"} else "did not hold" if "did not hold" in own.values() else "held in part"
    strong = kappa.pearson, kappa.spearman
    lost = [c.low > 0 for name in SCALED for c in (found[name].lost_pearson, found[name].lost_spearman)]
    correlated = [c.low > 0 for p in (kappa, *(rivals[k] for k in ("trace", "pac-bayes"))) for c in (p.pearson, p.spearman)]
    return {
        "figure-5-relative-flatness": best,
        "summary-outperforms": best,
        "figure-5-trace": own["trace"],
        "figure-5-pac-bayes": own["pac-bayes"],
        "figure-5-weights-norm": own["weights-norm"],
        "figure-5-fisher-rao": of_all(
            [fisher.pearson.value < min(p.pearson.value for p in others),
             fisher.spearman.value < min(p.spearman.value for p in others)]
        ),
        "summary-strong-correlation": "held" if all(c.low > 0.5 for c in strong) else
        of_all([c.value > 0.5 for c in strong], "held in part"),
        "background-measures-correlate": of_all(correlated),
        "reparametrization-reduces-correlation": of_all(lost),
    }  # fmt: skip


def ledger():
    entries = yaml.safe_load((BOOK / "claims.yml").read_text())
    return {e["id"].removeprefix("relative-flatness/"): e for e in entries if e["id"].startswith("relative-flatness/")}


@pytest.fixture(scope="module")
def found():
    return predictors(minima())


CLAIMS = (
    "figure-5-relative-flatness", "summary-outperforms", "figure-5-trace", "figure-5-pac-bayes", "figure-5-weights-norm",
    "figure-5-fisher-rao", "summary-strong-correlation", "background-measures-correlate",
    "reparametrization-reduces-correlation",
)  # fmt: skip


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_verdict_is_that_of_the_minima(found, claim):
    entry = ledger()[claim]
    assert entry["verdict"] == verdicts(found)[claim]


def test_of_the_papers_measures_only_two_survive_a_rescaling_of_layers():
    """Each of them at each minimum, over what it was before; the function stays the same to rounding."""
    reached = minima()
    ratios = columns(reached, rescaled=True) / columns(reached)
    change = {name: [abs(v - 1) for v in column] for name, column in zip(MEASURES, ratios.T, strict=True)}
    for name in ("κ", "κ, Theorem 4", "Fisher-Rao", "−margin"):
        assert max(change[name]) < 1e-3, name
    for name in SCALED:
        assert statistics.median(change[name]) > 0.1, name
    assert all(r["result"]["rescaling"]["output_change"] < 1e-4 for r in reached)


def test_a_verdict_follows_the_correlations():
    """Of made-up minima whose gap is kappa and a little noise, kappa leads, and not where it is the trace that is so."""
    made = study()
    told = verdicts(predictors(made, samples=300))
    assert told["figure-5-trace"] == told["summary-strong-correlation"] == "held"
    assert told["reparametrization-reduces-correlation"] == "held in part", "two of the three measures say nothing here"
    for r in made:
        for m in (r["result"]["measures"], r["result"]["rescaled"]):
            m["pac_bayes"], m["weight_norm"] = m["trace"], m["trace"]["value"]
            m["relative_flatness"], m["trace"] = m["trace"]["value"], {"value": m["relative_flatness"]}
    told = verdicts(predictors(made, samples=300))
    assert told["figure-5-trace"] == told["figure-5-relative-flatness"] == "did not hold"
    assert told["reparametrization-reduces-correlation"] == "held in part", "the trace keeps its own"
    for r in made:
        for m in (r["result"]["measures"], r["result"]["rescaled"]):
            m["trace"], m["relative_flatness"] = m["pac_bayes"], r["result"]["scores"]["loss_gap"]
    assert verdicts(predictors(made, samples=300))["reparametrization-reduces-correlation"] == "held"


@pytest.fixture(scope="module")
def digits():
    runs = records.find(BOOK / "results", "minimum", data="digits", network="fcn3", examples=300, few=300)
    assert len(runs) == 110 and all(r["result"]["reached"] for r in runs)
    return runs


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


def test_on_lenet_too_the_norm_predicts_and_curvature_has_the_wrong_sign(found):
    runs = minima()
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


# ---- what all five papers take for granted, asked of both studies --------------------------------------------------------


def pairs(runs, setting):
    """Pairs of minima that differ in one setting alone, the smaller value first."""
    of = lambda r: tuple(r["config"][s] for s in SETTINGS if s != setting)  # noqa: E731
    value = [r["config"][setting] for r in runs]
    held = [of(r) for r in runs]
    count = range(len(runs))
    return [(i, j) for i in count for j in count if held[i] == held[j] and value[i] < value[j]]


def share_larger(runs, setting, quantity):
    """Share of those pairs in which the larger value of the setting has the larger quantity."""
    column = gaps(runs) if quantity == "gap" else columns(runs)[:, list(MEASURES).index(quantity)]
    found = pairs(runs, setting)
    return sum(column[j] > column[i] for i, j in found) / len(found)


def flat_generalizes(studies):
    return of_all([predictors(runs, samples=500)["Tr H"].spearman.low > 0 for runs in studies])


def flatness_beats_norms(studies):
    """Whether the best of three measures of flatness is ahead of the norm and of the margin, in each study."""
    ahead = []
    for runs in studies:
        found = predictors(runs, samples=2)
        best = max(found[name].spearman.value for name in ("κ", "Tr H", "PAC-Bayes 1/σ²"))
        ahead += [best > found[name].spearman.value for name in ("‖w‖", "−margin")]
    return of_all(ahead)


def small_batches(studies):
    flatter = [share_larger(runs, "batch", "Tr H") > 0.8 for runs in studies]
    better = [share_larger(runs, "batch", "gap") > 0.8 for runs in studies]
    return of_all(flatter + better)


def batches_and_rates(studies):
    flatter = [share_larger(runs, "lr", "Tr H") < 0.2 for runs in studies]
    return "held in part" if small_batches(studies) != of_all(flatter) else of_all(flatter)


def correlates_but_does_not_explain(studies):
    found = [predictors(runs, samples=500)["Tr H"].spearman for runs in studies]
    return of_all([c.low > 0 for c in found] + [c.value < 0.9 for c in found])


def insufficient(studies):
    return of_all([predictors(runs, samples=2)["Tr H"].spearman.value < 0.9 for runs in studies])


BACKGROUND = {
    "stable-sam/background-flat-generalizes": flat_generalizes,
    "lsam/background-flat-generalizes": flat_generalizes,
    "fa/background-flat-generalizes": flat_generalizes,
    "fa/summary-correlates-not-explains": correlates_but_does_not_explain,
    "fa/background-small-batches": small_batches,
    "lsam/background-batch-size": batches_and_rates,
    "nonuniformity/background-flatness-insufficient": insufficient,
    "relative-flatness/background-jiang": flatness_beats_norms,
}


@pytest.mark.parametrize("claim", BACKGROUND)
def test_what_the_papers_take_for_granted_is_asked_of_both_sets_of_minima(claim, digits):
    (entry,) = [e for e in yaml.safe_load((BOOK / "claims.yml").read_text()) if e["id"] == claim]
    assert entry["verdict"] == BACKGROUND[claim]((digits, minima()))
