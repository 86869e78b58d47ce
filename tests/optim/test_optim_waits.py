"""No step waits for the device, but for the one look that `check_finite` takes: tensors on `meta` raise where one would."""

import pytest
import torch
from methods_under_test import OPTIMIZERS, each
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from flatlab.penalties import gradient_noise_penalty, hessian_frobenius_penalty


def problem():
    """Two groups with a radius each; a batch that has no numbers, so that none can be asked for."""
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)).to("meta")
    groups = [{"params": model[0].parameters(), "rho": 0.1}, {"params": [*model[1].parameters(), *model[3].parameters()]}]
    return model, groups, torch.empty(8, 6, device="meta"), torch.empty(8, dtype=torch.long, device="meta")


def stepper(method, **options):
    model, groups, x, y = problem()
    opt = method(SGD(groups, lr=0.1, momentum=0.9), **options, **({"m": 4} if "m" in method.method.options else {}))

    def closure(x, y):
        opt.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        return loss

    return lambda: opt.step(closure, x, y)


@pytest.fixture(autouse=True)
def draws(monkeypatch):
    """There is no generator on `meta`: a method that draws takes torch's own there. Two on the CPU try its rule."""
    real, tried = torch.Generator, []

    class Generator:
        def __new__(cls, device="cpu"):
            if torch.device(device).type == "meta":
                return super().__new__(cls)
            tried.append(device)
            assert len(tried) <= 2, "draws are made on the device"
            return real(device)

        def manual_seed(self, seed):
            return None

    monkeypatch.setattr(torch, "Generator", Generator)


@each(OPTIMIZERS)
def test_a_step_never_waits_for_the_device(method):
    step = stepper(method, check_finite=False)
    for _ in range(2):  # with a memory and without
        assert step().is_meta


@each(OPTIMIZERS)
def test_the_check_of_finite_numbers_is_one_look_a_step(method, monkeypatch):
    looks, tolist = [], torch.Tensor.tolist

    def counted(t):
        looks.append(t.shape)
        return [True] * len(t) if t.is_meta else tolist(t)

    monkeypatch.setattr(torch.Tensor, "tolist", counted)
    step = stepper(method)
    step()
    assert len(looks) == 1
    monkeypatch.setattr(torch.Tensor, "tolist", tolist)
    with pytest.raises((NotImplementedError, RuntimeError), match="meta tensor"):
        step()


@pytest.mark.parametrize(
    "penalty",
    [
        lambda model, data: hessian_frobenius_penalty(model, cross_entropy, data, probes=2),
        lambda model, data: gradient_noise_penalty(model, cross_entropy, data, batch_size=8, population=100),
    ],
    ids=["fa", "cov"],
)
def test_a_penalty_never_waits_for_the_device(penalty):
    model, _, x, y = problem()
    model[1].eval()
    value = penalty(model, (x, y))
    value.backward()
    assert value.is_meta and model[0].weight.grad.is_meta
