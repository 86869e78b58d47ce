"""What `PairedRuns` makes of records: problems, pairs, intervals, and what has to be run yet."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import traitlets
from scipy import stats

from book import accuracies
from flatlab.runs import records
from flatlab.stats.comparison import seeds_needed
from flatlab.training import Train
from flatlab.widgets import PairedRuns
from flatlab.widgets.paired_runs import APART, OPTIONS, PAPERS, STOPS, compact

BOOK = Path(__file__).parents[2] / "book"
BASE = {"data": "cifar10", "network": "fast_cifar", "width": [64, 256, 256], "method": "plain", "base": "SGD", "lr": 0.1,
        "schedule": "triangle", "epochs": 12, "batch": 128, "seed": 1, "evaluate_train": False}  # fmt: skip
PASSES = {"plain": 1, "SAM": 2, "StableSAM": 2, "LSAM": 1, "CSAM": 3}
RHO = {"SAM": 0.1, "StableSAM": 0.1, "LSAM": 0.05, "CSAM": 0.1}


def record(method="plain", accuracy=0.9, evaluated_on="test", **config):
    own = {"method": method} | ({"rho": RHO[method]} if method in RHO else {})
    config = {k: v for k, v in (BASE | own | config).items() if v is not None}
    steps = 390 * config["epochs"]
    result = {"evaluated_on": evaluated_on, "steps": steps, "gradients": float(PASSES[method] * steps)}
    return {"experiment": "train", "key": "k", "config": config, "result": result | {"final": {"accuracy": accuracy}}}


def seeds(method="plain", accuracies=(0.93, 0.932, 0.931), of=(1, 42, 123), **config):
    return [record(method, accuracy, seed=seed, **config) for seed, accuracy in zip(of, accuracies, strict=True)]


def rows(runs, base="SGD", budget="epochs", reported=()):
    (problem,) = compact(runs, reported)["problems"]
    return {row["label"]: row for row in problem["views"][base][budget]["rows"]}


def names(runs):
    return [problem["name"] for problem in compact(runs)["problems"]]


def reported():
    return [cell._asdict() for cell in accuracies.reported()]


def test_differences_are_those_of_one_seed_with_students_interval():
    table = rows([*seeds(), *seeds("SAM", (0.94, 0.937, 0.938))])
    row = table["SAM"]
    assert row["pairs"] == [[1, 94.0, 93.0], [42, 93.7, 93.2], [123, 93.8, 93.1]]
    assert row["mean"] == pytest.approx((1.0 + 0.5 + 0.7) / 3, abs=1e-4)
    low, high = stats.t.interval(0.95, 2, row["mean"], stats.sem([1.0, 0.5, 0.7]))
    assert row["half"] == pytest.approx((high - low) / 2, abs=1e-4)
    assert (row["setting"], row["passes"]) == ("ρ 0.1", 2) and row["runs"] == [[1, 94.0], [42, 93.7], [123, 93.8]]
    assert table["SGD"]["why"] == "base" and "pairs" not in table["SGD"]


def test_only_seeds_that_both_have_are_pairs_and_fewer_than_three_have_no_interval():
    two = seeds("LSAM", (0.94, 0.95, 0.96), of=(1, 42, 7))
    table = rows([*seeds(), *seeds("SAM", (0.94, 0.95), of=(42, 7)), *two, *seeds("StableSAM", (0.94,), of=(7,))])
    assert table["SAM"]["pairs"] == [[42, 94.0, 93.2]] and table["SAM"]["half"] is None
    assert len(table["LSAM"]["pairs"]) == 2 and table["LSAM"]["half"] is None and table["LSAM"]["mean"] == 1.4
    assert table["StableSAM"]["why"] == "no seed in common" and table["StableSAM"]["runs"] == [[7, 94.0]]


def test_the_spread_is_pooled_over_the_rows_and_gives_the_seeds_of_a_paired_t_test():
    more, few = seeds("LSAM", (0.931, 0.931, 0.931)), seeds("CSAM", (0.95, 0.7), of=(1, 42))
    runs = [*seeds(), *seeds("SAM", (0.94, 0.937, 0.938)), *more, *few]
    view = compact(runs)["problems"][0]["views"]["SGD"]["epochs"]
    squares = 2 * np.var([1.0, 0.5, 0.7], ddof=1) + 2 * np.var([0.1, -0.1, 0.0], ddof=1)
    assert view["spread"] == pytest.approx((squares / 4) ** 0.5), "two pairs say nothing of a spread"
    assert view["needed"] == [seeds_needed(stop, view["spread"]) for stop in STOPS]
    alone = compact([*seeds(), *seeds("SAM", (0.91, 0.92), of=(1, 42))])["problems"][0]["views"]["SGD"]["epochs"]
    assert alone["spread"] is None and alone["needed"] is None


def test_p_values_are_students_corrected_by_holm_for_the_rows_with_an_interval():
    few = seeds("CSAM", (0.95, 0.7), of=(1, 42))
    table = rows([*seeds(), *seeds("SAM", (0.94, 0.937, 0.938)), *seeds("LSAM", (0.931, 0.931, 0.931)), *few])
    alone = [stats.ttest_rel(ours, (93.0, 93.2, 93.1)).pvalue for ours in ((94.0, 93.7, 93.8), (93.1, 93.1, 93.1))]
    assert [table[m]["p"] for m in ("SAM", "LSAM")] == [pytest.approx(p, abs=1e-4) for p in (2 * alone[0], alone[1])]
    assert alone[0] < 0.05 < alone[1] and "p" not in table["CSAM"]


def test_with_equal_gradients_the_partner_of_two_gradients_a_step_is_sgd_at_twice_the_epochs():
    longer = seeds(accuracies=(0.94, 0.942, 0.941), epochs=24)
    runs = [*seeds(), *longer, *seeds("SAM"), *seeds("LSAM", k=1), *seeds("CSAM")]
    assert names(runs) == ["CIFAR-10, fast_cifar, 12 epochs"], "twice the epochs are a partner, no problem of their own"
    table = rows(runs, budget="gradients")
    assert list(table) == ["SGD", "SGD, 24 epochs", "SAM", "LSAM", "CSAM"]
    assert table["SAM"]["pairs"] == [[1, 93.0, 94.0], [42, 93.2, 94.2], [123, 93.1, 94.1]] and table["SAM"]["against"] == 24
    assert table["LSAM"]["against"] == 12 and table["LSAM"]["mean"] == 0
    assert table["CSAM"]["why"] == "not run yet: SGD at 36 epochs" and "mean" not in table["CSAM"]
    assert table["SGD, 24 epochs"]["runs"] == [[1, 94.0], [42, 94.2], [123, 94.1]]
    assert "SGD, 24 epochs" not in rows(runs)


def test_against_sam_the_method_of_one_gradient_a_step_trains_longer():
    runs = [*seeds(), *seeds(accuracies=(0.94, 0.942, 0.941), epochs=24), *seeds("SAM"), *seeds("LSAM", k=1)]
    table = rows(runs, base="SAM", budget="gradients")
    assert table["SGD, 24 epochs"]["mean"] == 1.0 and table["SGD, 24 epochs"]["epochs"] == 24
    assert table["LSAM"]["why"] == "not run yet at 24 epochs"
    assert rows(runs, base="SAM")["SGD"]["mean"] == 0


def test_rows_stand_in_the_order_of_the_palette_a_row_a_radius_and_name_what_differs():
    lsam = [run for rho, k in ((0.5, 1), (0.05, 2), (0.05, 1)) for run in seeds("LSAM", rho=rho, k=k, antithetic=False)]
    table = rows([*lsam, *seeds("StableSAM"), *seeds("SAM"), *seeds()])
    assert list(table) == ["SGD", "SAM", "StableSAM", "LSAM, ρ 0.05, k 1", "LSAM, ρ 0.05, k 2", "LSAM, ρ 0.5, k 1"]
    assert table["LSAM, ρ 0.5, k 1"]["setting"] == "ρ 0.5, k 1"


def test_several_radii_of_sam_are_several_bases():
    (problem,) = compact([*seeds(), *seeds("SAM", rho=0.2), *seeds("SAM", rho=0.1)])["problems"]
    assert list(problem["views"]) == ["SGD", "SAM, ρ 0.1", "SAM, ρ 0.2"]
    assert [row["why"] for row in problem["views"]["SAM, ρ 0.2"]["epochs"]["rows"] if "why" in row] == ["base"]


def test_what_is_trained_makes_problems_and_their_names_say_what_differs():
    def pair(**config):
        return [*seeds(**config), *seeds("SAM", **config)]

    assert names([*pair(), *pair(network="resnet20", width=None, data="cifar100", epochs=30)]) == [
        "CIFAR-10, fast_cifar, 12 epochs",
        "CIFAR-100, ResNet-20, 30 epochs",
    ]
    noisy = pair(width=[32, 128, 128], label_noise=0.4, epochs=8)
    assert names([*noisy, *pair()]) == [
        "CIFAR-10, fast_cifar 64/256/256, 12 epochs",
        "CIFAR-10, fast_cifar 32/128/128, 40% wrong labels, 8 epochs",
    ]
    few = pair(network="lenet5", width=None, examples=10000, epochs=15)
    problems = compact([*few, *pair()])["problems"]
    assert [(p["name"], p["short"]) for p in problems] == [
        ("CIFAR-10, fast_cifar, 12 epochs", "CIFAR-10, fast_cifar"),
        ("CIFAR-10 (10,000 images), LeNet5, 15 epochs", "CIFAR-10 (10,000 images), LeNet5"),
    ]
    assert names([*pair(), *pair(nesterov=True, augment="crop_flip")]) == [
        "CIFAR-10, fast_cifar, 12 epochs, no nesterov, no augment",
        "CIFAR-10, fast_cifar, 12 epochs, nesterov, augment crop and flip",
    ]
    assert names([*pair(), *pair(epochs=24)]) == ["CIFAR-10, fast_cifar, 12 epochs", "CIFAR-10, fast_cifar, 24 epochs"]
    assert names([*seeds(), *seeds("SAM", batch=64)]) == [], "two methods on two problems are not compared"


def test_a_learning_rate_is_the_methods_own_unless_a_method_has_several():
    table = rows([*seeds(lr=0.2), *seeds("SAM")])
    assert table["SGD"]["setting"] == "learning rate 0.2" and table["SAM"]["mean"] == 0
    rates = [run for lr in (0.1, 0.4) for method in ("plain", "SAM") for run in seeds(method, lr=lr)]
    assert names(rates) == [f"CIFAR-10, fast_cifar, 12 epochs, learning rate {lr}" for lr in ("0.1", "0.4")]


def test_training_accuracies_in_the_record_make_no_problem_of_their_own():
    table = rows([*seeds(evaluate_train=True), *seeds("SAM")])
    assert len(table["SAM"]["pairs"]) == 3


def test_the_papers_differences_are_theirs_with_welchs_interval_and_what_we_lack_is_a_row():
    found = compact([*seeds(), *seeds("SAM"), *seeds("LSAM", k=1)], reported())
    claims = found["claims"]["cifar100"]["SGD"]["LSAM"]
    assert claims[0][:4] == ["LSAM", "ResNet-20", 80.18, 69.11]
    test = stats.ttest_ind_from_stats(80.18, 0.08, 3, 69.11, 0.11, 3, equal_var=False)
    freedom = (0.08**2 + 0.11**2) ** 2 * 2 / (0.08**4 + 0.11**4)
    half = stats.t.ppf(0.975, freedom) * (80.18 - 69.11) / test.statistic
    assert claims[0][4] == pytest.approx(half, abs=0.005)
    papers = {base: {c[0] for of in found["claims"]["cifar10"][base].values() for c in of} for base in ("SGD", "SAM")}
    assert papers["SGD"] == {"LSAM", "StableSAM"}, "the nonuniformity paper reports no SGD"
    assert papers["SAM"] == set(PAPERS)
    why = {row["label"]: row["why"] for row in found["problems"][0]["views"]["SGD"]["epochs"]["rows"] if "why" in row}
    lacking = dict.fromkeys(("StableSAM", "ASAM", "StableASAM", "CSAM", "USAM"), "not run yet")
    assert why == {"SGD": "base", **lacking, "GASAM": "not in this library"}


@pytest.mark.parametrize("part", [{"examples": 10_000}, {"label_noise": 0.4}], ids=["some images", "wrong labels"])
def test_the_papers_claim_nothing_of_a_part_of_the_images_or_of_wrong_labels(part):
    whole, other = compact([*seeds(), *seeds("SAM"), *seeds(**part), *seeds("SAM", **part)], reported())["problems"]
    assert whole["claimed"] and not other["claimed"]
    assert not compact([*seeds(), *seeds("SAM")])["problems"][0]["claimed"], "nothing is reported"


@pytest.mark.parametrize(
    "wrong, said",
    [
        (record() | {"experiment": "twins"}, r"draws records of train, got twins/k"),
        (record(evaluated_on="validation"), r"train/k was evaluated on 'validation'"),
    ],
)
def test_records_of_another_experiment_or_of_held_out_images_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        PairedRuns.of([*seeds(), wrong])


def test_a_state_or_a_paper_that_does_not_exist_is_named_with_what_is_allowed():
    runs = [*seeds(), *seeds("SAM")]
    with pytest.raises(ValueError, match="problem must be one of CIFAR-10, fast_cifar, 12 epochs, got 'x'"):
        PairedRuns.of(runs, problem="x")
    with pytest.raises(ValueError, match="base must be one of SGD; SAM, got 'Adam'"):
        PairedRuns.of(runs, base="Adam")
    with pytest.raises(ValueError, match="names the paper 'Smith'; known are LSAM"):
        PairedRuns.of(runs, [{"paper": "Smith"}])
    with pytest.raises(traitlets.TraitError, match="resolve"):
        PairedRuns.of(runs, resolve=0.21)


def test_it_begins_with_the_first_problem_and_without_records_with_none():
    widget = PairedRuns.of([*seeds(), *seeds("SAM")], base="SAM")
    assert (widget.problem, widget.base, widget.resolve) == ("CIFAR-10, fast_cifar, 12 epochs", "SAM", 0.2)
    assert PairedRuns.of([]).pairs["problems"] == [] == PairedRuns().pairs["problems"]


def test_the_records_of_the_book_fit_on_a_page():
    one = {"network": "lenet5", "examples": 10000, "epochs": 15, "lr": 0.03, "weight_decay": 5e-4}
    runs = records.find(BOOK / "results", "train", **one)
    pairs = PairedRuns.of(runs, reported()).pairs
    (problem,) = pairs["problems"]
    assert problem["name"].startswith("CIFAR-10 (10,000 images), LeNet5, 15 epochs")
    assert len(json.dumps(pairs)) < 0.4 * len(json.dumps(runs))


def test_a_problem_whose_runs_share_one_rate_names_it_beside_those_of_other_rates():
    runs = [r for decay in (5e-4, 1e-3) for m in ("plain", "SAM") for r in seeds(m, lr=0.03, weight_decay=decay)]
    runs += [r for m in ("plain", "SAM") for r in seeds(m, lr=0.05, weight_decay=5e-4)]
    named = {problem["name"].partition("epochs, ")[2] for problem in PairedRuns.of(runs).pairs["problems"]}
    assert named == {f"learning rate {lr}, weight decay {d}" for lr, d in ((0.03, 5e-4), (0.03, 1e-3), (0.05, 5e-4))}


def test_every_setting_of_the_trainer_has_its_place():
    """A new setting that is put nowhere makes problems of its own: say here whether it is an option of a method."""
    problem = {
        "data", "network", "width", "base", "lr", "schedule", "peak", "momentum", "nesterov", "weight_decay", "batch",
        "augment", "label_smoothing", "label_noise", "examples", "validation", "stop_at_loss", "precision",
    }  # fmt: skip
    assert {f.name for f in fields(Train)} == {*APART, *OPTIONS, *problem}
