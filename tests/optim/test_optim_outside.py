"""Gradients accumulated outside of the closure: said once, with the remedy, which is the step of the whole batch."""

import copy
import warnings

import pytest
import torch
from methods_under_test import WHOLE, closure_of, each, every_method
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from flatlab.optim import SAM


def network(norm=False):
    torch.manual_seed(0)
    middle = nn.BatchNorm1d(8) if norm else nn.Tanh()
    return nn.Sequential(nn.Linear(6, 8), middle, nn.Linear(8, 3)).double()


def batch(step=0):
    g = torch.Generator().manual_seed(step)
    return torch.randn(12, 6, generator=g, dtype=torch.float64), torch.randint(0, 3, (12,), generator=g)


def told(run):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return [w for w in caught if "Accumulation" in str(w.message)]


def accumulate(model, opt, step, clears):
    x, y = batch(step)
    for part in (slice(0, 6), slice(6, 12)):
        (cross_entropy(model(x[part]), y[part]) / 2).backward()

    def closure():
        if clears:
            opt.zero_grad()
        loss = cross_entropy(model(x[6:]), y[6:]) / 2
        loss.backward()
        return loss

    opt.step(closure)


@every_method
@pytest.mark.parametrize("clears", [True, False], ids=["a closure that clears", "one that does not"])
def test_gradients_that_an_outer_loop_has_accumulated_are_told_of_once(method, clears):
    model = network()
    opt = method(SGD(model.parameters(), lr=0.1, momentum=0.9))
    found = told(lambda: [accumulate(model, opt, step, clears) for step in range(3)])
    assert len(found) == 1 and found[0].filename == __file__
    assert str(found[0].message).startswith(f"{method.__name__}: gradients that stand there before the step do not count")


def test_accumulation_that_begins_later_is_told_of_then():
    model = network()
    opt = SAM(SGD(model.parameters(), lr=0.1))
    assert not told(lambda: [opt.step(closure_of(model, opt, *batch(step))) for step in range(30)])
    assert len(told(lambda: accumulate(model, opt, 30, True))) == 1


def plain(model, opt):
    return lambda step: opt.step(closure_of(model, opt, *batch(step)))


def cleared_before(set_to_none):
    def loop(model, opt):
        def run(step):
            opt.zero_grad(set_to_none)
            opt.step(closure_of(model, opt, *batch(step)))

        return run

    return loop


def clipped(model, opt):
    opt.base.register_step_pre_hook(lambda *_: torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01) and None)
    return plain(model, opt)


def failing(model, opt):
    def run(step):
        def closure():
            closure_of(model, opt, *batch(step))()
            return torch.tensor(torch.nan)

        with pytest.raises(FloatingPointError):
            opt.step(closure)
        opt.step(closure_of(model, opt, *batch(step)))

    return run


def freezing(model, opt):
    def run(step):
        model[0].weight.requires_grad_(step % 2 == 0)
        opt.step(closure_of(model, opt, *batch(step)))

    return run


def scaled(model, opt):
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)

    def run(step):
        def closure():
            opt.zero_grad()
            loss = cross_entropy(model(batch(step)[0]), batch(step)[1])
            scaler.scale(loss).backward()
            return loss

        opt.step(closure, scaler=scaler)
        scaler.update()

    return run


def alternating(model, opt):
    def run(step):
        opt.step(closure_of(model, opt, *batch(step)))
        closure_of(model, opt, *batch(step))()
        opt.base.step()

    return run


@pytest.mark.parametrize(
    "loop",
    [alternating, plain, cleared_before(True), cleared_before(False), clipped, failing, freezing, scaled],
    ids=[
        "alternating with the base's",
        "plain",
        "cleared before",
        "set to zero before",
        "clipped",
        "after a failure",
        "freezing",
        "scaled",
    ],
)
def test_what_steps_themselves_leave_behind_is_no_accumulation(loop):
    model = network()
    run = loop(model, SAM(SGD(model.parameters(), lr=0.1, momentum=0.9)))
    assert not told(lambda: [run(step) for step in range(12)])


@pytest.mark.parametrize("last", range(12))
def test_neither_is_it_where_a_loop_stops_to_set_gradients_to_zero(last):
    """Zeros are looked at by value a limited number of times: what stands there after them is the step's own."""
    w = torch.ones(3, requires_grad=True)
    opt = SAM(SGD([w], lr=0.01))

    def closure():
        w.grad = None
        loss = (w * w).sum()
        loss.backward()
        return loss

    def run(step):
        if step <= last:
            opt.zero_grad(set_to_none=False)
        opt.step(closure)

    assert not told(lambda: [run(step) for step in range(14)])


def test_neither_is_a_copy_that_trains_on():
    model = network()
    opt = SAM(SGD(model.parameters(), lr=0.1, momentum=0.9))
    plain(model, opt)(0)
    twin, twin_opt = copy.deepcopy((model, opt))
    assert not told(lambda: plain(twin, twin_opt)(1))


def over_parts(model, opt, x, y, parts):
    """The recipe of `flatlab.optim`."""

    def closure():
        opt.zero_grad()
        total = 0.0
        for a, b in zip(x.chunk(parts), y.chunk(parts), strict=True):
            loss = cross_entropy(model(a), b) / parts
            loss.backward()
            total += loss.detach()
        return total

    return closure


@each(WHOLE)
def test_a_closure_over_parts_of_the_batch_is_the_step_on_all_of_it(method):
    ends = []
    for parts in (1, 4):
        model = network()
        opt = method(SGD(model.parameters(), lr=0.1, momentum=0.9), rho=0.5)
        losses = [opt.step(over_parts(model, opt, *batch(step), parts)) for step in range(4)]
        ends.append((torch.stack(losses), *model.parameters()))
    for whole, cut in zip(*ends, strict=True):
        torch.testing.assert_close(whole, cut, rtol=1e-9, atol=1e-11)


def test_over_parts_statistics_move_as_in_plain_accumulation_and_masks_repeat():
    """Against the base optimizer on the same parts, at rho = 0, to the bit."""
    ends = []
    for wrapped in (False, True):
        model = nn.Sequential(*network(norm=True), nn.Dropout(0.5))
        base = SGD(model.parameters(), lr=0.1, momentum=0.9)
        opt = SAM(base, rho=0.0) if wrapped else base
        torch.manual_seed(3)
        for step in range(3):
            opt.step(over_parts(model, opt, *batch(step), 3))
        ends.append(model.state_dict())
    assert all(torch.equal(ends[0][k], ends[1][k]) for k in ends[0])
