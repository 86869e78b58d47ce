"""Minima: a rescaling leaves the function, what is invariant stays, and a record holds what the measures give by hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from flatlab import measures, models
from flatlab.landscape import Landscape
from flatlab.runs.experiment import config_of
from flatlab.runs.host import Host, Stopped
from flatlab.studies import Minimum
from flatlab.studies.minima import last_layer, last_layer_trace, margins, rescaled, watched
from flatlab.training import Train
from flatlab.training.examples import examples
from flatlab.training.trainer import Trainer

SMALL = {"data": "digits", "network": "fcn3", "lr": 0.05, "batch": 64, "epochs": 3, "examples": 300, "few": 50}


def landscape(network, shape, n=12):
    torch.manual_seed(0)
    x, y = torch.randn(n, *shape, dtype=torch.float64), torch.randint(10, (n,))
    return Landscape.of(models.build(network, shape, 10).double().eval(), cross_entropy, (x, y))


@pytest.mark.parametrize("network, shape, hidden", [
    ("lenet5", (3, 32, 32), 4), ("mlp512_256", (20,), 2), ("fcn3", (20,), 2),
])  # fmt: skip
def test_rescaled_layers_leave_the_function(network, shape, hidden):
    """And each hidden layer's output is multiplied by its own factor."""
    net = landscape(network, shape)
    factors = [3.0, 0.2, 7.0, 0.5][:hidden]
    moved, change = rescaled(net, net.w0, factors)
    assert change < 1e-13 and float((moved - net.w0).norm()) > float(net.w0.norm()) / 2
    torch.testing.assert_close(net.loss(moved), net.loss(net.w0))
    here, there = last_layer(net, net.w0)[0].x, last_layer(net, moved)[0].x
    torch.testing.assert_close(there, factors[-1] * here)


@pytest.mark.slow
def test_relative_flatness_and_fisher_rao_are_invariant_and_the_other_curvatures_are_not():
    net = landscape("lenet5", (3, 32, 32), 4)
    moved, _ = rescaled(net, net.w0, [2.0, 3.0, 0.5, 4.0])
    for measure in (measures.relative_flatness, measures.fisher_rao):
        assert measure(net, moved) == pytest.approx(measure(net, net.w0), rel=1e-9)
    for measure in (measures.hessian_trace, measures.weight_norm):
        assert float(measure(net, moved)) != pytest.approx(float(measure(net, net.w0)), rel=0.1)


def test_what_cannot_be_rescaled_is_refused():
    with pytest.raises(ValueError, match="ResNet has parameters beside those of Linear and Conv2d layers"):
        Minimum(**SMALL | {"network": "resnet20"}).run()
    x, y = torch.randn(5, 2), torch.randn(5, 1)
    curved = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    net = Landscape.of(curved, mse_loss, (x, y))
    with pytest.raises(ValueError, match="rescaling layers changes outputs of size .* no chain of ReLU layers"):
        rescaled(net, net.w0, [3.0])
    with pytest.raises(ValueError, match=r"factors must be 1 positive numbers, one a hidden layer, got \[1.0, 2.0\]"):
        rescaled(net, net.w0, [1.0, 2.0])


@pytest.mark.parametrize("wrong, said", [
    ({"spread": 1.0}, "spread must be > 1, got 1.0"), ({"few": 1}, "few must be >= 2, got 1"),
    ({"noises": 1}, "noises must be >= 2"), ({"trace_probes": 1}, "trace_probes must be >= 2"),
    ({"rise": 0.0}, "rise must be > 0, got 0.0"),
])  # fmt: skip
def test_wrong_settings_are_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        Minimum(**SMALL | wrong)


def test_margins_are_those_of_the_outputs():
    net = landscape("fcn3", (20,))
    outputs = net.outputs(net.w0, net.x)
    expected = [float(z[k]) - max(float(v) for j, v in enumerate(z) if j != k) for z, k in zip(outputs, net.y, strict=True)]
    assert margins(net, net.w0).tolist() == pytest.approx(expected)


def trained():
    """The same training by hand, without the experiment."""
    setting = Train(**{k: v for k, v in SMALL.items() if k != "few"}, schedule="constant", stop_at_loss=0.1)
    trainer = Trainer(setting, examples(setting), torch.device("cpu"))
    while not trainer.finished:
        for _ in trainer.advance():
            pass
    return trainer


def test_a_record_holds_the_measures_of_the_trained_network():
    result, trainer = Minimum(**SMALL).run(), trained()
    assert result["weights"] == trainer.checksum()
    x, y = trainer.train
    net = Landscape.of(trainer.model.eval(), cross_entropy, (trainer.scale(x), y))
    w, got, scores = net.w0, result["measures"], result["scores"]
    held = Landscape.of(trainer.model, cross_entropy, (trainer.scale(trainer.held[0]), trainer.held[1]))
    assert scores["loss_gap"] == pytest.approx(float(held.loss(w) - net.loss(w)), rel=1e-4)
    right = [float((f.outputs(w, f.x).argmax(1) == f.y).float().mean()) for f in (net, held)]
    assert scores["accuracy_gap"] == pytest.approx(right[0] - right[1], abs=1e-6)
    for name in ("relative_flatness", "fisher_rao", "weight_norm"):
        assert got[name] == pytest.approx(getattr(measures, name)(net, w), rel=1e-4), name
    normalized = measures.relative_flatness(net, w, normalize=True, dead="drop")
    assert got["relative_flatness_normalized"] == pytest.approx(normalized, rel=1e-4)
    trace = {"value": measures.hessian_trace(net, w).value, "stderr": 0, "samples": 300}
    assert got["trace"] == pytest.approx(trace, rel=1e-4)
    assert got["last_layer_norm"] == pytest.approx(float(w[-650:].norm()), rel=1e-6)
    layers = [m.weight.detach() for m in trainer.model.modules() if isinstance(m, nn.Linear)]
    assert got["norm_product"] == pytest.approx(math.prod(float(m.norm()) for m in layers), rel=1e-5)
    p, phi = net.outputs(w, net.x).softmax(1), last_layer(net, w)[0].x
    ones = torch.cat([phi, torch.ones(300, 1)], 1).double()
    curved = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    block = torch.einsum("iab,is,it->asbt", curved.double(), ones, ones).reshape(650, 650) / 300
    assert got["last_layer_eigenvalue"] == pytest.approx(float(torch.linalg.eigvalsh(block)[-1]), rel=2e-3)
    assert got["last_layer_trace"] == pytest.approx(float(block.trace()), rel=1e-4)
    assert got["margin_tenth"] == pytest.approx(float(margins(net, w).quantile(0.1)), rel=1e-4)


def test_a_rescaled_minimum_has_the_same_function_and_other_curvature():
    result = Minimum(**SMALL).run()
    before, after = result["measures"], result["rescaled"]
    assert 0 < result["rescaling"]["output_change"] < 1e-5
    assert all(1 / 5 <= c <= 5 for c in result["rescaling"]["factors"]) and len(result["rescaling"]["factors"]) == 2
    same = ("relative_flatness", "relative_flatness_normalized", "fisher_rao")
    same += ("margin_mean", "margin_tenth", "norm_product")
    for name in before:
        value, other = (m[name]["value"] if isinstance(m[name], dict) else m[name] for m in (before, after))
        assert (other == pytest.approx(value, rel=1e-3)) == (name in same), name


@pytest.mark.slow
def test_pac_bayes_of_few_examples_is_that_of_all_where_there_are_no_more():
    setting = Minimum(**SMALL | {"few": 300, "noises": 40, "rise": 0.3})
    trainer, got = trained(), setting.run()["measures"]
    net = Landscape.of(trainer.model.eval(), cross_entropy, (trainer.scale(trainer.train[0]), trainer.train[1]))
    other = measures.pac_bayes(net, net.w0, target=0.3, samples=40, seed=5)
    assert abs(got["pac_bayes"]["value"] - other.value) < 4 * math.hypot(got["pac_bayes"]["stderr"], other.stderr)


def test_factors_are_log_uniform_within_the_spread():
    net = landscape("fcn3", (20,))
    drawn = torch.tensor([Minimum(**SMALL, seed=k)._factors(net) for k in range(300)]).log() / math.log(5)
    assert drawn.abs().max() <= 1 and drawn.min() < -0.98 and drawn.max() > 0.98
    assert abs(drawn.mean()) < 0.1 and drawn.var() == pytest.approx(1 / 3, abs=0.04)


def test_the_curves_watch_a_thousand_held_out_examples():
    x, y = torch.arange(1200.0), torch.arange(1200)
    source = examples(Minimum(**SMALL))
    assert watched(source) is source, "digits have fewer"
    cut = watched(replace(source, held=(x, y)))
    assert cut.held[0].tolist() == list(range(1000)) == cut.held[1].tolist()
    assert cut.evaluated_on == "the first 1,000 of test"


def test_the_trace_of_a_saturated_last_layer_is_finite():
    """Logits far apart: their second derivatives are then of the size of 1e-13 or less."""
    x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([4])
    head = Landscape.of(nn.Linear(2, 10), cross_entropy, (x, y))
    w = torch.cat([torch.zeros(20), torch.tensor([1.4, -17.0, 29.5, 15.3, 58.4, 23.8, -41.6, 9.4, -44.6, -41.8])])
    p = math.exp(29.5 - 58.4)
    assert last_layer_trace(head, w) == pytest.approx(6 * 2 * p, rel=0.01)


@pytest.mark.slow
def test_minima_of_one_seed_and_other_rates_get_random_numbers_of_their_own():
    few = SMALL | {"epochs": 1, "examples": 80}
    one, two = (Minimum(**few | {"lr": lr}).run() for lr in (0.05, 0.06))
    assert one["random"] != two["random"] and one["rescaling"]["factors"] != two["rescaling"]["factors"]


@pytest.mark.slow
def test_a_minimum_that_was_not_reached_says_so():
    assert not Minimum(**SMALL | {"epochs": 1}).run()["reached"]
    assert Minimum(**SMALL | {"epochs": 1, "stop_at_loss": 3.0}).run()["reached"]


@pytest.fixture(scope="module")
def whole():
    return Minimum(**SMALL).run()


@pytest.mark.parametrize("rest", [2, 7, "measuring"])
def test_a_minimum_goes_on_where_it_was_stopped(tmp_path, whole, rest):
    """In its training or while it is measured; times apart, nothing tells the two records apart."""
    host = Host(tmp_path / "state.safetensors", every=0)
    calls = iter(range(10_000))
    if rest == "measuring":

        def report(line):
            if line.endswith("measuring"):
                host.stop.set()
    else:

        def report(line):
            pass

        host.due = lambda: host.stop.set() if next(calls) == rest else False
    host.config = config_of(Minimum(**SMALL))
    with pytest.raises(Stopped, match="the training is kept" if rest == "measuring" else "stopped in epoch"):
        Minimum(**SMALL).run(report, host)
    again = Minimum(**SMALL).run(host=Host(host.file))
    times = [result["times"] for result in (whole, again)]
    assert again | {"times": None} == whole | {"times": None}
    assert all(t[part][clock] >= 0 for t in times for part in ("training", "measuring") for clock in ("wall_s", "cpu_s"))
