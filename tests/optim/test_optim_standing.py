"""Groups with rho = 0 stand still in the ascent, and the others climb as if they were alone (SAM-ON: norm layers only)."""

import pytest
import torch
from methods_under_test import OPTIMIZERS, each
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from flatlab import rules
from flatlab.methods.lsam import ball
from flatlab.optim import LSAM, SAM, SAMGCM, USAM

NORMALIZED = [opt for opt in OPTIMIZERS if opt not in (USAM, LSAM, SAMGCM)]


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).double()


def batch():
    g = torch.Generator().manual_seed(1)
    return torch.randn(12, 6, generator=g, dtype=torch.float64), torch.randint(0, 3, (12,), generator=g)


def climbs(method, rho=0.5, **options):
    """Where the passes of a step stand, less where it starts: of the norm layer's weights, and of the others."""
    model = network()
    norms = list(model[1].parameters())
    others = [*model[0].parameters(), *model[3].parameters()]
    groups = [{"params": norms}, {"params": others, "rho": 0.0} | ({"rho_cov": 0.0} if "rho_cov" in options else {})]
    more = {"m": 12} if "m" in method.method.options else {}
    opt = method(SGD(groups, lr=0.1), rho=rho, **more, **options)
    seen = []

    def closure(x, y):
        seen.append([torch.cat([p.detach().ravel() for p in params]) for params in (norms, others)])
        opt.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        return loss

    start = [torch.cat([p.detach().ravel() for p in params]) for params in (norms, others)]
    opt.step(closure, *batch())
    return [[now - then for now, then in zip(at, start, strict=True)] for at in seen]


@each(NORMALIZED)
def test_the_others_climb_by_the_whole_of_rho(method):
    options = {"scale_1d": True, "eta": 0.0} if "eta" in method.method.options else {}
    options |= {"rho_cov": 0.25} if "rho_cov" in method.method.options else {}
    first, *later = climbs(method, **options)[1:]
    assert first[1].abs().sum() == 0
    if "eta" in options:  # the norm layer's weights are 1, its biases 0: the ball is that of the weights
        assert first[0][:8].norm().item() == pytest.approx(0.5, rel=1e-9) and not first[0][8:].any()
    else:
        assert first[0].norm().item() == pytest.approx(0.5, rel=1e-9)
    for at in later:
        assert at[0].norm().item() == pytest.approx(0.25, rel=1e-9) and at[1].abs().sum() == 0


def test_so_sam_is_the_rule_on_the_norm_layers_alone():
    """Against the rule on the loss as a function of these weights, the others held."""
    model, (x, y) = network(), batch()
    norms = [model[1].weight, model[1].bias]
    rest = {k: v.detach() for k, v in model.state_dict().items()}

    def grad(v):
        w = [p.detach().clone().requires_grad_() for p in v.split([8, 8])]
        moved = rest | {"1.weight": w[0], "1.bias": w[1]}
        loss = cross_entropy(torch.func.functional_call(model, moved, x), y)
        return torch.cat(torch.autograd.grad(loss, w))

    w = torch.cat([p.detach() for p in norms])
    expected = rules.sam(w, grad, rho=0.5)
    groups = [{"params": norms}, {"params": [*model[0].parameters(), *model[3].parameters()], "rho": 0.0}]
    opt = SAM(SGD(groups, lr=1.0), rho=0.5)

    def closure():
        opt.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        return loss

    before = model[0].weight.detach().clone()
    opt.step(closure)
    torch.testing.assert_close(w - torch.cat([p.detach() for p in norms]), expected, rtol=1e-10, atol=1e-12)
    assert not torch.equal(before, model[0].weight), "what stands still in the ascent descends all the same"


def test_the_ball_of_lsam_is_one_of_the_others_dimensions_alone():
    rho = torch.tensor([3.0, 3.0, *[0.0] * 50])
    drawn = ball(torch.zeros(20_000, 52), rho, torch.Generator().manual_seed(0))
    length = drawn.norm(dim=-1)
    assert not drawn[:, 2:].any() and (length < 3).all()
    # in two dimensions a quarter of the draws is within half the radius: 5000, of deviation 61
    assert abs((length < 1.5).sum().item() - 5000) < 6 * 61


FORMS = [("full", 0.0), ("full", 0.1), ("diagonal", 0.0), ("diagonal", 0.1), ("low_rank", 0.1)]
"""Without damping the low-rank form has no inverse."""


@pytest.mark.parametrize("form, damping", FORMS)
def test_the_ellipsoid_of_samgcm_is_that_of_the_others_alone(form, damping):
    g = torch.Generator().manual_seed(0)
    slopes, w = torch.randn(9, 5, generator=g, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    at = []

    def step(w, slopes, rho):
        at.append([])
        how = {"form": form, "damping": damping}
        rules.sam_gcm(w, lambda v: at[-1].append(v) or slopes.mean(0), lambda v: slopes, rho, **how)

    step(w, slopes, torch.tensor([0.5, 0.5, 0.0, 0.5, 0.0], dtype=torch.float64))
    kept = [0, 1, 3]
    step(w[kept], slopes[:, kept], 0.5)
    torch.testing.assert_close(at[0][0][kept], at[1][0], rtol=1e-10, atol=1e-12)
    assert not at[0][0][[2, 4]].any()


@each([opt for opt in OPTIMIZERS if "rho_cov" not in opt.method.options and opt is not LSAM])
def test_where_all_groups_stand_still_it_is_plain_descent(method):
    assert all(not move.any() for at in climbs(method, rho=0.0)[1:] for move in at)
