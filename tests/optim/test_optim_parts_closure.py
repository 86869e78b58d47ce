"""MSAM and SAMGCM with a closure over parts: BatchNorm and dropout in train mode, scaler, failures."""

import copy
import io
import math
import warnings

import pytest
import torch
from methods_under_test import OPTIMIZERS, each, every_cutting_method
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from flatlab.landscape import Landscape
from flatlab.optim import MSAM, SAM, SAMGCM

DOUBLE, LR, RHO = torch.float64, 0.2, 0.3
M = 4


def plain(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 3)).double()


def normed(seed=0, p=0.0):
    torch.manual_seed(seed)
    layers = nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(p), nn.Linear(16, 3)
    return nn.Sequential(nn.Unflatten(1, (1, 6)), *layers).double()


def batch(step=0, n=8):
    g = torch.Generator().manual_seed(step)
    return torch.randn(n, 6, generator=g, dtype=DOUBLE), torch.randint(0, 3, (n,), generator=g)


def make(method, model, **options):
    options = ({"m": M} if method is MSAM else {}) | options
    return method(SGD(model.parameters(), lr=LR, momentum=0.9, weight_decay=0.01), rho=RHO, **options)


def closure_of(model, opt, scaler=None, spoil=lambda count: None):
    """Calls `spoil` with the number of the pass, and multiplies the gradient by what it returns."""
    passes = []

    def closure(x, y):
        passes.append(len(x))
        opt.zero_grad()
        factor = spoil(len(passes))
        loss = cross_entropy(model(x), y)
        with next(model.parameters()).register_hook(lambda g: g if factor is None else g * factor):
            (loss if scaler is None else scaler.scale(loss)).backward()
        return loss

    closure.passes = passes
    return closure


def train(model, opt, steps):
    return [opt.step(closure_of(model, opt), *batch(step)) for step in steps]


def flat(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def statistics(model):
    return {name: b.clone() for name, b in model.named_buffers()}


def same(a, b, atol=0.0):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=atol)


def gradient(model, x, y):
    gs = torch.autograd.grad(cross_entropy(model(x), y), list(model.parameters()))
    return torch.cat([g.reshape(-1) for g in gs])


def shifted(model, by):
    twin = copy.deepcopy(model)
    nn.utils.vector_to_parameters(flat(model) + by, list(twin.parameters()))
    return twin


CHOICES = {
    "all": lambda model: list(model.parameters()),
    "some, in another order": lambda model: [model[3].weight, model[2].bias, model[0].weight],
}


@each(OPTIMIZERS)
@pytest.mark.parametrize("chosen", CHOICES.values(), ids=CHOICES)
def test_a_closure_and_a_landscape_make_the_same_steps(method, chosen):
    model, twin = plain(), plain()
    for net in (model, twin):
        net[3].bias.requires_grad_(chosen is CHOICES["all"])
    options = {"m": M} if method is MSAM else {}
    opt, other = (
        method(SGD(chosen(net), lr=LR, momentum=0.9, weight_decay=0.01), **options | {"rho": RHO}) for net in (model, twin)
    )
    for step in range(2):
        loss = opt.step(closure_of(model, opt), *batch(step))
        found = other.step(Landscape.of(twin, cross_entropy, batch(step)))
        if not method.method.draws:  # which has no pass at the weights to tell their loss
            torch.testing.assert_close(loss, found, rtol=0, atol=1e-12)
    torch.testing.assert_close(flat(model), flat(twin), rtol=0, atol=1e-9)
    assert not torch.equal(flat(model), flat(plain()))


def m_sam_by_hand(model, x, y, m):
    """One after the other: each micro-batch climbs on a copy; the statistics move with the unperturbed passes."""
    found = []
    for a, b in zip(x.split(m), y.split(m), strict=True):
        g = gradient(model, a, b)
        found.append(gradient(shifted(model, RHO * g / g.norm()), a, b))
    return torch.stack(found).mean(0)


def sam_gcm_by_hand(model, x, y, damping=0.01):
    g = gradient(model, x, y)
    still = copy.deepcopy(model).eval()
    gs = torch.stack([gradient(still, x[i : i + 1], y[i : i + 1]) for i in range(len(x))])
    c = torch.cov(gs.T, correction=0)
    inverse = torch.linalg.inv(c + damping * c.diagonal().mean() * torch.eye(len(c), dtype=DOUBLE))
    return gradient(shifted(model, RHO * inverse @ g / (g @ inverse @ g).sqrt()), x, y)


@every_cutting_method
def test_with_batch_norm_in_train_mode_weights_and_statistics_agree_with_a_loop_over_copies(method):
    model, twin = normed(), normed()
    train(model, make(method, model), range(4))
    momentum = 0.0
    for step in range(4):
        x, y = batch(step)
        direction = m_sam_by_hand(twin, x, y, M) if method is MSAM else sam_gcm_by_hand(twin, x, y)
        momentum = 0.9 * momentum + direction + 0.01 * flat(twin)
        nn.utils.vector_to_parameters(flat(twin) - LR * momentum, list(twin.parameters()))
    torch.testing.assert_close(flat(model), flat(twin), rtol=0, atol=1e-8)
    same(statistics(model), statistics(twin), atol=1e-10)
    assert model[2].num_batches_tracked == 4 * (2 if method is MSAM else 1)
    assert all(module.training for module in model.modules())


def test_msam_over_the_whole_batch_is_sam_to_the_bit_with_statistics_and_generator():
    model, twin = normed(p=0.3), normed(p=0.3)
    opt, other = make(MSAM, model, m=8), make(SAM, twin)
    torch.manual_seed(1)
    mine = train(model, opt, range(4)), torch.get_rng_state()
    torch.manual_seed(1)
    theirs = train(twin, other, range(4)), torch.get_rng_state()
    assert mine[0] == theirs[0] and torch.equal(mine[1], theirs[1])
    assert torch.equal(flat(model), flat(twin))
    same(statistics(model), statistics(twin))


def test_every_method_hands_data_on_to_its_closure():
    model, twin = normed(), normed()
    opt, other = make(SAM, model), make(SAM, twin)
    train(model, opt, range(2))
    for step in range(2):
        closure = closure_of(twin, other)
        other.step(lambda closure=closure, step=step: closure(*batch(step)))
    assert torch.equal(flat(model), flat(twin))


@every_cutting_method
def test_dropout_draws_one_mask_for_both_passes_and_another_for_each_micro_batch(method):
    model = normed(p=0.5)
    opt, masks = make(method, model), []
    model[5].register_forward_hook(lambda module, given, out: masks.append((module.training, out == 0, given[0] == 0)))
    torch.manual_seed(3)
    opt.step(closure_of(model, opt), *batch())
    after = torch.get_rng_state()
    dropped = [out & ~given for training, out, given in masks if training]  # what was not zero before
    either = [given | masks[i + 1][2] for i, (_, _, given) in enumerate(masks[:-1])]
    if method is MSAM:
        # ReLU's zeros differ between the passes: compare where neither has one.
        assert len(dropped) == len(masks) == 4
        for i in (0, 2):
            assert torch.equal(dropped[i] & ~either[i], dropped[i + 1] & ~either[i]) and dropped[i].any()
        assert not torch.equal(masks[0][1], masks[2][1])
    else:
        assert len(masks) == 10 and [training for training, *_ in masks] == [True] + [False] * 8 + [True]
        zeros = masks[0][2] | masks[-1][2]
        assert torch.equal(masks[0][1] & ~zeros, masks[-1][1] & ~zeros) and dropped[0].any()
    twin = normed(p=0.5)
    torch.manual_seed(3)
    for x in batch()[0].split(M if method is MSAM else 8):
        twin(x)
    assert torch.equal(after, torch.get_rng_state())


PASSES = [(MSAM, k) for k in (1, 2, 3, 4)] + [(SAMGCM, k) for k in (1, 2, 9, 10)]


@pytest.mark.parametrize(("method", "bad"), PASSES)
def test_a_raise_in_any_pass_gives_back_weights_statistics_modes_and_state(method, bad):
    model = normed(p=0.2)
    opt = make(method, model)
    train(model, opt, range(2))
    twin, twin_opt = copy.deepcopy((model, opt))
    before, moved, momentum = flat(model), statistics(model), copy.deepcopy(opt.state_dict())

    def interrupt(count):
        if count == bad:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opt.step(closure_of(model, opt, spoil=interrupt), *batch(2))
    assert torch.equal(before, flat(model)) and all(module.training for module in model.modules())
    same(moved, statistics(model))
    for i, state in momentum["state"].items():
        assert torch.equal(state["momentum_buffer"], opt.state_dict()["state"][i]["momentum_buffer"])
    torch.manual_seed(0)
    train(model, opt, range(2, 4))
    torch.manual_seed(0)
    train(twin, twin_opt, range(2, 4))
    assert torch.equal(flat(model), flat(twin))


@pytest.mark.parametrize(("method", "bad"), PASSES)
def test_an_infinity_in_any_pass_raises_or_lets_the_scaler_skip_the_step(method, bad):
    model = normed()
    opt, scaler = make(method, model), torch.amp.GradScaler("cpu", init_scale=8.0)
    spoil = {"spoil": lambda count: math.inf if count == bad else None}
    opt.step(closure_of(model, opt, scaler), *batch(0), scaler=scaler)
    scaler.update()
    before = flat(model)
    opt.step(closure_of(model, opt, scaler, **spoil), *batch(1), scaler=scaler)
    scaler.update()
    assert torch.equal(before, flat(model)) and scaler.get_scale() == 4.0
    opt.step(closure_of(model, opt, scaler), *batch(2), scaler=scaler)
    assert not torch.equal(before, flat(model)) and torch.isfinite(flat(model)).all()
    before = flat(model)
    with pytest.raises(FloatingPointError, match=rf"{method.__name__}: the loss or gradient of pass {bad} of "):
        opt.step(closure_of(model, opt, **spoil), *batch(3))
    assert torch.equal(before, flat(model))


@every_cutting_method
def test_a_scale_that_is_a_power_of_two_changes_no_bit(method):
    model, twin = normed(), normed()
    train(model, make(method, model), range(3))
    opt, scaler = make(method, twin), torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for step in range(3):
        opt.step(closure_of(twin, opt, scaler), *batch(step), scaler=scaler)
        scaler.update()
    torch.testing.assert_close(flat(model), flat(twin), rtol=0, atol=1e-13)


@every_cutting_method
def test_it_trains_under_bfloat16_autocast(method):
    model = normed().float()
    opt, losses = make(method, model), []
    opt.param_groups[0]["rho"] = 0.02

    def closure(x, y):
        opt.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = cross_entropy(model(x.float()), y)
        loss.backward()
        return loss

    for _ in range(25):
        losses.append(float(opt.step(closure, *batch())))
    assert losses[-1] < 0.5 * losses[0]


def test_m_of_one_is_refused_where_batch_norm_would_normalize_a_sample_by_itself():
    model = normed()
    opt = make(MSAM, model, m=1)
    before, moved = flat(model), statistics(model)
    with pytest.raises(ValueError, match="MSAM needs m >= 2 where BatchNorm is in train mode, got m=1 and a BatchNorm1d"):
        train(model, opt, range(1))
    same(moved, statistics(model))
    assert torch.equal(before, flat(model))
    model.eval()
    train(model, opt, range(2))
    same(moved, statistics(model))
    model.train()
    with pytest.raises(ValueError, match="MSAM needs m >= 2"):
        train(model, opt, range(1))
    same(moved, statistics(model))


def test_samgcm_refuses_batch_norm_without_running_statistics():
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 3)).double()
    with pytest.raises(ValueError, match="track_running_stats=False: use CSAM"):
        train(model, make(SAMGCM, model), range(1))
    assert all(module.training for module in model.modules())


@every_cutting_method
def test_frozen_parameters_stay_and_unused_ones_get_no_gradient(method):
    model = normed()
    unused = nn.Parameter(torch.ones(2, dtype=DOUBLE))
    model[2].bias.requires_grad_(False)
    base = SGD([*model.parameters(), unused], lr=LR, weight_decay=0.1)
    opt = method(base, rho=RHO, **({"m": M} if method is MSAM else {}))
    frozen = model[2].bias.clone()
    train(model, opt, range(2))
    assert torch.equal(model[2].bias, frozen) and model[2].bias.grad is None
    assert unused.grad is None and unused.tolist() == [1.0, 1.0]


@every_cutting_method
def test_a_resumed_run_ends_in_the_same_bits(method):
    whole, half, resumed = normed(0), normed(0), normed(7)
    train(whole, make(method, whole), range(5))
    opt, file = make(method, half), io.BytesIO()
    train(half, opt, range(2))
    torch.save([half.state_dict(), opt.state_dict()], file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = make(method, resumed)
    resumed.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    train(resumed, again, range(2, 5))
    assert torch.equal(flat(whole), flat(resumed))
    same(statistics(whole), statistics(resumed))


@every_cutting_method
def test_a_batch_that_is_no_tensor_is_cut_by_its_indices(method):
    model, twin = normed(), normed()
    x, y = batch()
    data = {"x": x, "y": y}
    opt, other = make(method, model), make(method, twin)
    inner = closure_of(model, opt)
    opt.step(lambda part: inner(data["x"][part], data["y"][part]), torch.arange(8))
    other.step(closure_of(twin, other), x, y)
    assert torch.equal(flat(model), flat(twin))


def test_samgcm_counts_its_calls_and_hooks_of_the_user_stay():
    model = normed()
    opt, steps = make(SAMGCM, model), []
    opt.base.register_step_pre_hook(lambda *_: steps.append(1))
    closure = closure_of(model, opt)
    opt.step(closure, *batch())
    assert closure.passes == [8, *[1] * 8, 8] and steps == [1]


@pytest.mark.slow
def test_a_compiled_model_makes_the_same_steps():
    for method in (MSAM, SAMGCM):
        model, twin = normed(), normed()
        compiled = torch.compile(twin, backend="eager")
        opt, other = make(method, model), make(method, twin)
        train(model, opt, range(2))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for step in range(2):
                other.step(closure_of(compiled, other), *batch(step))
        torch.testing.assert_close(flat(model), flat(twin), rtol=0, atol=1e-12)
        same(statistics(model), statistics(twin), atol=1e-12)
    compiled = torch.compile(normed(), backend="eager")
    with warnings.catch_warnings(), pytest.raises(ValueError, match="MSAM needs m >= 2"):
        warnings.simplefilter("ignore")
        train(compiled, make(MSAM, compiled, m=1), range(1))


@every_cutting_method
def test_what_cannot_be_cut_is_named(method):
    model = normed()
    opt, name = make(method, model), method.__name__
    closure, (x, y) = closure_of(model, opt), batch()
    with pytest.raises(TypeError, match=rf"{name}.step cuts tensors of shape \(n, ...\), got list"):
        opt.step(closure, x, y.tolist())
    with pytest.raises(TypeError, match=r"got a tensor of shape \(\)"):
        opt.step(closure, x, torch.tensor(1.0))
    with pytest.raises(ValueError, match=r"data of one length, at least 1, got \[8, 7\]"):
        opt.step(closure, x, y[:7])
    with pytest.raises(ValueError, match=r"got \[0, 0\]"):
        opt.step(closure, x[:0], y[:0])
    landscape = Landscape.of(normed().eval(), cross_entropy, (x, y))
    with pytest.raises(ValueError, match="a landscape has data of its own"):
        opt.step(landscape, x)
    with pytest.raises(ValueError, match="a landscape has no scaled loss"):
        opt.step(landscape, scaler=torch.amp.GradScaler("cpu"))
    assert not closure.passes
    with pytest.raises(
        ValueError, match="divides the 7 samples, got 4" if method is MSAM else "at least 2 gradients, got 1"
    ):
        opt.step(closure, *batch(n=7 if method is MSAM else 1))


def test_a_compiled_training_step_is_the_plain_one():
    x, y = batch(0)
    results = []
    for compiled in (False, True):
        model = normed()
        opt = make(SAM, model)
        step = lambda opt=opt, model=model: opt.step(closure_of(model, opt), x, y)  # noqa: E731
        step = torch.compile(step, backend="eager") if compiled else step
        for _ in range(3):
            step()
        results.append(model)
    for a, b in zip(*(model.state_dict().values() for model in results), strict=True):
        assert torch.equal(a, b)
