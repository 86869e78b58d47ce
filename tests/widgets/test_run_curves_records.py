"""What `RunCurves` keeps of records: the lines, the facets that differ, and every number it draws."""

import json
from dataclasses import fields

import pytest
import traitlets

from flatlab.studies import Twins
from flatlab.training.methods import OWNERS
from flatlab.widgets import RunCurves
from flatlab.widgets.run_curves import APART, KIND, PROBLEM, SETTING, TUNED, compact

BASE = {"data": "digits", "network": "fcn", "method": "plain", "base": "SGD", "lr": 0.1, "schedule": "cosine",
        "momentum": 0.9, "weight_decay": 0.0005, "epochs": 2, "batch": 64, "seed": 1}  # fmt: skip


def record(gradients=44, distances=None, **config):
    config = {k: v for k, v in (BASE | config).items() if v is not None}
    curves = [
        {"epoch": k, "lr": 0.1, "train_loss": 2 / k, "train_accuracy": 0.4 * k, "loss": 3 / k, "accuracy": 0.123456 * k,
         "whole_train_loss": 1 / k, "whole_train_accuracy": 0.2 * k}
        for k in (1, 2)
    ]  # fmt: skip
    result = {"evaluated_on": "test", "gradients": gradients, "curves": curves}
    return {"experiment": "train", "key": "k", "config": config, "result": result | (distances or {})}


def lines(records):
    return [run["line"] for run in compact(records)["runs"]]


def settings(records):
    return compact(records)["facets"]["setting"]


def test_generalization_error_and_gap_are_held_out_less_training_of_one_epoch():
    (run,) = compact([record()])["runs"]
    assert run["generalization"] == [3 - 1, 1.5 - 0.5]
    assert run["gap"] == [round(0.2 - 0.123456, 5), round(0.4 - 0.246912, 5)]
    assert run["accuracy"] == [0.12346, 0.24691] and run["gradients"] == 22


def test_distances_keep_the_start():
    twins = record(distances={"distances": [{"epoch": k, "distance": 0.1 * k} for k in range(3)]})
    assert compact([twins])["runs"][0]["distance"] == [0.0, 0.1, 0.2]


def test_the_plain_method_is_shown_as_its_base_optimizer():
    assert lines([record(), record(method="SAM", rho=0.1)]) == ["SGD", "SAM"]
    adam = {"base": "Adam", "momentum": None, "lr": 0.001}
    several = [record(), record(**adam), record(method="SAM", rho=0.1), record(method="SAM", rho=0.1, **adam)]
    assert lines(several) == ["SGD, learning rate 0.1", "Adam, learning rate 0.001",
                              "SAM over SGD, learning rate 0.1", "SAM over Adam, learning rate 0.001"]  # fmt: skip
    assert settings(several) == [""], "momentum and learning rate go with the base optimizer, they are no choice"


def test_lines_stand_in_the_order_of_the_palette():
    methods = [record(method=name, rho=0.1) for name in ("LSAM", "StableSAM", "SAM")]
    assert compact([*methods, record()])["lines"] == ["SGD", "SAM", "StableSAM", "LSAM"]


def test_a_run_of_another_length_is_a_line_of_its_own_and_leaves_other_methods_names_alone():
    assert lines([record(), record(epochs=4), record(method="SAM", rho=0.1)]) == ["SGD, 2 epochs", "SGD, 4 epochs", "SAM"]


def test_only_settings_that_differ_on_one_problem_are_a_choice():
    one = [record(weight_decay=0.0, schedule="constant"), record()]
    assert settings(one) == ["constant, weight decay 0", "cosine, weight decay 0.0005"]
    two = compact([record(batch=32), record(data="mnist", batch=128)])
    assert two["facets"] == {
        "problem": ["perceptron 500-500 on digits", "perceptron 500-500 on MNIST"],
        "setting": [""],
        "rho": ["all"],
    }


def test_a_radius_is_a_choice_where_one_method_has_several_and_whole_numbers_stay_in_order():
    runs = [record(method="ASAM", rho=rho) for rho in (2.0, 0.5, 1.0)]
    assert compact(runs)["facets"]["rho"] == ["0.5", "1.0", "2.0", "all"]
    assert compact([record(method="SAM", rho=0.1), record(method="ASAM", rho=1.0)])["facets"]["rho"] == ["all"]


def test_learning_rates_are_a_choice_only_where_one_method_has_several():
    tuned = [record(lr=0.05), record(method="SAM", rho=0.1, lr=0.1)]
    assert settings(tuned) == [""] and lines(tuned) == ["SGD, learning rate 0.05", "SAM, learning rate 0.1"]
    assert settings([record(lr=0.05), record(lr=0.1)]) == ["learning rate 0.05", "learning rate 0.1"]


def test_identical_and_nudged_twins_are_lines_beside_those_with_another_example():
    controls = [record(identical=True), record(identical=True, nudge=1e-6)]
    pairs = [record(identical=False), record(identical=False, method="SAM", rho=0.1)]
    assert compact([*controls, *pairs])["lines"] == ["SGD", "SGD, identical", "SGD, nudged", "SAM"]
    assert settings([*controls, *pairs]) == [""], "no choice that takes the one from beside the other"
    two = [record(identical=True, nudge=nudge) for nudge in (1e-6, 1e-3)]
    assert lines(two) == ["SGD, nudged by 1e-06", "SGD, nudged by 0.001"]


def test_penalties_are_named():
    assert lines([record(), record(fa=0.01, probes=5)]) == ["SGD", "SGD + FA 0.01"]


def test_the_state_begins_with_what_there_is_and_fits_on_a_page():
    records = [record(seed=seed, weight_decay=w) for seed in range(20) for w in (0.0, 0.1)]
    widget = RunCurves.of(records)
    assert (widget.problem, widget.setting, widget.rho) == ("perceptron 500-500 on digits", "weight decay 0", "all")
    assert len(json.dumps(widget.runs)) < 0.8 * len(json.dumps(records))


def test_a_record_of_another_experiment_and_a_state_that_does_not_exist_are_refused():
    other = {"experiment": "lucchi_success_rate", "key": "abc", "config": {}, "result": {"curves": [{"method": "GD"}]}}
    with pytest.raises(ValueError, match=r"draws records of train and twins.*got lucchi_success_rate/abc"):
        RunCurves.of([other])
    with pytest.raises(traitlets.TraitError, match="metric"):
        RunCurves.of([record()], metric="beauty")


def test_every_setting_of_the_trainer_has_its_place():
    """A new setting that is put nowhere would become part of a line's name: say here where it belongs."""
    methods = OWNERS.keys() - {"rho"}
    own = methods | {"perturb_every", "fa", "cov", "probes", "penalty_every", "epochs"}
    assert {f.name for f in fields(Twins)} == {*PROBLEM, *SETTING, *KIND, *TUNED, *APART, *own}
