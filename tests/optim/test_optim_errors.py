"""Slips and divergence: each is named, and leaves everything as it was."""

import math

import numpy as np
import pytest
import torch
from methods_under_test import OPTIMIZERS, WHOLE, each, every_method
from torch import nn
from torch.optim import LBFGS, SGD, Adadelta, AdamW

from flatlab.optim import ASAM, CSAM, LSAM, SAM, USAM, StableSAM


def parabola(method=SAM, start=(2.0,), **options):
    w = torch.tensor(start, requires_grad=True)
    opt = method(SGD([w], lr=0.1, momentum=0.9), **options)

    def closure():
        opt.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    return w, opt, closure


@every_method
@pytest.mark.parametrize("rho", [-0.1, math.nan, math.inf])
def test_a_rho_that_is_no_radius_is_refused_wherever_it_comes_from(method, rho):
    message = f"rho must be finite and >= 0, got {rho}"
    w = torch.ones(2, requires_grad=True)
    base = SGD([w], lr=0.1)
    with pytest.raises(ValueError, match=message):
        method(base, rho=rho)
    with pytest.raises(ValueError, match=message):
        method(SGD([{"params": [w], "rho": rho}], lr=0.1))
    opt = method(base)  # a refused base is as good as new
    with pytest.raises(ValueError, match=message):
        opt.add_param_group({"params": [torch.ones(1, requires_grad=True)], "rho": rho})
    assert len(opt.param_groups) == 1

    calls = []
    opt.param_groups[0]["rho"] = rho
    with pytest.raises(ValueError, match=message):
        opt.step(lambda: calls.append(1))
    assert not calls


@each([opt for opt in WHOLE if "eta" in opt.method.options])
@pytest.mark.parametrize("eta", [-0.1, math.nan, math.inf])
def test_an_eta_below_zero_is_refused_wherever_it_comes_from(method, eta):
    message = f"eta must be finite and >= 0, got {eta}"
    with pytest.raises(ValueError, match=message):
        parabola(method, eta=eta)
    w, opt, closure = parabola(method)
    with pytest.raises(ValueError, match=message):
        opt.add_param_group({"params": [torch.ones(1, requires_grad=True)], "eta": eta})
    opt.param_groups[0]["eta"] = eta
    with pytest.raises(ValueError, match=message):
        opt.step(closure)


@pytest.mark.parametrize(
    "method, option, given, told",
    [
        (LSAM, "antithetic", "no", "antithetic must be True or False, got 'no'"),
        (ASAM, "scale_1d", 1, "scale_1d must be True or False, got 1"),
        (LSAM, "k", 2.0, "k must be a whole number >= 1, got 2.0"),
        (LSAM, "k", math.inf, "k must be a whole number >= 1, got inf"),
        (LSAM, "k", True, "k must be a whole number >= 1, got True"),
        (SAM, "rho", "0.05", "rho must be a number, got '0.05'"),
        (SAM, "rho", None, "rho must be a number, got None"),
    ],
)
def test_an_option_of_another_kind_is_refused_at_once(method, option, given, told):
    with pytest.raises(ValueError, match=told):
        method(SGD([torch.ones(2, requires_grad=True)], lr=0.1), **{option: given})


def test_numbers_of_numpy_are_numbers():
    base = SGD([torch.ones(2, requires_grad=True)], lr=0.1)
    opt = LSAM(base, rho=np.float32(0.5), k=np.int64(2), antithetic=np.bool_(True))
    assert (opt.param_groups[0]["rho"], opt.k, opt.antithetic) == (0.5, 2, True)
    assert SAM(SGD([torch.ones(2, requires_grad=True)], lr=0.1), rho=np.array(0.05)).param_groups[0]["rho"] == 0.05


def test_a_tensor_rho_is_checked_too():
    w, opt, closure = parabola()
    opt.param_groups[0]["rho"] = torch.tensor(-1.0)
    with pytest.raises(ValueError, match="rho must be finite and >= 0, got -1"):
        opt.step(closure)


@every_method
def test_a_class_for_an_optimizer_is_refused_with_what_to_write(method):
    with pytest.raises(TypeError, match=rf"got the class SGD: write {method.__name__}\(SGD\(model.parameters\(\)"):
        method(SGD, rho=0.1)


@pytest.mark.parametrize("base, given", [([torch.ones(1)], "a list"), (None, "a NoneType"), (int, "the class int")])
def test_what_is_no_optimizer_is_refused_with_what_it_is(base, given):
    with pytest.raises(TypeError, match=f"must be a torch.optim.Optimizer, got {given}: write SAM"):
        SAM(base)


def test_a_call_in_the_manner_of_other_libraries_is_told_what_to_write():
    w = torch.ones(2, requires_grad=True)
    with pytest.raises(TypeError, match=r"got a list: write SAM\(AdamW\(model.parameters\(\), lr=...\)"):
        SAM([w], AdamW, rho=0.1, lr=0.1)
    with pytest.raises(TypeError, match=r"got a list: write SAM\(AdamW\(model"):
        SAM([w], base_optimizer=AdamW, rho=0.1, lr=0.1)
    with pytest.raises(TypeError, match=r"got a list: write SAM\(SGD\(model"):
        SAM([w], lr=0.1)
    with pytest.raises(TypeError, match="SAM has no option 'rh'; there are rho, check_finite, no_sync, every"):
        SAM(SGD([w], lr=0.1), rh=0.1)


def test_a_step_with_something_else_than_a_closure_is_told_what_to_write():
    w = torch.ones(2, requires_grad=True)
    opt = SAM(SGD([w], lr=0.1), rho=0.1)
    with pytest.raises(TypeError, match=r"SAM.step takes the closure itself, .* got a Tensor: write opt.step\(closure\)"):
        opt.step((w**2).sum())
    with pytest.raises(TypeError, match=r"takes a GradScaler by name: write opt.step\(closure, scaler=scaler\)"):
        opt.step(lambda: None, torch.amp.GradScaler("cpu"))


def test_a_base_that_calls_a_closure_itself_is_refused():
    w = torch.ones(2, requires_grad=True)
    with pytest.raises(TypeError, match="got LBFGS, which calls a closure"):
        SAM(LBFGS([w]))
    with pytest.raises(TypeError, match="got USAM, which calls a closure"):
        SAM(USAM(SGD([w], lr=0.1)))


def test_a_base_that_means_something_else_by_rho_is_refused():
    with pytest.raises(ValueError, match="already has a group option 'rho', got Adadelta"):
        SAM(Adadelta([torch.ones(2, requires_grad=True)]), rho=0.05)


def test_a_base_that_is_wrapped_already_is_refused_rather_than_keeping_the_old_rho():
    base = SGD([torch.ones(2, requires_grad=True)], lr=0.1)
    SAM(base, rho=0.05)
    with pytest.raises(ValueError, match="already has a group option 'rho', got SGD: either it is wrapped"):
        SAM(base, rho=0.2)


@every_method
def test_a_step_without_a_closure_says_what_to_write(method):
    _, opt, _ = parabola(method)
    with pytest.raises(TypeError, match=rf"{method.__name__}.step needs a closure.*opt.step\(closure\)"):
        opt.step()


def test_a_closure_that_returns_nothing_is_named_and_leaves_the_weights():
    w, opt, closure = parabola()
    with pytest.raises(TypeError, match="closure must return the loss, got None"):
        opt.step(lambda: closure() and None)
    assert w.item() == 2.0


@pytest.mark.parametrize(
    ("wrap", "told"),
    [
        (lambda loss: (loss, 1), "a tuple"),
        (lambda loss: {"loss": loss}, "a dict"),
        (lambda loss: [loss], "a list"),
        (lambda loss: torch.stack([loss, loss]), r"a torch.float32 tensor of shape \(2,\)"),
        (lambda loss: loss * 1j, r"a torch.complex64 tensor"),
    ],
)
def test_a_closure_that_returns_more_than_the_loss_is_told_so_and_the_weights_stay(wrap, told):
    w, opt, closure = parabola()
    with pytest.raises(TypeError, match=f"must return the loss, one real number, got {told}"):
        opt.step(lambda: wrap(closure()))
    assert w.item() == 2.0


def test_a_closure_without_a_backward_pass_is_told_so():
    w, opt, _ = parabola()
    with pytest.warns(UserWarning, match=r"left no gradient: it must call loss.backward\(\)"):
        opt.step(lambda: (w * w).sum())
    assert w.item() == 2.0


def test_sparse_gradients_are_refused_and_the_weights_stay():
    table = torch.nn.Embedding(5, 2, sparse=True)
    before = table.weight.detach().clone()
    opt = SAM(SGD(table.parameters(), lr=0.1))

    def closure():
        opt.zero_grad()
        loss = table(torch.tensor([1, 2])).sum()
        loss.backward()
        return loss

    with pytest.raises(TypeError, match=r"sparse one for a parameter of shape \(5, 2\)"):
        opt.step(closure)
    assert torch.equal(before, table.weight)


def test_parameters_on_several_devices_are_refused():
    here, there = torch.ones(2, requires_grad=True), torch.ones(2, device="meta", requires_grad=True)
    opt = SAM(SGD([here, there], lr=0.1))
    with pytest.raises(ValueError, match="must be on one device, got cpu, meta"):
        opt.step(lambda: here.sum())


@each(OPTIMIZERS)
def test_two_parameters_in_one_memory_are_refused_at_construction_and_in_a_new_group(method):
    """Each would be written over the other's ascent; slices of one storage that do not overlap are no matter."""
    memory = torch.randn(4, 6)
    one, same, half = nn.Parameter(memory), nn.Parameter(memory), nn.Parameter(memory[:2])
    for other in (same, half):
        with pytest.raises(ValueError, match="share their memory: tie them as one parameter"):
            method(SGD([one, other], lr=0.1))
    opt = method(SGD([nn.Parameter(memory[:, ::2]), nn.Parameter(memory[:, 1::2]), nn.Parameter(torch.empty(0))], lr=0.1))
    with pytest.raises(ValueError, match="share their memory"):
        opt.add_param_group({"params": [one]})
    assert len(opt.param_groups) == 1, "the group is not added"


@pytest.mark.parametrize("view", [lambda z: z.conj(), lambda z: z.conj().imag], ids=["conjugate", "negative"])
def test_a_parameter_that_is_read_with_another_sign_than_it_is_written_with_is_refused(view):
    weight = nn.Parameter(view(torch.randn(3, dtype=torch.cfloat)))
    with pytest.raises(ValueError, match="conjugate or negative view"):
        SAM(SGD([weight], lr=0.1))


def test_a_network_that_is_frozen_throughout_is_refused():
    opt = SAM(SGD([torch.ones(2)], lr=0.1))
    with pytest.raises(ValueError, match="SAM has nothing to train"):
        opt.step(lambda: torch.tensor(1.0))


@each([opt for opt in WHOLE if not opt.method.local_ascent])
def test_no_sync_is_refused_where_the_first_gradient_has_a_part_in_the_direction(method):
    model = torch.nn.Linear(2, 1)
    with pytest.raises(ValueError, match=f"no_sync must be None for {method.__name__}.*drift apart"):
        method(SGD(model.parameters(), lr=0.1), no_sync=lambda: None)


def diverging(method, bad_pass, kind, **options):
    """A network with BatchNorm and momentum whose pass `bad_pass` goes wrong from the third step on."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    opt = method(SGD(model.parameters(), lr=0.1, momentum=0.9), rho=0.05, **options)
    x = torch.randn(8, 4)
    state = {"bad": False, "call": 0}

    def closure():
        state["call"] += 1
        opt.zero_grad()
        wrong = state["bad"] and state["call"] == bad_pass
        loss = model(x * math.inf if wrong and kind == "input" else x).square().mean()
        if wrong and kind == "loss":
            loss = loss + math.nan  # its gradient remains finite
        loss.backward()
        if wrong and kind == "gradient":
            model[2].weight.grad[0, 1] = math.inf
        return loss

    for _ in range(2):
        state["call"] = 0
        opt.step(closure)
    state.update(bad=True, call=0)
    return model, opt, closure, state


@every_method
@pytest.mark.parametrize("bad_pass", [1, 2])
@pytest.mark.parametrize("kind", ["loss", "gradient", "input"])
def test_a_pass_that_is_not_finite_raises_and_loses_nothing(method, bad_pass, kind):
    model, opt, closure, state = diverging(method, bad_pass, kind)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    momentum = [opt.state[p]["momentum_buffer"].clone() for p in model.parameters()]
    passes = 3 if method is CSAM else 2
    text = rf"{method.__name__}: the loss or gradient of pass {bad_pass} of {passes} is not finite \(lr=0.1, rho=0.05"
    with pytest.raises(FloatingPointError, match=text):
        opt.step(closure)
    for name, value in model.state_dict().items():  # weights and running statistics
        assert torch.equal(value, before[name]), name
    for p, m in zip(model.parameters(), momentum, strict=True):
        assert torch.equal(opt.state[p]["momentum_buffer"], m)

    state["bad"] = False
    opt.step(closure)
    assert all(torch.isfinite(v).all() for v in model.state_dict().values())


@pytest.mark.parametrize("method", [SAM, ASAM, StableSAM])
def test_after_a_first_pass_that_is_not_finite_the_second_runs_at_finite_weights(method):
    """A loss may refuse, and on a GPU abort at, anything else."""
    w, opt, _ = parabola(method)
    seen = []

    def closure():
        seen.append(w.item())
        opt.zero_grad()
        loss = (w * math.nan).sum() if len(seen) == 1 else (w * w).sum()
        loss.backward()
        return loss

    with pytest.raises(FloatingPointError, match="pass 1 of 2"):
        opt.step(closure)
    assert seen == [2.0, 2.0] and w.item() == 2.0


def test_a_direction_that_overflows_raises_though_every_pass_was_finite():
    # g is longer than 3.4e38, and the far gradient has one entry, which gets all that length
    w = torch.full((2,), 1.0, requires_grad=True)
    opt = StableSAM(SGD([w], lr=0.1), rho=0.1)
    slopes = iter([(2.6e38, -2.6e38), (1.0, 0.0)])

    def closure():
        w.grad = torch.tensor(next(slopes))
        return torch.tensor(1.0)

    with pytest.raises(FloatingPointError, match="StableSAM: the direction is not finite"):
        opt.step(closure)
    assert torch.equal(w.detach(), torch.ones(2))


def test_the_check_can_be_left_out():
    model, opt, closure, _ = diverging(SAM, 2, "loss", check_finite=False)
    assert math.isfinite(opt.step(closure))


def test_a_closure_may_return_a_plain_number():
    w, opt, closure = parabola()
    assert opt.step(lambda: closure().item()) == 4.0 and w.item() < 2.0
    assert opt.step(lambda: closure().detach().numpy()) < 4.0


@every_method
@pytest.mark.parametrize("failing", [1, 2])
def test_a_closure_that_raises_leaves_weights_storage_momentum_and_statistics(method, failing):
    model, opt, closure, state = diverging(method, 0, "loss")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    pointers = [p.data_ptr() for p in model.parameters()]
    momentum = [opt.state[p]["momentum_buffer"].clone() for p in model.parameters()]
    calls = []

    def broken():
        calls.append(1)
        loss = closure()
        if len(calls) == failing:
            raise KeyboardInterrupt
        return loss

    with pytest.raises(KeyboardInterrupt):
        opt.step(broken)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert pointers == [p.data_ptr() for p in model.parameters()]
    for p, m in zip(model.parameters(), momentum, strict=True):
        assert torch.equal(opt.state[p]["momentum_buffer"], m)


def test_a_step_within_its_own_closure_is_refused_and_the_weights_stay():
    w, opt, closure = parabola()

    def nested():
        return opt.step(nested)

    with pytest.raises(RuntimeError, match=r"SAM\.step runs already"):
        opt.step(nested)
    assert w.item() == 2.0
    opt.step(closure)
    assert w.item() != 2.0


@every_method
def test_parameters_without_a_number_are_refused_alone_and_no_trouble_beside_others(method):
    empty = torch.zeros(0, 3, requires_grad=True)
    with pytest.raises(ValueError, match=f"{method.__name__} has nothing to train: .* hold no numbers"):
        method(SGD([empty], lr=0.1)).step(lambda: empty.sum())
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    opt = method(SGD([empty, w], lr=0.1))

    def closure():
        opt.zero_grad()
        loss = (w * w).sum() + empty.sum()
        loss.backward()
        return loss

    opt.step(closure)
    assert not torch.equal(w, torch.tensor([1.0, 2.0])) and torch.isfinite(w).all()
