"""torch.distributed.checkpoint on the wrapper: fresh or stepped, nested or flat, with what CSAM and LSAM remember."""

import collections
import copy

import pytest
import torch
from methods_under_test import OPTIMIZERS, each
from torch import nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint import state_dict as dcp
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, AdamW

from flatlab.optim import CSAM, LSAM, SAM

BASES = {"AdamW": lambda p: AdamW(p, lr=0.01), "SGD": lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1)}
every_base = pytest.mark.parametrize("base", BASES.values(), ids=BASES)


def start(method, base, weights=0, **options):
    torch.manual_seed(weights)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    groups = [{"params": model[0].parameters(), "rho": 0.3}, {"params": [*model[1].parameters(), *model[3].parameters()]}]
    more = {"m": 8} if "m" in method.method.options else {}
    return model, method(base(groups), **more, **options)


def step(model, opt, number):
    g = torch.Generator().manual_seed(number)

    def closure(x, y):
        opt.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        return loss

    return opt.step(closure, torch.randn(16, 6, generator=g), torch.randint(0, 3, (16,), generator=g))


def assert_goes_on_alike(first, second):
    for number in range(10, 13):
        assert torch.equal(step(*first, number), step(*second, number))
    for (name, a), (_, b) in zip(first[0].state_dict().items(), second[0].state_dict().items(), strict=True):
        assert torch.equal(a, b), name


@every_base
@each(OPTIMIZERS, quick=[CSAM, LSAM])
@pytest.mark.parametrize("flat", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["nested", "flat"])
@pytest.mark.parametrize(
    "stepped", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["into a fresh one", "into a stepped one"]
)
def test_a_run_goes_on_to_the_bit_from_a_distributed_checkpoint(tmp_path, method, base, flat, stepped):
    whole = start(method, base)
    for number in range(3):
        step(*whole, number)
    options = dcp.StateDictOptions(flatten_optimizer_state_dict=flat)
    model_state, opt_state = dcp.get_state_dict(*whole, options=options)
    checkpoint.save({"model": model_state, "opt": opt_state}, checkpoint_id=tmp_path)

    resumed = start(method, base, weights=7, rho=0.9, **({"seed": 5} if method is LSAM else {}))  # all to be overwritten
    if stepped:
        step(*resumed, 20)
    model_state, opt_state = dcp.get_state_dict(*resumed, options=options)
    state = {"model": model_state, "opt": opt_state}
    checkpoint.load(state, checkpoint_id=tmp_path)
    dcp.set_state_dict(*resumed, model_state_dict=state["model"], optim_state_dict=state["opt"], options=options)
    assert_goes_on_alike(whole, resumed)


@every_base
@each(OPTIMIZERS, quick=[CSAM, LSAM])
def test_to_ask_a_fresh_optimizer_for_its_state_moves_no_weight_and_makes_what_the_base_makes(method, base):
    model, opt = start(method, base)
    before = [p.detach().clone() for p in model.parameters()]
    dcp.get_optimizer_state_dict(model, opt)
    bare_model, wrapped = start(method, base)
    dcp.get_optimizer_state_dict(bare_model, wrapped.base)
    for p, q, w in zip(model.parameters(), bare_model.parameters(), before, strict=True):
        assert torch.equal(p, w) and p.grad is None
        assert all(torch.equal(opt.state[p][k], v) for k, v in wrapped.state[q].items())
    assert not any(entry.get("rule_mean", torch.zeros(())).any() for entry in opt.state.values())
    assert all(group.get("rule_steps", 0) == 0 for group in opt.param_groups)


@pytest.mark.parametrize("kind", [CSAM, SAM], ids=["CSAM", "SAM"])
def test_only_that_very_request_passes_without_a_closure(kind):
    model, opt = start(kind, BASES["SGD"])
    for group in opt.param_groups:
        group["lr"] = 0.0  # as a warm-up begins
    with pytest.raises(TypeError, match="needs a closure"):
        opt.step()
    model(torch.randn(4, 6)).sum().backward()
    with pytest.raises(TypeError, match="needs a closure"):
        opt.step()


def test_what_csam_remembers_keeps_its_own_precision_in_half_precision_weights():
    w = torch.tensor([2.0, 1.0, 3.0], dtype=torch.bfloat16, requires_grad=True)
    opt = CSAM(SGD([w], lr=0.1, momentum=0.9))

    def closure():
        opt.zero_grad()
        loss = (w.float() ** 4).sum()
        loss.backward()
        return loss

    opt.step(closure)
    mean = opt.state[w]["rule_mean"].clone()
    assert mean.dtype == torch.float32 and not torch.equal(mean, mean.bfloat16().float())
    opt.load_state_dict(opt.state_dict())
    assert torch.equal(opt.state[w]["rule_mean"], mean)


def test_checkpoints_as_they_were_saved_before_load_with_average_seed_and_draws():
    model, opt = start(CSAM, BASES["SGD"])
    step(model, opt, 0)
    saved = copy.deepcopy(opt.state_dict())
    mean = {i: s.pop("rule_mean") for i, s in saved["state"].items()}
    other, fresh = start(CSAM, BASES["SGD"], weights=3)
    fresh.load_state_dict(saved | {"rule": {"mean": mean}})
    other.load_state_dict(model.state_dict())
    assert_goes_on_alike((model, opt), (other, fresh))

    model, opt = start(LSAM, BASES["SGD"], seed=4)
    step(model, opt, 0)
    saved = copy.deepcopy(opt.state_dict())
    for group in saved["param_groups"]:
        assert (group.pop("rule_seed"), group.pop("rule_steps")) == (4, 1)
    other, fresh = start(LSAM, BASES["SGD"], weights=3)
    fresh.load_state_dict(saved | {"rule": {"seed": 4, "steps": 1}})
    other.load_state_dict(model.state_dict())
    assert fresh.seed == 4
    assert_goes_on_alike((model, opt), (other, fresh))


def test_what_one_method_remembers_does_not_stay_with_another_that_loads_it():
    for method in (CSAM, LSAM):
        model, opt = start(method, BASES["AdamW"])
        step(model, opt, 0)
        _, sam = start(SAM, BASES["AdamW"])
        sam.load_state_dict(opt.state_dict())
        entries = [*sam.param_groups, *sam.state.values()]
        assert not any(key.startswith("rule_") for entry in entries for key in entry)


@pytest.mark.parametrize("spoiled", [True, False])
def test_a_first_step_that_the_scaler_skips_leaves_the_base_without_state_and_the_next_one_makes_it(spoiled):
    """Adam takes any entry for a sign that its own are there."""
    w = torch.ones(3, requires_grad=True)
    opt, scaler = CSAM(Adam([w], lr=0.1)), torch.amp.GradScaler("cpu", init_scale=4.0)
    bad = [spoiled]

    def closure():
        opt.zero_grad()
        loss = (w**4).sum()
        scaler.scale(loss).backward()
        if bad[0]:
            w.grad[0] = torch.inf
        return loss

    opt.step(closure, scaler=scaler)
    scaler.update()
    assert (not opt.state.get(w)) == spoiled
    bad[0] = False
    opt.step(closure, scaler=scaler)
    assert opt.state[w]["rule_mean"].any() and opt.state[w]["step"] == (1 if spoiled else 2)


def test_state_and_groups_can_be_set_as_those_of_any_optimizer():
    model, opt = start(SAM, BASES["SGD"])
    step(model, opt, 0)
    opt.state = collections.defaultdict(dict)
    assert opt.base.state is opt.state and not opt.state
    opt.param_groups = [{**opt.param_groups[0], "params": list(model.parameters()), "lr": 0.5}]
    assert opt.base.param_groups is opt.param_groups and len(opt.param_groups) == 1
    step(model, opt, 1)
    assert len(opt.state) == 6
