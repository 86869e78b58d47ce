"""What torch expects of an optimizer: schedulers, checkpoints, groups, hooks, copies."""

import copy
import io
import pickle
import subprocess
import sys

import pytest
import torch
from methods_under_test import closure_of, every_method
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW, lr_scheduler

from flatlab.methods import Method, Option
from flatlab.optim import ASAM, LSAM, SAM, RuleOptimizer


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


def closure_at(model, opt, step=0):
    g = torch.Generator().manual_seed(step)
    return closure_of(model, opt, torch.randn(16, 6, generator=g), torch.randint(0, 3, (16,), generator=g))


def train(model, opt, steps, schedule=None):
    for step in steps:
        opt.step(closure_at(model, opt, step))
        if schedule is not None:
            schedule.step()


def assert_same_weights(model, other):
    for (name, a), (_, b) in zip(model.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


BASES = {
    "SGD": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "AdamW": lambda p: AdamW(p, lr=0.01),
}
every_base = pytest.mark.parametrize("base", BASES.values(), ids=BASES.keys())


@every_base
@every_method
def test_it_is_an_optimizer_that_shares_groups_state_and_defaults_with_its_base(method, base):
    model = network()
    inner = base(model.parameters())
    opt = method(inner)
    train(model, opt, range(2))
    assert isinstance(opt, torch.optim.Optimizer) and opt.base is inner
    assert opt.param_groups is inner.param_groups and opt.state is inner.state and opt.defaults is inner.defaults
    assert len(opt.state) == len(list(model.parameters()))
    opt.load_state_dict(opt.state_dict())
    assert opt.param_groups is inner.param_groups and opt.state is inner.state
    assert all("rho" in group for group in inner.param_groups)


@every_base
@every_method
def test_a_resumed_run_ends_in_the_same_bits_as_one_that_was_not_interrupted(method, base):
    def start(seed, rho=0.2):
        model = network(seed)
        opt = method(base(model.parameters()), rho=rho)
        return model, opt, lr_scheduler.CosineAnnealingLR(opt, T_max=12)

    whole = start(0)
    train(whole[0], whole[1], range(12), whole[2])

    half = start(0)
    train(half[0], half[1], range(5), half[2])
    file = io.BytesIO()
    torch.save([part.state_dict() for part in half], file)
    file.seek(0)

    resumed = start(7, rho=0.9)  # all of it to be overwritten
    for part, state in zip(resumed, torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    train(resumed[0], resumed[1], range(5, 12), resumed[2])
    assert_same_weights(whole[0], resumed[0])


@pytest.mark.slow
def test_a_run_resumed_in_a_new_process_ends_in_the_same_bits(tmp_path):
    script = f"""
import sys, torch
sys.path.insert(0, {str(__file__.rsplit("/", 1)[0])!r})
from test_optim_citizen import network, train, SGD, SAM
model = network(3)
opt = SAM(SGD(model.parameters(), lr=0.1, momentum=0.9), rho=0.7)
state = torch.load({str(tmp_path / "half.pt")!r}, weights_only=True)
model.load_state_dict(state["model"]); opt.load_state_dict(state["opt"])
train(model, opt, range(3, 6))
torch.save(model.state_dict(), {str(tmp_path / "end.pt")!r})
"""
    model = network()
    opt = SAM(SGD(model.parameters(), lr=0.1, momentum=0.9), rho=0.2)
    train(model, opt, range(3))
    torch.save({"model": model.state_dict(), "opt": opt.state_dict()}, tmp_path / "half.pt")
    subprocess.run([sys.executable, "-c", script], check=True)
    train(model, opt, range(3, 6))
    resumed = network(1)
    resumed.load_state_dict(torch.load(tmp_path / "end.pt", weights_only=True))
    assert_same_weights(model, resumed)


def test_rho_and_its_like_are_saved_for_each_group_and_override_those_of_the_new_object():
    def make(rho, eta, scale_1d):
        layers = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
        groups = [{"params": layers[0].parameters()}, {"params": layers[1].parameters(), "rho": rho * 2}]
        return ASAM(SGD(groups, lr=0.1), rho=rho, eta=eta, scale_1d=scale_1d)

    opt = make(0.9, 0.0, True)
    opt.load_state_dict(make(0.1, 0.5, False).state_dict())
    assert [(g["rho"], g["eta"], g["scale_1d"]) for g in opt.param_groups] == [(0.1, 0.5, False), (0.2, 0.5, False)]


@every_method
def test_a_checkpoint_of_the_bare_base_optimizer_loads_and_takes_rho_from_here(method):
    model = network()
    bare = SGD(model.parameters(), lr=0.1, momentum=0.9)
    closure_at(model, bare)()
    bare.step()
    for through_base in (False, True):
        opt = method(SGD(model.parameters(), lr=0.5, momentum=0.9), rho=0.3)
        (opt.base if through_base else opt).load_state_dict(bare.state_dict())
        assert through_base or opt.param_groups[0]["rho"] == 0.3
        train(model, opt, range(1))
        assert opt.param_groups[0]["rho"] == 0.3 and opt.param_groups[0]["lr"] == 0.1
        assert len(opt.state) == len(bare.state)


@pytest.mark.parametrize("through_base", [False, True])
def test_a_bare_checkpoint_leaves_each_group_its_own_rho(through_base):
    """As with SAM on the norm layers alone, where the other groups stand still."""
    layers = [torch.nn.Linear(2, 2) for _ in range(3)]

    def closure():
        opt.zero_grad()
        loss = sum((p**2).sum() for layer in layers for p in layer.parameters())
        loss.backward()
        return loss

    groups = [{"params": layer.parameters()} for layer in layers]
    opt = SAM(SGD([groups[0] | {"rho": 0.0}, *groups[1:]], lr=0.1), rho=0.5)
    opt.param_groups[1]["rho"] = 0.2
    opt.step(closure)
    bare = SGD([{"params": layer.parameters()} for layer in layers], lr=0.1).state_dict()
    (opt.base if through_base else opt).load_state_dict(bare)
    opt.step(closure)
    assert [group["rho"] for group in opt.param_groups] == [0.0, 0.2, 0.5]


@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: lr_scheduler.StepLR(o, 1, gamma=0.5),
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=5),
        lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.2, total_steps=5),
        lambda o: lr_scheduler.CyclicLR(o, base_lr=0.01, max_lr=0.2, step_size_up=2),
        lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o, total_iters=2), lr_scheduler.ExponentialLR(o, 0.9)], [2]
        ),
    ],
    ids=["StepLR", "Cosine", "OneCycle", "Cyclic", "Lambda", "Sequential"],
)
@pytest.mark.filterwarnings("error")
@pytest.mark.filterwarnings("default:The epoch parameter")  # torch 2.5 says so of its own SequentialLR
def test_every_scheduler_sets_the_same_rates_on_it_as_on_its_base(schedule):
    rates = []
    for wrapped in (False, True):
        model = network()
        base = SGD(model.parameters(), lr=0.1, momentum=0.9)
        opt = SAM(base) if wrapped else base
        plan = schedule(opt)
        seen = []
        for step in range(4):
            opt.step(closure_at(model, opt, step))
            plan.step()
            seen.append((base.param_groups[0]["lr"], base.param_groups[0]["momentum"]))
        rates.append(seen)
    assert rates[0] == rates[1] and len(set(rates[0])) > 1


def test_reduce_on_plateau_takes_it():
    model = network()
    opt = SAM(SGD(model.parameters(), lr=0.1))
    plan = lr_scheduler.ReduceLROnPlateau(opt, patience=0)
    for _ in range(3):
        plan.step(1.0)
    assert opt.base.param_groups[0]["lr"] < 0.1


def test_rho_can_be_scheduled_step_by_step():
    w = torch.tensor([2.0], requires_grad=True)
    opt = SAM(SGD([w], lr=0.0), rho=0.5)
    seen = []

    def closure():
        seen.append(w.item())
        opt.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    for rho in (0.5, 0.25, torch.tensor(0.125)):
        opt.param_groups[0]["rho"] = rho
        opt.step(closure)
    assert seen == [2.0, 2.5, 2.0, 2.25, 2.0, 2.125]


def test_a_single_rho_reaches_the_rule_as_it_is_and_differing_ones_as_a_vector():
    seen = []

    class Spied(Method):
        rho = Option(0.05, "what is spied on", least=0)

        @staticmethod
        def rule(w, grad, rho):
            seen.append(rho)
            return grad(w)

    class Spy(RuleOptimizer):
        method = Spied

    a, b = torch.nn.Linear(2, 1), torch.nn.Linear(1, 1)
    opt = Spy(SGD([{"params": a.parameters()}, {"params": b.parameters()}, {"params": [], "rho": 9.0}], lr=0.1))

    def closure():
        loss = b(a(torch.ones(1, 2))).sum()
        loss.backward()
        return loss

    opt.step(closure)
    del seen[:-1]  # before its first step a rule is tried on two numbers
    opt.param_groups[1]["rho"] = 0.25
    opt.step(closure)
    assert seen[0] == 0.05 and isinstance(seen[0], float)
    shared = torch.tensor(0.5)
    for rho, other in ((shared, shared), (shared, 0.5), (0.5, torch.tensor(0.75))):
        opt.param_groups[0]["rho"], opt.param_groups[1]["rho"] = rho, other
        opt.step(closure)
    torch.testing.assert_close(seen[1], torch.tensor([0.05] * 3 + [0.25] * 2))
    assert seen[2] is shared
    torch.testing.assert_close(seen[3], torch.full((5,), 0.5))
    torch.testing.assert_close(seen[4], torch.tensor([0.5] * 3 + [0.75] * 2))


@every_method
def test_a_group_added_later_is_trained_with_its_own_rho(method):
    model = network()
    first, last = model[0], model[3]
    opt = method(SGD(first.parameters(), lr=0.1, momentum=0.9), rho=0.2)
    opt.add_param_group({"params": last.parameters(), "rho": 0.4, "lr": 0.01})
    opt.add_param_group({"params": model[1].parameters()})
    assert [(g["rho"], g["lr"]) for g in opt.base.param_groups] == [(0.2, 0.1), (0.4, 0.01), (0.2, 0.1)]
    before = last.weight.detach().clone()
    train(model, opt, range(2))
    assert not torch.equal(before, last.weight) and len(opt.state) == 6


def test_step_hooks_on_it_run_once_a_step_and_hooks_on_the_base_see_the_direction():
    w = torch.tensor([2.0], requires_grad=True)
    opt = SAM(SGD([w], lr=0.1), rho=0.5)
    log = []
    opt.register_step_pre_hook(lambda *_: log.append("before"))
    opt.register_step_post_hook(lambda *_: log.append("after"))
    opt.base.register_step_pre_hook(lambda *_: log.append(w.grad.item()))

    def closure():
        opt.zero_grad()
        loss = 1.5 * (w * w).sum()
        loss.backward()
        return loss

    opt.step(closure)
    assert log == ["before", 7.5, "after"]


@every_method
def test_clipping_in_a_hook_of_the_base_bounds_the_direction(method):
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    opt = method(SGD([w], lr=1.0), rho=0.5)

    @opt.base.register_step_pre_hook
    def clip(*_):
        torch.nn.utils.clip_grad_norm_([w], 0.1)

    def closure():
        opt.zero_grad()
        loss = 0.5 * (w * w).sum()
        loss.backward()
        return loss

    opt.step(closure)
    moved = torch.tensor([3.0, 4.0]) - w.detach()
    assert moved.norm().item() == pytest.approx(0.1, rel=1e-5)
    if method is not LSAM:  # its direction leans a little to the side
        torch.testing.assert_close(moved, torch.tensor([0.06, 0.08]), rtol=1e-4, atol=1e-6)


def test_hooks_on_saving_and_loading_run():
    model = network()
    opt = SAM(SGD(model.parameters(), lr=0.1))
    log = []
    opt.register_state_dict_post_hook(lambda *_: log.append("saved"))
    opt.register_load_state_dict_post_hook(lambda *_: log.append("loaded"))
    opt.load_state_dict(opt.state_dict())
    assert log == ["saved", "loaded"]


def test_zero_grad_clears_and_can_keep_zeros():
    model = network()
    opt = SAM(SGD(model.parameters(), lr=0.1))
    closure_at(model, opt)()
    opt.zero_grad(set_to_none=False)
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in model.parameters())
    opt.zero_grad()
    assert all(p.grad is None for p in model.parameters())


@every_method
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_trains_on_alone_and_to_the_same_bits(method, duplicate):
    model = network()
    opt = method(SGD(model.parameters(), lr=0.1, momentum=0.9), rho=0.2)
    lr_scheduler.StepLR(opt, 100)  # patches opt.step, which must not travel
    train(model, opt, range(2))
    twin, twin_opt = duplicate((model, opt))
    assert_same_weights(model, twin)
    train(model, opt, range(2, 5))
    assert twin_opt.param_groups[0]["params"][0] is twin[0].weight
    train(twin, twin_opt, range(2, 5))
    assert_same_weights(model, twin)
    assert twin_opt.register_step_post_hook(lambda *_: None)


def test_its_repr_names_the_method_and_the_options():
    text = repr(SAM(SGD(network().parameters(), lr=0.1), rho=0.25))
    assert text.startswith("SAM (") and "rho: 0.25" in text and "lr: 0.1" in text


def test_one_class_is_patched_once_however_many_objects_it_has():
    model = network()
    log = []
    opts = [SAM(SGD(model.parameters(), lr=0.1)) for _ in range(3)]
    opts[-1].register_step_post_hook(lambda *_: log.append(1))
    train(model, opts[-1], range(1))
    assert log == [1]


def test_loading_keeps_the_step_count_of_adam():
    model = network()
    opt = SAM(AdamW(model.parameters(), lr=0.01))
    train(model, opt, range(3))
    other = network(1)
    fresh = SAM(AdamW(other.parameters(), lr=0.5))
    fresh.load_state_dict(opt.state_dict())
    assert {float(s["step"]) for s in fresh.state.values()} == {3.0}


@every_method
@pytest.mark.parametrize("scaled", [False, True])
def test_to_maximize_is_to_minimize_the_negative(method, scaled):
    ends = []
    for maximize in (False, True):
        model = network()
        rest = [*model[1].parameters(), *model[3].parameters()]
        groups = [{"params": model[0].parameters(), "rho": 0.3}, {"params": rest}]
        opt = method(SGD(groups, lr=0.1, momentum=0.9, maximize=maximize), rho=0.2)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0, enabled=scaled)
        for step in range(3):
            g = torch.Generator().manual_seed(step)
            x, y = torch.randn(16, 6, generator=g), torch.randint(0, 3, (16,), generator=g)

            def closure(x=x, y=y, model=model, opt=opt, scaler=scaler, sign=-1 if maximize else 1):
                opt.zero_grad()
                loss = sign * cross_entropy(model(x), y)
                scaler.scale(loss).backward()
                return loss

            opt.step(closure, scaler=scaler)
            scaler.update()
        ends.append(model)
    assert_same_weights(*ends)


def test_a_group_that_is_maximized_climbs_down_and_one_that_is_minimized_up():
    a, b = torch.tensor([3.0], requires_grad=True), torch.tensor([4.0], requires_grad=True)
    opt = SAM(SGD([{"params": [a], "maximize": True}, {"params": [b]}], lr=0.1), rho=0.5)
    seen = []

    def closure():
        seen.append((a.item(), b.item()))
        opt.zero_grad()
        loss = 0.5 * (a * a + b * b).sum()
        loss.backward()
        return loss

    opt.step(closure)
    assert seen[1] == pytest.approx((3 - 0.5 * 0.6, 4 + 0.5 * 0.8), rel=1e-6)
    assert (a.item(), b.item()) == pytest.approx((3 + 0.1 * 2.7, 4 - 0.1 * 4.4), rel=1e-6)


@every_method
def test_what_torch_makes_by_default_has_no_say(method):
    """A default type, and a default device, on which a generator of the processor cannot draw."""
    models = []
    for device in ("cpu", "meta"):
        model = network()
        opt = method(SGD(model.parameters(), lr=0.1))
        closures = [closure_at(model, opt, step) for step in range(2)]
        torch.set_default_dtype(torch.float32 if device == "cpu" else torch.float64)
        try:
            with torch.device(device):
                for closure in closures:
                    opt.step(closure)
        finally:
            torch.set_default_dtype(torch.float32)
        models.append(model)
    assert_same_weights(*models)
