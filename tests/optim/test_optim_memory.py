"""What LSAM and CSAM remember from step to step, and what a step of LSAM draws and returns."""

import gc
import io

import pytest
import torch
from methods_under_test import closure_of, every_method
from torch.optim import SGD

from flatlab import rules
from flatlab.optim import CSAM, LSAM, SAM


def parabola(method, start=(2.0, -1.0), lr=0.1, **options):
    w = torch.tensor(start, requires_grad=True)
    opt = method(SGD([w], lr=lr, momentum=0.5), **options)
    met = []

    def closure():
        met.append(w.detach().clone())
        opt.zero_grad()
        loss = (w**2).sum() + 0.3 * (w**4).sum()
        loss.backward()
        return loss

    return w, opt, closure, met


@every_method
def test_between_steps_it_holds_no_copy_of_weights_or_gradients(method):
    """No tensor of as many numbers is alive but those of the model, its gradients and the state."""
    model = torch.nn.Linear(1500, 1500, bias=False)
    opt = method(SGD(model.parameters(), lr=0.1))
    for _ in range(2):
        opt.step(closure_of(model, opt, torch.randn(4, 1500), torch.zeros(4, dtype=torch.long)))
    gc.collect()
    own = {model.weight.data_ptr(), model.weight.grad.data_ptr()}
    own |= {t.data_ptr() for state in opt.state.values() for t in state.values()}
    large = [t for t in gc.get_objects() if type(t) in (torch.Tensor, torch.nn.Parameter) and t.device.type == "cpu"]
    held = [tuple(t.shape) for t in large if t.numel() == model.weight.numel() and t.data_ptr() not in own]
    assert not held


def reloaded(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def mean_of(state_dict):
    return state_dict["state"][0]["rule_mean"]


def test_the_moving_average_of_csam_survives_saving_bit_for_bit():
    w, opt, closure, _ = parabola(CSAM)
    for _ in range(3):
        opt.step(closure)
    saved = reloaded(opt.state_dict())
    mean = mean_of(saved).clone()
    assert mean.abs().sum() > 0
    v, other, again, _ = parabola(CSAM, start=w.tolist())
    other.load_state_dict(saved)
    assert torch.equal(mean_of(other.state_dict()), mean)
    opt.step(closure)
    other.step(again)
    assert torch.equal(w, v) and torch.equal(mean_of(saved), mean)


def test_the_average_of_csam_over_more_numbers_than_memory_is_fresh_for_is_that_of_its_rule():
    """Each gradient of a step keeps its own place: the average holds the change from the first to the second."""
    start = torch.linspace(-2, 2, 2**21 + 3, dtype=torch.float64)
    w = start.clone().requires_grad_()
    opt = CSAM(SGD([w], lr=0.1), rho=0.5)

    def closure():
        opt.zero_grad()
        loss = (w**4).sum() / 4
        loss.backward()
        return loss

    v, mean = start, None
    for _ in range(2):
        opt.step(closure)
        direction, mean = rules.csam(v, lambda u: u**3, mean, rho=0.5)
        v = v - 0.1 * direction
        assert mean.abs().max() > 1e-4
        torch.testing.assert_close(mean_of(opt.state_dict()), mean, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(w.detach(), v, rtol=1e-12, atol=1e-12)


def test_a_checkpoint_without_an_average_starts_a_new_one_and_one_with_it_loads_into_other_methods():
    _, opt, closure, _ = parabola(CSAM)
    opt.step(closure)
    _, sam, again, _ = parabola(SAM)
    sam.load_state_dict(opt.state_dict())
    opt.load_state_dict(sam.state_dict())
    assert "rule_mean" not in opt.state_dict()["state"][0]
    opt.base.load_state_dict(opt.state_dict())


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_step_of_csam_that_fails_or_is_skipped_leaves_the_average(failing):
    w, opt, closure, met = parabola(CSAM)
    opt.step(closure)
    before = mean_of(opt.state_dict())

    def spoiled():
        loss = closure()
        if len(met) == failing:
            w.grad[0] = torch.inf
        return loss

    met.clear()
    with pytest.raises(FloatingPointError):
        opt.step(spoiled)
    assert torch.equal(mean_of(opt.state_dict()), before)

    met.clear()
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    opt.step(lambda: scaler.scale(spoiled()) and torch.tensor(1.0), scaler=scaler)
    scaler.update()
    assert scaler.get_scale() == 0.5 and torch.equal(mean_of(opt.state_dict()), before)
    opt.step(closure)
    assert not torch.equal(mean_of(opt.state_dict()), before)


def test_csam_keeps_the_average_of_parameters_that_are_frozen_for_a_while():
    a, b = torch.tensor([1.0], requires_grad=True), torch.tensor([2.0], requires_grad=True)
    opt = CSAM(SGD([a, b], lr=0.1))

    def closure():
        opt.zero_grad()
        loss = (a**2 + b**4).sum()
        loss.backward()
        return loss

    opt.step(closure)
    before = mean_of(opt.state_dict())
    a.requires_grad_(False)
    opt.step(closure)
    assert torch.equal(mean_of(opt.state_dict()), before)
    a.requires_grad_(True)
    opt.step(closure)
    assert not torch.equal(mean_of(opt.state_dict()), before)


@pytest.mark.parametrize("option, value", [("rho_cov", -1.0), ("ema", 0.0), ("ema", 1.0)])
def test_csam_refuses_a_bad_option_wherever_it_comes_from(option, value):
    with pytest.raises(ValueError, match=f"{option} must be .*got {value}"):
        parabola(CSAM, **{option: value})
    _, opt, closure, met = parabola(CSAM)
    opt.param_groups[0][option] = value
    with pytest.raises(ValueError, match=f"{option} must be .*got {value}"):
        opt.step(closure)
    assert not met


def test_lsam_returns_the_mean_loss_of_its_draws_and_leaves_torchs_generator():
    w, opt, closure, met = parabola(LSAM, rho=0.5, k=5)
    state = torch.get_rng_state()
    loss = opt.step(closure)
    assert len(met) == 5 and torch.equal(state, torch.get_rng_state())
    found = torch.stack([(v**2).sum() + 0.3 * (v**4).sum() for v in met]).mean()
    torch.testing.assert_close(loss, found)


def test_lsam_draws_anew_in_every_step_and_by_its_seed():
    runs = []
    for seed in (0, 0, 1):
        _, opt, closure, met = parabola(LSAM, rho=0.5, seed=seed, lr=0.0)
        opt.step(closure)
        opt.step(closure)
        runs.append(torch.stack(met))
    assert torch.equal(runs[0], runs[1])
    assert len(torch.cat([runs[0], runs[2]]).unique(dim=0)) == 8


def test_lsam_in_antithetic_pairs_stands_on_either_side_of_the_weights():
    w, opt, closure, met = parabola(LSAM, rho=0.5, k=4, antithetic=True, lr=0.0)
    opt.step(closure)
    for a, b in (met[:2], met[2:]):
        torch.testing.assert_close((a + b) / 2, w.detach())


def test_a_step_of_lsam_that_fails_does_not_use_up_its_draws():
    w, opt, closure, met = parabola(LSAM, rho=0.5, lr=0.0)

    def broken():
        closure()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opt.step(broken)
    opt.step(closure)
    assert torch.equal(met[0], met[1])


@pytest.mark.parametrize("k, antithetic", [(0, False), (3, True)])
def test_lsam_refuses_a_number_of_draws_that_cannot_be_made(k, antithetic):
    with pytest.raises(ValueError, match=f"k must be a whole number.*got {k}"):
        parabola(LSAM, k=k, antithetic=antithetic)
