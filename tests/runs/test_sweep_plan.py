"""Sweep files: what they say, how they are wrong, and that those of the book stand for the papers' tables."""

from itertools import product
from pathlib import Path

import pytest

from flatlab.runs.experiment import asked, experiments, parser_of, record_of, words
from flatlab.runs.sweep.plan import SIZES, read
from flatlab.studies import Twins
from flatlab.training import Train

EXPERIMENTS = experiments("flatlab.training", "flatlab.studies")
PARSER = parser_of("python -m flatlab", EXPERIMENTS, "")
BOOK = Path(__file__).parents[2] / "book"
FILES = sorted(BOOK.glob("**/sweeps/*.toml"))
PLANS = {(file.stem, size): read(file, size, EXPERIMENTS) for file in FILES for size in SIZES}

PAPER = {
    "stable_sam_figures_1_3": 2 * 3 * 3,
    "stable_sam_figure_2": 1,
    "stable_sam_figure_5": 2 * 3 * 3 + 2 * 2,  # and the controls, identical and nudged
    "stable_sam_figure_6": 2 * 3 * 3 + 2 * 2,
    "stable_sam_figure_7": 2 * 3 * 3 + 2 * 2,
    "stable_sam_table_2": 2 * 5 * (1 + 4 * 5) * 3,
    "stable_sam_table_4": 2 * 2 * 4 * 3,
    "stable_sam_flat_regions": 2 * 3,  # ours
    "stable_sam_split_shift": 2,  # ours
    "stable_sam_nudged_twins": 2 * 2 * 3,  # ours
    "lsam_figure_1": 4,  # ours: the paper shows two
    "lsam_lenet": (2 + 9) * 5 + 5 * 3,  # ours
    "lsam_table_1": 2 * 5 * 6 * 3,  # without GASAM
    "lsam_figures_6_9": 6 * 5,
    "lsam_figures_10_11": 4 * 2,
    "lsam_figures_12_13": 5 * 2,
    "nonuniformity_table_1": (5 + 6) * 3 * 3,
    "nonuniformity_table_1_fcn3": 4 * 3 * 4 + 3 * 3,  # and CSAM at the paper's radius, labels wrong
    "nonuniformity_fcn3_tuning": 4 * 5,
    "nonuniformity_table_1_vit": 3 * 3,
    "nonuniformity_figure_5": 2 * 5 * 3,
    "nonuniformity_table_2": 2 * 3 * 3,
    "nonuniformity_figure_3": 2 * 5 * 3 * 2,  # ours: the paper does not say how many
    "fa_table_1": 2 * 6 * 5,  # at the rate of the text, and at a tenth of it
    "fa_table_2": 6 * 5,
    "fa_table_3": 6 * 5,
    "fa_sam": 3 * 5,  # ours
    "cifar_tuning": 8 * 3,  # ours, as all below
    "cifar10_methods": 10 * 2 * 3,
    "cifar10_label_noise": 4 * 2 * 3 * 3,
    "cifar100_lsam": 5 * 3,
    "cifar100_fit": 2,
    "lenet_rates": 4 * 7 * 3,
    "lsam_lenet_rates": (4 + 5 - 1) * 3 * 3,  # rate 0.03 and decay 5e-4 are one run
    "relative_flatness_figure_5": 110,
    "relative_flatness_figure_5_digits": 110,
}
"""Runs behind each table or figure, counted in the papers."""


def test_every_file_stands_for_as_many_runs_as_the_paper_made():
    assert {name: len(plan.runs) for (name, size), plan in PLANS.items() if size == "paper"} == PAPER


def test_smoke_needs_no_download_and_little_time():
    for (name, size), plan in PLANS.items():
        if size == "smoke":
            assert len(plan.runs) <= 6 and all(getattr(run, "epochs", 0) <= 2 for run in plan.runs), name
            assert {run.data for run in plan.runs} <= {"digits", "breast_cancer"}, name


def test_quick_costs_at_most_a_hundred_and_ten_gradients_of_resnet20_over_cifar():
    """The CIFAR studies are the exception: their quick size is meant for days of two cores."""
    cost = {"resnet20": 1, "lenet5": 0.2, "fcn": 0.2, "fcn3": 0.2, "mlp512_256": 0.2, "logistic": 0.2, "vit_small32": 12}
    cost["vit_micro32"] = 0.2
    for (name, size), plan in PLANS.items():
        if size == "quick" and isinstance(plan.runs[0], Train) and not name.startswith("cifar"):
            gradients = sum(
                run.epochs
                * {"plain": 1, "CSAM": 3, "LSAM": run.k}.get(run.method, 2)
                * cost[run.network]
                * (run.examples or 50_000)
                / 50_000
                * (2 if isinstance(run, Twins) else 1)
                for run in plan.runs
            )
            assert gradients <= 110, name


def test_table_2_is_five_networks_by_five_methods_each_over_its_own_radii():
    grids = {"plain": (None,), "SAM": (0.01, 0.02, 0.05, 0.1, 0.2), "ASAM": (0.1, 0.2, 0.5, 1.0, 2.0)}
    grids |= {"StableSAM": grids["SAM"], "StableASAM": grids["ASAM"]}
    networks = ("resnet20", "resnet56", "resnext29_32x4d", "wrn28_10", "pyramidnet110")
    expected = {
        (data, network, method, rho, seed)
        for data, network, method, seed in product(("cifar10", "cifar100"), networks, grids, (1, 42, 123))
        for rho in grids[method]
    }
    runs = PLANS["stable_sam_table_2", "paper"].runs
    assert {(r.data, r.network, r.method, r.rho, r.seed) for r in runs} == expected
    common = (200, 128, 0.1, "cosine", 0.9, 5e-4, 0.1, "crop_flip")
    names = ("epochs", "batch", "lr", "schedule", "momentum", "weight_decay", "label_smoothing", "augment")
    assert all(tuple(getattr(r, name) for name in names) == common for r in runs)


def test_the_frozen_records_of_figures_1_and_3_are_those_of_the_file():
    assert all(record_of(run, BOOK / "results").exists() for run in PLANS["stable_sam_figures_1_3", "paper"].runs)


@pytest.mark.parametrize("key", PLANS, ids="-".join)
def test_the_command_line_of_a_run_gives_that_very_run(key):
    """Else a sweep would wait for a record that its own run never writes."""
    runs = PLANS[key].runs
    for run in runs[:: 1 + len(runs) // 12]:
        _, again, _ = asked(PARSER, words(run))
        assert again == run and record_of(again, "x") == record_of(run, "x")


HEAD = 'paper = "p"\nwhere = "w"\nabout = "a"\nexperiment = "train"\n'


def plan(tmp_path, text, size="quick", head=HEAD):
    file = tmp_path / "trial.toml"
    file.write_text(head + text)
    return read(file, size, EXPERIMENTS).runs


def test_the_size_overrules_the_part_and_the_part_the_settings(tmp_path):
    text = "[settings]\nlr=[1, 2]\nseed=1\n[[parts]]\nseed=[2, 3]\nepochs=5\n[sizes.quick]\nepochs=[7, 8]\n"
    got = [(run.lr, run.seed, run.epochs) for run in plan(tmp_path, text)]
    assert sorted(got) == list(product((1.0, 2.0), (2, 3), (7, 8)))


def test_a_sweep_goes_seed_by_seed_in_the_files_order(tmp_path):
    text = '[settings]\nseed=[3, 1]\n[[parts]]\nlr=[1, 2]\n[[parts]]\nmethod="SAM"\n[sizes.quick]\n'
    got = [(run.seed, run.method, run.lr) for run in plan(tmp_path, text)]
    assert got == [(s, *how) for s in (3, 1) for how in (("plain", 1.0), ("plain", 2.0), ("SAM", 0.1))]


def test_runs_are_the_union_of_the_parts_each_once(tmp_path):
    text = '[[parts]]\nmethod=["SAM", "plain"]\n[[parts]]\nmethod="SAM"\nrho=[0.05, 0.1, 0.1]\n[sizes.quick]\n'
    assert [(run.method, run.rho) for run in plan(tmp_path, text)] == [("SAM", 0.05), ("plain", None), ("SAM", 0.1)]


def test_a_size_may_have_parts_of_its_own(tmp_path):
    own = "[[sizes.quick.parts]]\nlr=2\n[[sizes.quick.parts]]\nlr=3\n"
    text = "[[parts]]\nlr=1\n[sizes.paper]\n[sizes.quick]\nseed=4\n" + own
    assert [(run.lr, run.seed) for run in plan(tmp_path, text)] == [(2.0, 4), (3.0, 4)]
    assert [(run.lr, run.seed) for run in plan(tmp_path, text, "paper")] == [(1.0, 1)]


def test_a_list_in_a_list_is_one_value(tmp_path):
    head = HEAD.replace("train", "gradient-pairs")
    assert [run.hidden for run in plan(tmp_path, "[sizes.quick]\nhidden=[[8], [8, 4]]\n", head=head)] == [(8,), (8, 4)]


@pytest.mark.parametrize(
    "text, said",
    [
        ("[settings]\nroh = 1\n[sizes.quick]\n", "trial.toml: train has no setting 'roh'; did you mean 'rho'?"),
        ("[seting]\n[sizes.quick]\n", "trial.toml has an unknown key 'seting'; did you mean 'settings'?"),
        ("[sizes.quik]\n", "trial.toml has an unknown size 'quik'; did you mean 'quick'?"),
        ("[sizes.smoke]\n", "trial.toml has no size 'quick'; there are smoke"),
        ("", "trial.toml: the key 'sizes' is missing"),
        ("[sizes.quick]\nlr = 'fast'\n", "trial.toml: lr must be a number, got 'fast'"),
        ("[sizes.quick]\nepochs = 2.5\n", "trial.toml: epochs must be a whole number, got 2.5"),
        ("[sizes.quick]\nseed = true\n", "trial.toml: seed must be a whole number, got True"),
        ("[sizes.quick]\nepochs = 0\n", "trial.toml: epochs must be >= 1, got 0 .in the combination epochs = 0"),
        ("[sizes.quick]\nseed = []\n", "trial.toml: seed has no values"),
        ("[sizes]\nquick = 3\n", "trial.toml: parts and sizes must be tables of settings, got 3"),
        ("[sizes.quick]\nrho = [0.1]\n", "rho = 0.1 has no effect here.*in the combination rho = 0.1"),
        ("[sizes.quick\n", "trial.toml is no TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        plan(tmp_path, text)


def test_an_unknown_experiment_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"unknown experiment 'trian'; did you mean 'train'\?"):
        plan(tmp_path, "[sizes.quick]\n", head=HEAD.replace("train", "trian"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no sweep file .*nowhere.toml"):
        read(tmp_path / "nowhere.toml", "quick", EXPERIMENTS)
