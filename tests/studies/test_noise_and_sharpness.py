"""Gradient noise and sharpness of networks in training: the claims on Figure 3 of the nonuniformity paper stand on them."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from flatlab import models
from flatlab.studies import NoiseAndSharpness
from flatlab.training import Train
from flatlab.training.examples import examples

SMALL = {"data": "digits", "network": "logistic", "epochs": 3, "lr": 0.05, "momentum": 0.0}


def test_the_measures_are_those_of_torchs_own_gradients_and_hessian():
    """At the initial weights, on forty examples: gradients one by one, the dense Hessian, both ascents by hand."""
    setting = NoiseAndSharpness(**SMALL, images=40, radius=0.3, adaptive_radius=0.2)
    found, source = setting.run()["measured"][0], examples(setting)
    torch.manual_seed(setting.seed)
    model = models.build("logistic", tuple(source.train[0].shape[1:]), source.classes).double()
    x, y = source.scale(source.train[0][:40]).double(), source.train[1][:40]
    weights = list(model.parameters())
    flat = torch.cat([p.detach().flatten() for p in weights])

    def gradient(x, y):
        return torch.cat([g.flatten() for g in torch.autograd.grad(cross_entropy(model(x), y), weights)])

    def loss(w):
        parts = dict(zip([n for n, _ in model.named_parameters()], w.split([p.numel() for p in weights]), strict=True))
        parts = {name: part.view_as(p) for (name, part), p in zip(parts.items(), weights, strict=True)}
        return cross_entropy(torch.func.functional_call(model, parts, x), y)

    single = torch.stack([gradient(x[i : i + 1], y[i : i + 1]) for i in range(40)])
    whole = single.mean(0)
    assert found["loss"] == pytest.approx(float(loss(flat)), rel=1e-5)
    assert found["gradient"] == pytest.approx(float(whole @ whole), rel=1e-4)
    assert found["noise"] == pytest.approx(float((single - whole).square().sum(1).mean()), rel=1e-4)
    hessian = torch.autograd.functional.hessian(loss, flat)
    assert found["eigenvalue"] == pytest.approx(float(torch.linalg.eigvalsh(hessian)[-1]), rel=2e-2)
    up = flat + 0.3 * whole / whole.norm()
    assert found["ascent"] == pytest.approx(float(loss(up) - loss(flat)), rel=1e-3)
    size = flat.abs() + 0.01
    up = flat + 0.2 * size * (size * whole) / (size * whole).norm()
    assert found["adaptive"] == pytest.approx(float(loss(up) - loss(flat)), rel=1e-3)


def test_what_is_measured_comes_when_it_is_due_and_does_not_disturb_the_training():
    run = NoiseAndSharpness(**SMALL, measure_every=2, images=30).run()
    assert [m["epoch"] for m in run["measured"]] == [0, 2, 3], "the start, every second epoch, and the end"
    assert run["weights"] == Train(**SMALL).run()["weights"]


@pytest.mark.parametrize("name", ["measure_every", "images", "radius", "adaptive_radius"])
def test_wrong_settings_are_named(name):
    with pytest.raises(ValueError, match=rf"{name} must be >=? ?[01].*, got 0"):
        NoiseAndSharpness(**SMALL, **{name: 0})
