"""Made-up minima, of which it is known what predicts their gap; and one real record, which has all that is read."""

import math
import random

import pytest
from scipy import stats

from flatlab.runs.experiment import config_of
from flatlab.stats.predictors import GAPS, MEASURES, columns, gaps, predictors, within
from flatlab.studies.minima import Minimum


def minimum(k, gap, kappa, trace, scale=1.0, **config):
    """A record: number k of a study, whose traces are multiplied by `scale` when its layers are rescaled."""
    measures = {
        "relative_flatness": kappa, "relative_flatness_normalized": kappa, "trace": {"value": trace, "stderr": 0.0},
        "last_layer_trace": trace, "pac_bayes": {"value": 3.0 + k}, "fisher_rao": 2.0, "weight_norm": 5.0,
        "last_layer_norm": 1.0 + k, "norm_product": 8.0, "margin_mean": 1.0, "margin_tenth": 4.0,
    }  # fmt: skip
    rescaled = measures | {"trace": {"value": scale * trace, "stderr": 0.0}, "weight_norm": 7.0}
    scores = {"whole_train_loss": 0.1 + 0.01 * (k % 3), "loss_gap": gap, "accuracy_gap": -gap}
    config = {"base": "SGD", "lr": 0.1 + k, "batch": 32, "weight_decay": 0.0, "seed": 1} | config
    return {
        "config": config, "result": {"scores": scores, "measures": measures, "rescaled": rescaled, "random": 0.5}
    }  # fmt: skip


def study(seeds=(1, 2), count=20):
    """The gap is kappa and a little noise; the trace is kappa with more noise; rescaling multiplies it by chance."""
    draw = random.Random(0)
    minima = []
    for k in range(count):
        for seed in seeds:
            gap = draw.gauss(6, 1)
            kappa, trace = gap + draw.gauss(0, 0.1), math.exp(gap + draw.gauss(0, 0.8))
            minima.append(minimum(k, gap, kappa, trace, math.exp(draw.uniform(-8, 8)), seed=seed))
    return minima


def test_each_measure_is_read_off_its_field():
    (row,), (moved,) = (columns([minimum(2, 6.0, 11.0, 13.0, scale=10.0)], rescaled=which) for which in (False, True))
    read = dict(zip(MEASURES, row, strict=True))
    assert read["κ"] == read["κ, Theorem 4"] == 11 and read["Tr H"] == read["Tr H, last layer"] == 13
    assert read["PAC-Bayes 1/σ²"] == 5 and read["PAC-Bayes ‖w‖²/σ²"] == 125
    assert (read["Fisher-Rao"], read["‖w‖"], read["‖w‖, last layer"], read["−margin"]) == (2, 5, 3, -0.5)
    assert (read["training loss"], read["random"]) == (pytest.approx(0.12), 0.5)
    changed = {name: b for name, a, b in zip(MEASURES, row, moved, strict=True) if a != b}
    assert changed == {"Tr H": 130, "‖w‖": 7, "PAC-Bayes ‖w‖²/σ²": 245}


def test_a_real_record_has_all_that_is_read():
    setting = Minimum(data="digits", network="fcn3", epochs=1, examples=60, batch=30, few=20, noises=2, seed=3)
    record = {"config": config_of(setting), "result": setting.run()}
    assert columns([record]).shape == (1, len(MEASURES)) and columns([record, record], rescaled=True).shape[0] == 2
    found, moved = (dict(zip(MEASURES, columns([record], rescaled=which)[0], strict=True)) for which in (False, True))
    for name in ("κ", "κ, Theorem 4", "Fisher-Rao", "−margin", "training loss", "random"):
        assert moved[name] == pytest.approx(found[name], rel=1e-3), name
    assert abs(math.log(moved["Tr H"] / found["Tr H"])) > 0.1
    assert gaps([record])[0] == record["result"]["scores"]["loss_gap"]


def test_the_better_measure_comes_out_ahead_and_rescaling_takes_the_others_correlation():
    minima = study()
    found = predictors(minima, samples=300)
    kappa, trace = found["κ"], found["Tr H"]
    assert kappa.pearson.value == pytest.approx(stats.pearsonr(columns(minima)[:, 0], gaps(minima)).statistic)
    assert trace.spearman.value == pytest.approx(stats.spearmanr(columns(minima)[:, 2], gaps(minima)).statistic)
    assert kappa.spearman.low > 0.95 and kappa.spearman.low <= kappa.spearman.value <= kappa.spearman.high
    for behind, own, best in (
        (trace.behind_pearson, trace.pearson, kappa.pearson),
        (trace.behind_spearman, trace.spearman, kappa.spearman),
    ):
        assert behind.value == pytest.approx(best.value - own.value) and behind.low > 0
    assert kappa.rescaled_spearman == kappa.spearman and kappa.lost_spearman == (0, 0, 0)
    assert trace.rescaled_spearman.value == pytest.approx(
        stats.spearmanr(columns(minima, rescaled=True)[:, 2], gaps(minima)).statistic
    )
    assert trace.lost_spearman.value == pytest.approx(abs(trace.spearman.value) - abs(trace.rescaled_spearman.value))
    assert trace.lost_spearman.low > 0.1
    assert abs(kappa.given_loss.value - kappa.spearman.value) < 0.05, "the training loss is no part of this gap"
    assert math.isnan(found["training loss"].given_loss.value) and math.isnan(found["random"].pearson.value)


def test_the_other_gap_has_the_other_sign_and_a_third_is_refused():
    minima = study()
    both = [predictors(minima, gap, samples=5)["κ"].spearman.value for gap in GAPS]
    assert both[0] == pytest.approx(-both[1])
    with pytest.raises(ValueError, match="gap must be one of loss_gap, accuracy_gap, got 'risk'"):
        gaps(minima, "risk")


@pytest.mark.slow
def test_set_ups_are_drawn_and_not_seeds():
    """Five copies of each minimum under other seeds tell nothing new: the interval stays as wide."""
    once, often = ([minimum(k, k, k + 3 * (k % 4), 1.0, seed=s) for k in range(12) for s in range(n)] for n in (1, 5))
    one, five = (predictors(minima, samples=500)["κ"].spearman for minima in (once, often))
    assert one.value < 0.98 and (five.low, five.high) == pytest.approx((one.low, one.high), abs=0.02)
    with pytest.raises(ValueError, match="at least 8 set-ups, got 7"):
        predictors(often[: 7 * 5])


def test_pairs_that_differ_in_one_setting_alone():
    """Within one learning rate kappa falls with the gap, over learning rates it rises; no two differ in the batch."""
    settings = [{"lr": lr, "batch": 32 * lr, "seed": seed} for lr in (1, 2) for seed in (1, 2, 3)]
    minima = [minimum(0, 10 * s["lr"] + s["seed"], 20 * s["lr"] - s["seed"], 1.0, **s) for s in settings]
    tau, pairs = within(minima, "seed")
    assert (tau["κ"], pairs) == (-1, 6)
    tau, pairs = within(minima, "lr", "batch")
    assert (tau["κ"], pairs) == (1, 3), "same seed, other rate"
    tau, pairs = within(minima, "base", "batch", "weight_decay", "seed")
    assert (tau["κ"], pairs) == (-1, 6), "all of one rate"
    tau, pairs = within(minima, "batch")
    assert math.isnan(tau["κ"]) and pairs == 0
    with pytest.raises(ValueError, match="settings are base, lr, batch, weight_decay, seed, got rate"):
        within(minima, "rate")
