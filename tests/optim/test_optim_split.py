"""A step in two halves: the bits of `step(closure)`, and what a wrong order or a wrong method is told."""

import copy
import math
import pickle
import warnings

import pytest
import torch
from methods_under_test import OPTIMIZERS, each
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim import SGD, AdamW, lr_scheduler

from flatlab.optim import ASAM, SAM, USAM, StableASAM, StableSAM

HALVED = [SAM, USAM, ASAM, StableSAM, StableASAM]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


def batch(step):
    g = torch.Generator().manual_seed(step)
    return torch.randn(8, 2, 6, 6, generator=g), torch.randint(0, 3, (8,), generator=g)


def whole(model, opt, step, scaler=None, spoil=0):
    count = [0]

    def closure():
        count[0] += 1
        opt.zero_grad()
        return backward(model, step, scaler, spoiled=count[0] == spoil)

    return opt.step(closure, scaler=scaler)


def backward(model, step, scaler=None, spoiled=False):
    x, y = batch(step)
    loss = cross_entropy(model(x), y)
    with next(p for p in model.parameters() if p.requires_grad).register_hook(lambda g: g * math.inf if spoiled else g):
        (loss if scaler is None else scaler.scale(loss)).backward()
    return loss.detach()


def halves(model, opt, step, scaler=None, spoil=0):
    opt.zero_grad()
    loss = backward(model, step, scaler, spoil == 1)
    opt.first_step(scaler=scaler)
    backward(model, step, scaler, spoil == 2)
    opt.second_step()
    return loss


def assert_same(model, other):
    for (name, a), (_, b) in zip(model.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


@each(HALVED)
@pytest.mark.parametrize("base", [lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3), lambda p: AdamW(p, lr=0.01)])
@pytest.mark.parametrize("mixed", [False, True], ids=["halves alone", "halves and whole steps"])
def test_two_halves_are_a_step_to_the_bit_with_the_statistics_of_norm_layers(method, base, mixed):
    models, losses = [network(), network()], []
    for k, model in enumerate(models):
        rest = [*model[1].parameters(), *model[4].parameters()]
        groups = [{"params": model[0].parameters(), "rho": 0.3}, {"params": rest}]
        opt = method(base(groups), rho=0.2)
        steps = [halves if k and not (mixed and step % 2) else whole for step in range(5)]
        losses.append([run(model, opt, step).item() for step, run in enumerate(steps)])
        assert opt.passes == 2
    assert losses[0] == losses[1]
    assert_same(*models)


@each(HALVED)
@pytest.mark.parametrize("spoil", [0, 1, 2], ids=["finite", "pass one", "pass two"])
@pytest.mark.parametrize("base", [lambda p: SGD(p, lr=0.1, momentum=0.9), lambda p: AdamW(p, lr=0.01, fused=True)])
def test_with_a_scaler_they_are_a_scaled_step_which_an_infinity_in_either_skips(method, spoil, base):
    ends, scales = [], []
    for run in (whole, halves):
        model = network()
        opt, scaler = method(base(model.parameters()), rho=0.2), torch.amp.GradScaler("cpu", init_scale=1024.0)
        start = copy.deepcopy(model)
        for step, bad in enumerate((spoil, 0)):
            run(model, opt, step, scaler, bad)
            scaler.update()
            scales.append(scaler.get_scale())
            if step == 0 and spoil:
                assert all(torch.equal(p, q) for p, q in zip(model.parameters(), start.parameters(), strict=True))
        ends.append(model)
    assert scales == [512.0 if spoil else 1024.0] * 4
    assert_same(*ends)


class Follower(nn.Module):
    """A momentum encoder: its own weight follows in each forward pass, and a plain attribute counts them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.calls = nn.Linear(2, 3), 0
        self.key = nn.Parameter(torch.zeros(3, 2), requires_grad=False)

    def forward(self, x):
        self.calls += 1
        self.key.data.lerp_(self.layer.weight.data, 0.1)
        return self.layer(x.mean((2, 3)))


def test_what_a_module_of_the_users_keeps_moves_in_the_first_half_alone_in_every_step():
    models = [Follower(), Follower()]
    for model, run in zip(models, (whole, halves), strict=True):
        opt = SAM(SGD([*model.layer.parameters()], lr=0.1), rho=0.5)
        for step in range(20):
            run(model, opt, step)
        assert model.calls == 20
    assert_same(*models)


@each([opt for opt in OPTIMIZERS if opt not in HALVED])
def test_a_method_of_other_gradients_is_refused_by_name(method):
    model = network()
    opt = method(SGD(model.parameters(), lr=0.1))
    backward(model, 0)
    before = copy.deepcopy(model)
    told = rf"{method.__name__}.first_step: only a method of two gradients.*opt.step\(closure\)"
    with pytest.raises(TypeError, match=told):
        opt.first_step()
    assert_same(model, before)
    with pytest.raises(RuntimeError, match="second_step needs a first_step"):
        opt.second_step()


def test_every_order_but_the_right_one_is_told_and_loses_nothing():
    model, plain = network(), network()
    opt, other = (StableSAM(SGD(m.parameters(), lr=0.1, momentum=0.9)) for m in (model, plain))
    for early in (opt.second_step, opt.undo_first_step):
        with pytest.raises(RuntimeError, match="needs a first_step before it"):
            early()
    backward(model, 0)
    opt.first_step()
    wrong = {
        "stepped": [opt.first_step, lambda: opt.step(lambda: None)],
        "saved": [opt.state_dict],
        "loaded": [lambda: opt.load_state_dict(other.state_dict())],
        "copied": [lambda: copy.deepcopy(opt), lambda: pickle.dumps(opt)],
    }
    for what, calls in wrong.items():
        for call in calls:
            with pytest.raises(RuntimeError, match=f"cannot be {what} between first_step and second_step"):
                call()
    backward(model, 0)
    opt.second_step()
    with pytest.raises(RuntimeError, match="needs a first_step before it"):
        opt.second_step()
    whole(plain, other, 0)
    assert_same(model, plain)


def test_a_loop_that_gives_up_between_the_halves_gets_weights_and_statistics_back():
    model = network()
    opt = SAM(SGD(model.parameters(), lr=0.1, momentum=0.9), rho=0.5)
    halves(model, opt, 0)
    backward(model, 1)
    before = copy.deepcopy(model)
    opt.first_step()
    assert not torch.equal(before[0].weight, model[0].weight)
    model(batch(1)[0])  # which moves the statistics
    opt.undo_first_step()
    assert_same(model, before)
    halves(model, opt, 1)


@each(HALVED)
def test_a_first_half_that_fails_is_as_if_it_had_not_been(method):
    """Its gradient is sparse, which only the rule's own question for it finds out."""
    torch.manual_seed(0)
    table = nn.Embedding(5, 2, sparse=True)
    opt, before = method(SGD(table.parameters(), lr=0.1)), table.weight.detach().clone()
    table(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(TypeError, match="got a sparse one"):
        opt.first_step()
    assert torch.equal(table.weight, before)
    table.sparse = False
    for half in (opt.first_step, opt.second_step):
        table.weight.grad = None
        table(torch.tensor([1, 2])).sum().backward()
        half()
    assert not torch.equal(table.weight, before)


def test_a_gradient_that_is_not_finite_raises_in_the_second_half_and_the_weights_are_back():
    for spoil in (1, 2):
        model = network()
        opt = SAM(SGD(model.parameters(), lr=0.1))
        before = copy.deepcopy(model)
        with pytest.raises(FloatingPointError, match=f"gradient of pass {spoil} of 2"):
            halves(model, opt, 0, spoil=spoil)
        for p, q in zip(model.parameters(), before.parameters(), strict=True):
            assert torch.equal(p, q)
        halves(model, opt, 0)


def test_a_schedule_and_hooks_see_a_step_in_its_second_half():
    model, log = network(), []
    opt = SAM(SGD(model.parameters(), lr=0.1))
    opt.register_step_post_hook(lambda *_: log.append("after"))
    schedule = lr_scheduler.StepLR(opt, 1, gamma=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a schedule warns if no step came before it
        halves(model, opt, 0)
        schedule.step()
    assert log == ["after"] and opt.param_groups[0]["lr"] == 0.05


def test_buffers_of_modules_without_weights_of_their_own_go_back_too():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return x

    counting = Counting()
    w = torch.ones(3, requires_grad=True)
    opt = SAM(SGD([w], lr=0.1))
    for step in range(3):
        opt.zero_grad()
        counting(w).square().sum().backward()
        opt.first_step()
        counting(w).square().sum().backward()
        opt.second_step()
        assert counting.calls.item() == step + 1


def test_the_vectors_of_spectral_norm_move_once_a_step():
    torch.manual_seed(0)
    model = nn.Sequential(spectral_norm(nn.Linear(5, 4)), nn.Tanh(), nn.Linear(4, 1))
    opt = SAM(SGD(model.parameters(), lr=0.1), rho=0.3)
    x = torch.randn(8, 5)
    model(x).square().mean().backward()
    moved = [b.clone() for b in model.buffers()]
    opt.first_step()
    model(x).square().mean().backward()
    opt.second_step()
    assert moved and all(torch.equal(a, b) for a, b in zip(moved, model.buffers(), strict=True))


def test_halves_and_every_exclude_each_other():
    opt = SAM(SGD(network().parameters(), lr=0.1), every=2)
    with pytest.raises(RuntimeError, match=r"every=2 counts steps of a closure.*opt.base.step\(\)"):
        opt.first_step()
