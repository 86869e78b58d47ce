"""Draws of the Hessian's trace layer by layer: unbiased for every layer they claim, and with little spread."""

import importlib

import pytest
import torch
from measured_problems import random
from test_per_sample_norms import CASES, IMAGES, OTHERS, conv, landscape
from torch import nn
from torch.func import jacrev
from torch.nn.functional import cross_entropy

from flatlab.landscape import Landscape
from flatlab.measures import hessian_trace
from flatlab.measures.layer_probes import layer_probes

DRAWS = 300
module = importlib.import_module("flatlab.measures.layer_probes")


def draws(net, kind="rademacher", count=DRAWS):
    return layer_probes(net, net.w0, kind, torch.Generator().manual_seed(0))(count)


def true_trace(net):
    # Layer by layer: the full Hessian of the largest case has a million entries too many.
    return sum(block(net, start, stop) for start, stop in bounds(net))


def bounds(net):
    stops = torch.tensor([p.numel() for p in net.model.parameters()]).cumsum(0).tolist()
    return zip([0, *stops], stops, strict=False)


def block(net, start, stop):
    def loss(part):
        return net.loss(torch.cat([net.w0[:start], part, net.w0[stop:]]))

    return jacrev(jacrev(loss))(net.w0[start:stop]).trace().item()


def curved(model, shape, seed=0):
    net = landscape(model, shape, seed)
    # A loss that is not quadratic, so that the last layer has a third derivative, too.
    return Landscape.of(net.model, lambda a, b: (a - b).pow(4).mean(), (net.x, net.y))


@pytest.mark.parametrize("kind", ["rademacher", pytest.param("gaussian", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CASES)
def test_the_mean_of_the_draws_is_the_trace_of_the_hessian(name, kind):
    net = curved(*CASES[name])
    found, truth = draws(net, kind), true_trace(net)
    stderr = found.std() / DRAWS**0.5
    assert abs(found.mean() - truth) < 4 * stderr + 1e-9 * abs(truth)
    assert stderr < 0.1 * abs(truth)  # or the line above could not fail


def test_they_spread_far_less_than_products_with_the_whole_hessian():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 20), nn.Tanh(), nn.Linear(20, 4))
    net = Landscape.of(model.double(), cross_entropy, (random(40, 1, 8, 8, seed=3), torch.arange(40) % 4))
    plain = hessian_trace(net, net.w0, samples=100, deflate=0, layerwise=False)
    ours = hessian_trace(net, net.w0, samples=100)
    assert ours.stderr < plain.stderr / 5
    assert abs(ours.value - plain.value) < 4 * plain.stderr


def test_draws_over_parts_of_the_data_are_draws_of_the_same_trace():
    net = curved(conv(), IMAGES)
    parts = Landscape.of(net.model, net.loss_fn, (net.x, net.y), chunk=4)
    found = draws(parts)
    assert abs(found.mean() - true_trace(net)) < 4 * found.std() / DRAWS**0.5
    assert found.std() < 2 * draws(net).std()


@pytest.mark.parametrize("make", OTHERS)
def test_anything_else_falls_back_to_products_with_the_whole_hessian(make):
    net = landscape(make(), (6, 4))
    assert layer_probes(net, net.w0, "rademacher", torch.Generator()) is None
    # Not by a double backward pass, which torch's weight_norm has wrong.
    steps = 1e-6 * torch.eye(net.d, dtype=torch.float64)
    truth = sum(((net.grad(net.w0 + e) - net.grad(net.w0 - e)) @ e).item() for e in steps) / 2e-12
    found = hessian_trace(net, net.w0, samples=300)
    assert abs(found.value - truth) < 4 * found.stderr + 1e-6 * abs(truth)


def test_a_loss_that_is_no_mean_over_samples_falls_back():
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    weighted = nn.CrossEntropyLoss(torch.tensor([1.0, 5.0], dtype=torch.float64))
    net = Landscape.of(model, weighted, (random(12, 4, seed=1), torch.arange(12) % 2))
    assert layer_probes(net, net.w0, "rademacher", torch.Generator()) is None
    found = hessian_trace(net, net.w0, samples=300)
    assert abs(found.value - jacrev(jacrev(net.loss))(net.w0).trace().item()) < 4 * found.stderr


def test_a_loss_linear_in_the_weights_has_trace_zero():
    net = Landscape.of(nn.Linear(3, 1), lambda a, b: (a * b).mean(), (torch.ones(5, 3), torch.ones(5, 1)))
    assert hessian_trace(net, net.w0, samples=3, exact=False, deflate=0).value == 0.0


def test_the_models_own_layers_are_left_without_hooks():
    net = landscape(nn.Sequential(nn.Linear(5, 4), nn.Tanh()), (6, 5))
    draws(net, count=1)
    assert not net.model[0]._forward_hooks


def test_they_apply_where_the_loss_is_linear_in_what_one_layer_gives():
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.bent, self.straight = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x):
            return self.bent(x).tanh() + self.straight(x)

    torch.manual_seed(0)
    net = Landscape.of(Beside().double(), lambda out, y: (out * y).mean(), (random(12, 4, seed=1), random(12, 3, seed=2)))
    found, truth = draws(net), true_trace(net)
    assert abs(truth) > 0.1 and found.tolist() == pytest.approx([truth] * DRAWS)  # signs alone: every draw is exact


def test_random_weights_are_drawn_for_as_many_samples_as_a_block_holds(monkeypatch):
    net = curved(conv(), IMAGES)
    convolution = next(m for m in net.model.modules() if isinstance(m, nn.Conv2d))
    sizes, drawn = [], module.probe

    def watched(kind, like, generator):
        sizes.append((like.numel(), like.shape[0]))
        return drawn(kind, like, generator)

    monkeypatch.setattr(module, "probe", watched)
    monkeypatch.setattr(module, "BLOCK", 2 * convolution.weight.numel())
    found = draws(net)
    weights = [rows // convolution.out_channels for n, rows in sizes if n == rows * convolution.weight[0].numel()]
    assert set(weights) == {2}
    assert abs(found.mean() - true_trace(net)) < 4 * found.std() / DRAWS**0.5
