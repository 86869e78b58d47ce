"""MSAM and SAMGCM on the batch as a landscape: against loops and dense solves, and as optimizers."""

import copy
import io
import math
import pickle

import pytest
import torch
from methods_under_test import every_cutting_method
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW, lr_scheduler

from flatlab.landscape import Landscape
from flatlab.optim import MSAM, SAM, SAMGCM
from flatlab.optim.trained import Trained

DOUBLE = torch.float64


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 3)).double()


def batch(step=0, n=8):
    g = torch.Generator().manual_seed(step)
    return torch.randn(n, 6, generator=g, dtype=DOUBLE), torch.randint(0, 3, (n,), generator=g)


def train(model, opt, steps, schedule=None):
    losses = []
    for step in steps:
        losses.append(opt.step(Landscape.of(model, cross_entropy, batch(step))))
        if schedule is not None:
            schedule.step()
    return losses


def flat(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def gradient(model, w, x, y):
    """By autograd, at weights `w`, with a model of its own."""
    model = copy.deepcopy(model)
    nn.utils.vector_to_parameters(w, list(model.parameters()))
    gs = torch.autograd.grad(cross_entropy(model(x), y), list(model.parameters()))
    return torch.cat([g.reshape(-1) for g in gs])


def direction_by_hand(method, model, x, y, rho, m=2, damping=0.01):
    w = flat(model)
    if method is MSAM:
        parts = []
        for a, b in zip(x.split(m), y.split(m), strict=True):
            g = gradient(model, w, a, b)
            parts.append(gradient(model, w + rho * g / g.norm(), a, b))
        return torch.stack(parts).mean(0)
    gs = torch.stack([gradient(model, w, x[i : i + 1], y[i : i + 1]) for i in range(len(x))])
    c = torch.cov(gs.T, correction=0)
    inverse, g = torch.linalg.inv(c + damping * c.diagonal().mean() * torch.eye(len(c), dtype=DOUBLE)), gs.mean(0)
    return gradient(model, w + rho * inverse @ g / (g @ inverse @ g).sqrt(), x, y)


@every_cutting_method
def test_weights_agree_with_the_formula_written_out_with_momentum_and_weight_decay(method):
    model, twin = network(), network()
    extra = {"m": 2} if method is MSAM else {}
    opt = method(SGD(model.parameters(), lr=0.3, momentum=0.9, weight_decay=0.01), rho=0.2, **extra)
    losses = train(model, opt, range(5))
    w, momentum = flat(twin), 0.0
    for step, loss in enumerate(losses):
        x, y = batch(step)
        nn.utils.vector_to_parameters(w, list(twin.parameters()))
        torch.testing.assert_close(loss, cross_entropy(twin(x), y).detach(), rtol=0, atol=1e-12)
        momentum = 0.9 * momentum + direction_by_hand(method, twin, x, y, 0.2) + 0.01 * w
        w = w - 0.3 * momentum
    torch.testing.assert_close(flat(model), w, rtol=0, atol=1e-8)


def test_msam_over_the_whole_batch_is_sam():
    model, twin = network(), network()
    opt = MSAM(SGD(model.parameters(), lr=0.3, momentum=0.9), rho=0.2, m=8)
    other = SAM(SGD(twin.parameters(), lr=0.3, momentum=0.9), rho=0.2)
    train(model, opt, range(4))
    for step in range(4):
        x, y = batch(step)

        def closure(x=x, y=y):
            other.zero_grad()
            loss = cross_entropy(twin(x), y)
            loss.backward()
            return loss

        other.step(closure)
    torch.testing.assert_close(flat(model), flat(twin), rtol=0, atol=1e-12)


@every_cutting_method
def test_rho_zero_is_the_base_optimizer(method):
    model, twin = network(), network()
    train(model, method(AdamW(model.parameters(), lr=0.01), rho=0.0), range(4))
    alone = AdamW(twin.parameters(), lr=0.01)
    for step in range(4):
        x, y = batch(step)
        alone.zero_grad()
        cross_entropy(twin(x), y).backward()
        alone.step()
    torch.testing.assert_close(flat(model), flat(twin), rtol=1e-7, atol=1e-9)


@every_cutting_method
def test_it_shares_groups_state_and_defaults_with_its_base_and_a_closure_alone_never_runs(method):
    model = network()
    inner = SGD(model.parameters(), lr=0.1, momentum=0.9)
    opt = method(inner)
    train(model, opt, range(2))
    assert isinstance(opt, torch.optim.Optimizer) and opt.param_groups is inner.param_groups
    assert opt.state is inner.state and len(opt.state) == len(list(model.parameters()))
    calls = []
    with pytest.raises(TypeError, match=rf"{method.__name__}.step needs the batch beside the closure.*got function"):
        opt.step(lambda: calls.append(1))
    with pytest.raises(TypeError, match=r"got NoneType alone: write opt.step\(closure, x, y\)"):
        opt.step()
    assert not calls


@every_cutting_method
def test_a_resumed_run_ends_in_the_same_bits_as_one_that_was_not_interrupted(method):
    def start(seed, rho=0.2):
        model = network(seed)
        opt = method(SGD(model.parameters(), lr=0.1, momentum=0.9), rho=rho)
        return model, opt, lr_scheduler.CosineAnnealingLR(opt, T_max=8)

    whole, half = start(0), start(0)
    train(whole[0], whole[1], range(8), whole[2])
    train(half[0], half[1], range(3), half[2])
    file = io.BytesIO()
    torch.save([part.state_dict() for part in half], file)
    file.seek(0)
    resumed = start(7, rho=0.9)
    for part, state in zip(resumed, torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    train(resumed[0], resumed[1], range(3, 8), resumed[2])
    assert torch.equal(flat(whole[0]), flat(resumed[0]))


@every_cutting_method
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_trains_on_alone_and_to_the_same_bits(method, duplicate):
    model = network()
    opt = method(SGD(model.parameters(), lr=0.1, momentum=0.9), rho=0.2)
    train(model, opt, range(2))
    twin, twin_opt = duplicate((model, opt))
    train(model, opt, range(2, 5))
    train(twin, twin_opt, range(2, 5))
    assert torch.equal(flat(model), flat(twin))


@every_cutting_method
def test_frozen_parameters_and_other_orders_of_the_groups_are_respected(method):
    """As if the frozen weights were constants: the norm of the ascent is over the trained ones."""
    model = network()
    model[3].bias.requires_grad_(False)
    order = [model[3].weight, model[2].weight, model[2].bias, model[0].bias, model[0].weight]
    opt = method(SGD([{"params": order[:2]}, {"params": order[2:]}], lr=0.1), rho=0.2)
    frozen = model[3].bias.clone()
    plain = network()
    plain[3].bias.requires_grad_(False)
    same = method(SGD([p for p in plain.parameters() if p.requires_grad], lr=0.1), rho=0.2)
    train(model, opt, range(3))
    train(plain, same, range(3))
    assert torch.equal(model[3].bias, frozen) and model[3].bias.grad is None
    torch.testing.assert_close(flat(model), flat(plain), rtol=0, atol=1e-12)


@every_cutting_method
def test_a_loss_that_is_not_finite_raises_and_loses_nothing(method):
    model = network()
    opt = method(SGD(model.parameters(), lr=0.1, momentum=0.9))
    train(model, opt, range(2))
    before, momentum = flat(model), [opt.state[p]["momentum_buffer"].clone() for p in model.parameters()]
    x, y = batch()
    with pytest.raises(FloatingPointError, match=rf"{method.__name__}: the loss or gradient.*lr=0.1, rho=0.05"):
        opt.step(Landscape.of(model, cross_entropy, (x * math.inf, y)))
    assert torch.equal(before, flat(model))
    for p, m in zip(model.parameters(), momentum, strict=True):
        assert torch.equal(opt.state[p]["momentum_buffer"], m)


@every_cutting_method
@pytest.mark.parametrize("rho", [-0.1, math.nan])
def test_a_rho_that_is_no_radius_is_refused(method, rho):
    with pytest.raises(ValueError, match=f"rho must be finite and >= 0, got {rho}"):
        method(SGD(network().parameters(), lr=0.1), rho=rho)


def test_what_cannot_be_cut_or_inverted_is_named():
    model = network()
    with pytest.raises(ValueError, match="m must be a whole number >= 1, got 0"):
        MSAM(SGD(model.parameters(), lr=0.1), m=0)
    with pytest.raises(ValueError, match="divides the 8 samples, got 3"):
        train(model, MSAM(SGD(model.parameters(), lr=0.1), m=3), range(1))
    with pytest.raises(ValueError, match="form must be 'full', 'diagonal' or 'low_rank', got 'dense'"):
        SAMGCM(SGD(model.parameters(), lr=0.1), form="dense")
    with pytest.raises(ValueError, match="damping must be > 0 with form='low_rank'"):
        SAMGCM(SGD(model.parameters(), lr=0.1), damping=0.0)


@every_cutting_method
def test_a_landscape_of_another_model_is_refused(method):
    opt = method(SGD(network().parameters(), lr=0.1))
    with pytest.raises(ValueError, match=r"lacks a trained parameter of shape \(5, 6\)"):
        opt.step(Landscape.of(network(1), cross_entropy, batch()))


@every_cutting_method
def test_it_steps_on_a_toy_that_is_no_network(method):
    class Bowls(Landscape):
        d, n = 2, 4

        def losses(self, w, batch=None):
            curvatures = torch.arange(1.0, 5.0)[... if batch is None else batch]
            return curvatures * (w * w).sum(-1, keepdim=True)

    w = torch.tensor([3.0, 4.0], requires_grad=True)
    opt = method(SGD([w], lr=0.01), rho=0.1)
    assert opt.step(Bowls()) == 62.5
    assert (w / w.norm()).tolist() == pytest.approx([0.6, 0.8]) and w.norm() < 5


@pytest.mark.parametrize("trained", [1, 3])
def test_a_landscape_in_closed_form_is_trained_in_all_its_numbers_and_no_others(trained):
    class Bowl(Landscape):
        d = 2

        def losses(self, w, batch=None):
            return (w * w).sum(-1, keepdim=True)

    with pytest.raises(ValueError, match=f"the landscape takes points of 2 numbers, and {trained} are trained"):
        Trained(Bowl(), [torch.ones(trained)])
