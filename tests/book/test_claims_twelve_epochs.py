"""What the book says of the methods on CIFAR-10 after twelve epochs, against the records themselves."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from book import twelve_epochs
from book.finding import RESULTS
from book.nonuniformity import mnist
from book.stable_sam import against_sgd
from flatlab.runs import records

OPTIONS = {
    "SAM": {"rho"}, "StableSAM": {"rho"}, "LSAM": {"rho", "k", "antithetic"}, "CSAM": {"rho", "rho_cov", "ema"},
}  # fmt: skip
GRADIENTS = {"SAM": 2, "StableSAM": 2, "LSAM": 1, "CSAM": 3}
"""That a method takes in each step."""


def accuracies():
    """In percent, by method and seed, read anew."""
    found = {}
    for r in records.find(RESULTS, "train", data="cifar10", network="fast_cifar", epochs=12, lr=0.1, width=[32, 128, 128]):
        if r["config"].get("validation") is None and not r["config"].get("label_noise"):
            found.setdefault(r["config"]["method"], {})[r["config"]["seed"]] = r
    return found


def test_a_pair_differs_in_the_methods_own_options_alone():
    runs = twelve_epochs.runs()
    for name in set(runs) - {"SGD"}:
        for seed in set(runs[name]) & set(runs["SGD"]):
            ours, sgd = runs[name][seed], runs["SGD"][seed]
            apart = {k for k in ours["config"] if ours["config"][k] != sgd["config"].get(k)}
            assert apart == {"method"} | OPTIONS[name]
            assert ours["result"]["gradients"] == GRADIENTS[name] * sgd["result"]["gradients"]


def test_a_lead_is_the_methods_accuracy_less_the_others():
    """The paired t-test of scipy says the same mean and interval."""
    read = accuracies()
    for name in set(twelve_epochs.runs()) - {"SGD"}:
        shared = sorted(set(read[name]) & set(read["plain"]))
        ours, sgd = ([100 * read[m][s]["result"]["final"]["accuracy"] for s in shared] for m in (name, "plain"))
        mean, half = twelve_epochs.lead(name)
        assert mean == pytest.approx(np.mean(ours) - np.mean(sgd))
        if len(shared) > 1:
            assert (mean - half, mean + half) == pytest.approx(tuple(ttest_rel(ours, sgd).confidence_interval()))


def test_sgd_at_the_faster_rate_differs_from_itself_in_the_rate_alone():
    slow, fast = twelve_epochs.runs()["SGD"], twelve_epochs.runs(lr=twelve_epochs.FASTER)["SGD"]
    assert set(slow) == set(fast)
    for seed, r in fast.items():
        assert r["config"] | {"lr": slow[seed]["config"]["lr"]} == slow[seed]["config"] != r["config"]


def test_sgd_with_twice_the_epochs_takes_sams_gradients_and_differs_from_itself_in_the_length_alone():
    for seed, r in twelve_epochs.runs(epochs=twelve_epochs.LONGER).get("SGD", {}).items():
        assert r["config"] | {"epochs": 12} == twelve_epochs.runs()["SGD"][seed]["config"]
        assert r["result"]["gradients"] == twelve_epochs.runs()["SAM"][seed]["result"]["gradients"]


@pytest.mark.parametrize("run", [True, False])
def test_the_words_set_sam_beside_sgd_with_twice_the_epochs_once_that_is_run(monkeypatch, run):
    table = {"SAM": ahead_by((0.3, 0.4, 0.5)), "StableSAM": ahead_by((0.0, 0.1, 0.2))}
    longer = {"SGD": ahead_by((0.6,))} if run else {}
    monkeypatch.setattr(twelve_epochs, "runs", lambda epochs=12: longer if epochs == 24 else table)
    told = ["-0.30 (one seed)", "-0.60 (one seed)"] if run else 2 * ["not run yet"]
    assert [twelve_epochs.at_equal_cost(name) for name in ("SAM", "StableSAM")] == told


def test_two_pairs_have_no_interval():
    two, three = (dict(list(ahead_by((0.5, 0.1, 0.6)).items())[:k]) for k in (2, 3))
    level = ahead_by((0.0, 0.0, 0.0))
    assert twelve_epochs.in_seeds(two, level) == "+0.30 (2 seeds)"
    assert twelve_epochs.in_seeds(three, level) == "+0.40 ± 0.66 (3 seeds)"


def test_the_interval_of_a_lead_is_that_of_the_paired_t_test(monkeypatch):
    run = lambda a: {"result": {"final": {"accuracy": a}}}  # noqa: E731
    ours, sgd = (0.91, 0.93, 0.92), (0.90, 0.90, 0.91)
    found = {name: {k: run(a) for k, a in enumerate(of)} for name, of in (("SGD", sgd), ("SAM", ours))}
    monkeypatch.setattr(twelve_epochs, "runs", lambda: found)
    mean, half = twelve_epochs.lead("SAM")
    assert (mean - half, mean + half) == pytest.approx(tuple(100 * e for e in ttest_rel(ours, sgd).confidence_interval()))


def ahead_by(leads):
    """Runs of a method, by seed: 90% and so many points more."""
    config = {"network": "fast_cifar", "data": "cifar10", "epochs": 12}
    return {
        k: {"config": config | {"seed": k}, "result": {"final": {"accuracy": 0.9 + a / 100}}} for k, a in enumerate(leads)
    }


@pytest.mark.parametrize(
    ("sam", "stable", "verdict"),
    [
        ((1.0, 1.1, 1.2), (1.0, 1.1, 1.2), "held"),  # the paper's least leads are 0.67 and 0.91
        ((0.3, 0.4, 0.5), (1.0, 1.1, 1.2), "held in part"),
        ((1.0, 1.1, 1.2), (0.0,), "held in part"),
        ((-0.3, 0.4, 0.5), (2.0,), "not reproduced"),
        ((-1.0, -1.1, -1.2), (-1.0, -1.1, -1.2), "not reproduced"),
    ],
)
def test_both_have_to_lead_for_certain(monkeypatch, sam, stable, verdict):
    found = {"SGD": ahead_by((0.0, 0.0, 0.0)), "SAM": ahead_by(sam), "StableSAM": ahead_by(stable)}
    monkeypatch.setattr(twelve_epochs, "runs", lambda: found)
    assert against_sgd.greatly_better().verdict == verdict


@pytest.mark.parametrize(
    ("sam", "stable", "verdict"),
    [
        ((0.3, 0.4, 0.5), (1.0, 1.1, 1.2), "held in part"),  # whether anything is stabilized was not measured
        ((1.0, 1.1, 1.2), (0.3, 0.4, 0.5), "not reproduced"),
        ((0.3, 0.4, 0.5), (0.2, 0.5, 0.6), "not reproduced"),  # the interval holds zero
    ],
)
def test_stablesam_has_to_lead_sam_for_certain(monkeypatch, sam, stable, verdict):
    found = {"SGD": ahead_by((0.0, 0.0, 0.0)), "SAM": ahead_by(sam), "StableSAM": ahead_by(stable)}
    monkeypatch.setattr(twelve_epochs, "runs", lambda: found)
    assert against_sgd.generalizes_better().verdict == verdict


@pytest.mark.parametrize(
    ("csam", "verdict", "said"),
    [
        ((1.0, 1.1, 1.2), "held", "+0.70 (the same in every seed) (3 seeds), for certain"),
        ((0.9, 1.1, 1.2), "held", "+0.67 ± 0.14 (3 seeds), for certain"),
        ((0.2, 0.5, 0.6), "held in part", "+0.03 ± 0.29 (3 seeds), and more than 0.29 would have shown"),  # it holds zero
        ((-1.0, -1.1, -1.2), "held in part", "-1.50 ± 0.50 (3 seeds), and more than 0.50 would have shown"),
    ],
)
def test_csam_has_to_lead_sam_for_certain_on_every_problem(monkeypatch, csam, verdict, said):
    """As if it led on MNIST with every share of wrong labels: CIFAR-10 still counts."""
    found = {"SAM": ahead_by((0.3, 0.4, 0.5)), "CSAM": ahead_by(csam)}
    monkeypatch.setattr(twelve_epochs, "runs", lambda: found)
    monkeypatch.setattr(mnist, "lead", lambda noise, name, other: (1.0, 0.5))
    finding = mnist.guided()
    assert finding.verdict == verdict
    assert said in finding.words
    assert "0.06 to 0.80" in finding.words  # the paper's on seven networks: PyramidNet and ResNet-20 at the ends


def test_no_difference_of_the_table_stands_alone():
    """Where nine intervals stand beside each other, one that lies off zero by itself is no finding yet."""
    right = {
        name: [100 * of[s]["result"]["final"]["accuracy"] for s in (1, 42, 123)]
        for name, of in twelve_epochs.runs().items()
    }
    faster = twelve_epochs.runs(lr=twelve_epochs.FASTER)["SGD"]
    right["SGD, rate 0.2"] = [100 * faster[s]["result"]["final"]["accuracy"] for s in (1, 42, 123)]
    found = twelve_epochs.p_values()
    pairs = {frozenset((one, other)) for one in right for other in ("SGD", "SAM") if one != other}
    assert len(found) == len(pairs) == 9 and {frozenset(pair) for pair in found} == pairs
    for (one, other), p in found.items():
        assert p == pytest.approx(ttest_rel(right[one], right[other]).pvalue)
    words = twelve_epochs.in_words()
    assert min(found.values()) * 9 > 0.05 and words["twelve-together"] == "none"  # Holm's first step is Bonferroni's
    assert words["twelve-alone"] == str(sum(p < 0.05 for p in found.values()))


def test_the_words_say_which_of_two_ends_higher():
    """Means over the seeds, subtracted by hand: CSAM less SAM on both pages that tell it, SGD at 0.2 less SAM at 0.1."""
    means = {
        name: np.mean([100 * r["result"]["final"]["accuracy"] for r in of.values()]) for name, of in accuracies().items()
    }
    faster = records.find(RESULTS, "train", data="cifar10", network="fast_cifar", epochs=12, lr=0.2, width=[32, 128, 128])
    quick = np.mean([100 * r["result"]["final"]["accuracy"] for r in faster if r["config"].get("validation") is None])
    words = twelve_epochs.in_words() | mnist.in_words()
    told = {name: float(text.split(" ± ")[0].replace("−", "-")) for name, text in words.items() if " ± " in text}
    assert told["twelve-csam-sam"] == told["mnist-cifar10"] == pytest.approx(means["CSAM"] - means["SAM"], abs=0.005)
    assert told["twelve-faster-sam"] == pytest.approx(quick - means["SAM"], abs=0.005)
    assert told["twelve-csam"] == pytest.approx(means["CSAM"] - means["plain"], abs=0.005)
