"""Mixed precision: what a GradScaler does for a plain optimizer it does here, whichever pass overflows."""

import math

import pytest
import torch
from methods_under_test import every_method
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW

from flatlab.optim import SAM


def setup(method, base=lambda p: SGD(p, lr=0.1, momentum=0.9)):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    opt = method(base(model.parameters()), rho=0.2)
    x, y = torch.randn(32, 6), torch.randint(0, 3, (32,))
    return model, opt, x, y


def stepper(model, opt, x, y, scaler=None, dtype=None, spoil=()):
    calls = []

    def closure():
        calls.append(1)
        opt.zero_grad()
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            loss = cross_entropy(model(x), y)
        (loss if scaler is None else scaler.scale(loss)).backward()
        if len(calls) in spoil:
            model[0].weight.grad[1, 2] = math.inf
        return loss

    return closure


@every_method
@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("base", [lambda p: SGD(p, lr=0.1, momentum=0.9), lambda p: AdamW(p, lr=0.01)])
def test_a_finite_step_is_the_unscaled_step(method, dtype, base):
    results = []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=2.0**8)):
        model, opt, x, y = setup(method, base)
        for _ in range(4):
            loss = opt.step(stepper(model, opt, x, y, scaler, dtype), scaler=scaler)
            if scaler is not None:
                assert scaler.get_scale() == 2.0**8
                scaler.update()
        results.append((loss, *model.state_dict().values()))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@every_method
def test_a_float16_step_overflows_until_the_scale_fits_and_then_trains(method):
    model, opt, x, y = setup(method)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)
    start = model[0].weight.detach().clone()
    first = opt.step(stepper(model, opt, x, y, scaler, torch.float16), scaler=scaler)
    scaler.update()
    assert torch.equal(model[0].weight, start) and scaler.get_scale() == 2.0**23
    for _ in range(30):
        loss = opt.step(stepper(model, opt, x, y, scaler, torch.float16), scaler=scaler)
        scaler.update()
    assert scaler.get_scale() < 2.0**23 and loss < 0.7 * first


@every_method
@pytest.mark.parametrize("spoil", [(1,), (2,), (1, 2)], ids=["pass one", "pass two", "both"])
@pytest.mark.parametrize("base", [lambda p: SGD(p, lr=0.1, momentum=0.9), lambda p: AdamW(p, lr=0.01, fused=True)])
def test_an_infinite_gradient_in_any_pass_skips_the_step_and_halves_the_scale(method, spoil, base):
    model, opt, x, y = setup(method, base)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    opt.step(stepper(model, opt, x, y, scaler), scaler=scaler)
    scaler.update()
    weights = [p.detach().clone() for p in model.parameters()]
    state = [{k: v.clone() for k, v in opt.state[p].items()} for p in model.parameters()]

    loss = opt.step(stepper(model, opt, x, y, scaler, spoil=spoil), scaler=scaler)
    scaler.update()
    assert math.isfinite(loss) and scaler.get_scale() == 32.0
    for p, w, s in zip(model.parameters(), weights, state, strict=True):
        assert torch.equal(p, w)
        assert all(torch.equal(opt.state[p][k], v) for k, v in s.items())

    opt.step(stepper(model, opt, x, y, scaler), scaler=scaler)
    scaler.update()
    assert scaler.get_scale() == 32.0 and not torch.equal(model[0].weight, weights[0])


def test_after_an_overflow_in_the_first_pass_the_second_runs_at_finite_weights():
    model, opt, x, y = setup(SAM)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    inner, finite = stepper(model, opt, x, y, scaler, spoil=(1,)), []

    def closure():
        finite.append(all(torch.isfinite(p).all() for p in model.parameters()))
        return inner()

    opt.step(closure, scaler=scaler)
    assert finite == [True, True]


def test_a_scaler_that_is_switched_off_changes_nothing():
    results = []
    for scaler in (None, torch.amp.GradScaler("cpu", enabled=False)):
        model, opt, x, y = setup(SAM)
        opt.step(stepper(model, opt, x, y, scaler), scaler=scaler)
        if scaler is not None:
            scaler.update()
            with pytest.raises(FloatingPointError):
                opt.step(stepper(model, opt, x, y, scaler, spoil=(2,)), scaler=scaler)
        results.append(model[0].weight.detach().clone())
    assert torch.equal(*results)


def test_forgetting_to_pass_the_scaler_is_noticed_by_the_scaler():
    model, opt, x, y = setup(SAM)
    scaler = torch.amp.GradScaler("cpu")
    opt.step(stepper(model, opt, x, y, scaler))
    with pytest.raises(AssertionError, match="No inf checks were recorded"):
        scaler.update()
    with pytest.raises(TypeError, match=r"opt.step\(closure, scaler=scaler\) in place of scaler.step\(opt\)"):
        scaler.step(opt)


@pytest.mark.parametrize("fused", [False, True])
def test_a_clipping_hook_on_the_base_sees_the_unscaled_direction(fused):
    model, opt, x, y = setup(SAM, lambda p: SGD(p, lr=0.1, fused=fused))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    seen = []

    @opt.base.register_step_pre_hook
    def clip(*_):
        seen.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3).item())

    before = [p.detach().clone() for p in model.parameters()]
    opt.step(stepper(model, opt, x, y, scaler), scaler=scaler)
    scaler.update()
    moved = torch.cat([(p - w).ravel() for p, w in zip(model.parameters(), before, strict=True)]).norm()
    assert seen[0] < 10  # the gradient's own size, not 1024 times that
    assert moved.item() == pytest.approx(0.1 * 1e-3, rel=1e-3)
