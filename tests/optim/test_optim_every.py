"""`every=k`: the method in every k-th step, the base optimizer alone in those between."""

import copy
import io

import pytest
import torch
from methods_under_test import OPTIMIZERS, each
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW

from flatlab.landscape import Landscape
from flatlab.optim import CSAM, LSAM, MSAM, SAM


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).double()


def wrapped(method, model, base=lambda p: SGD(p, lr=0.1, momentum=0.9), **options):
    return method(base(model.parameters()), **({"m": 4} if "m" in method.method.options else {}), **options)


def data(step):
    g = torch.Generator().manual_seed(step)
    return torch.randn(12, 6, generator=g, dtype=torch.float64), torch.randint(0, 3, (12,), generator=g)


def closure_of(model, opt, firsts=None):
    def closure(x, y):
        opt.zero_grad()
        if firsts is not None:
            firsts.append(opt.first_pass)
        loss = cross_entropy(model(x), y)
        loss.backward()
        return loss

    return closure


def assert_same(model, other):
    for (name, a), (_, b) in zip(model.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


@each(OPTIMIZERS)
def test_steps_between_are_those_of_the_base_to_the_bit_and_count_one_pass(method):
    """Against one optimizer whose steps are the method's in turn and its base's own in between."""
    model, twin = network(), network()
    opt, other = wrapped(method, model, every=3), wrapped(method, twin)
    passes = []
    for step in range(7):
        opt.step(closure_of(model, opt), *data(step))
        passes.append(opt.passes)
        if step % 3 == 0:
            if "rule_steps" in other.param_groups[0]:
                other.param_groups[0]["rule_steps"] = step  # a draw belongs to its step
            other.step(closure_of(twin, other), *data(step))
            assert other.passes == passes[-1] > 1
        else:
            closure_of(twin, other)(*data(step))
            other.base.step()
        assert_same(model, twin)
    assert passes[1] == passes[2] == passes[4] == passes[5] == 1


@each(OPTIMIZERS)
def test_a_resumed_run_perturbs_in_the_steps_of_one_that_was_not_interrupted(method):
    def run(model, opt, steps):
        for step in steps:
            opt.step(closure_of(model, opt), *data(step))

    whole = network()
    run(whole, wrapped(method, whole, every=3), range(8))
    half = network()
    opt = wrapped(method, half, every=3)
    run(half, opt, range(4))
    file = io.BytesIO()
    torch.save([half.state_dict(), opt.state_dict()], file)
    file.seek(0)
    resumed = network(9)
    weights, state = torch.load(file, weights_only=True)
    resumed.load_state_dict(weights)
    opt = wrapped(method, resumed, every=3)
    opt.load_state_dict(state)
    run(resumed, opt, range(4, 8))
    assert_same(whole, resumed)


def test_every_pass_at_the_weights_is_a_first_pass():
    model, firsts = network(), []
    opt = wrapped(SAM, model, every=2)
    for step in range(4):
        opt.step(closure_of(model, opt, firsts), *data(step))
    assert firsts == [True, False, True, True, False, True]


def test_on_a_landscape_too():
    model, twin = nn.Linear(6, 3).double(), nn.Linear(6, 3).double()
    twin.load_state_dict(model.state_dict())
    opt, base = wrapped(MSAM, model, every=2), SGD(twin.parameters(), lr=0.1, momentum=0.9)
    opt.step(Landscape.of(model, cross_entropy, data(0)))
    twin.load_state_dict(model.state_dict())
    base.load_state_dict(copy.deepcopy(opt.base.state_dict()))
    opt.step(Landscape.of(model, cross_entropy, data(1)))
    cross_entropy(twin(data(1)[0]), data(1)[1]).backward()
    base.step()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


def test_a_step_that_fails_is_not_counted_and_one_that_the_scaler_skips_is():
    model = network()
    opt, scaler = wrapped(SAM, model, every=2), torch.amp.GradScaler("cpu", init_scale=2.0)

    def broken(x, y):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opt.step(broken, *data(0))
    opt.step(closure_of(model, opt), *data(0))
    assert opt.passes == 2

    def spoiled(x, y):
        opt.zero_grad()
        loss = cross_entropy(model(x), y)
        scaler.scale(loss * torch.inf).backward()
        return loss

    opt.step(spoiled, *data(1), scaler=scaler)
    scaler.update()
    opt.step(closure_of(model, opt), *data(1))
    assert opt.passes == 2


def test_one_is_every_step_and_the_average_of_csam_waits_in_between():
    model, twin = network(), network()
    opt, other = wrapped(CSAM, model, adam, every=1), wrapped(CSAM, twin, adam)
    for step in range(3):
        opt.step(closure_of(model, opt), *data(step))
        other.step(closure_of(twin, other), *data(step))
    assert_same(model, twin)
    opt = wrapped(CSAM, model, every=2)
    opt.step(closure_of(model, opt), *data(0))
    before = opt.state[model[0].weight]["rule_mean"].clone()
    opt.step(closure_of(model, opt), *data(1))
    assert torch.equal(opt.state[model[0].weight]["rule_mean"], before)


def adam(params):
    return AdamW(params, lr=0.01)


@pytest.mark.parametrize("every", [0, -1, 1.5])
def test_what_is_no_number_of_steps_is_refused(every):
    with pytest.raises(ValueError, match=f"every must be None or a whole number of steps >= 1, got {every}"):
        wrapped(SAM, network(), every=every)


def test_a_group_added_later_counts_along():
    model = network()
    opt = LSAM(SGD(model[0].parameters(), lr=0.1), every=2)
    opt.step(lambda: closure_of(model, opt)(*data(0)))
    opt.add_param_group({"params": model[3].parameters()})
    assert [group["rule_steps"] for group in opt.param_groups] == [1, 1]
    opt.step(lambda: closure_of(model, opt)(*data(1)))
    assert [group["rule_steps"] for group in opt.param_groups] == [2, 2] and opt.passes == 1
