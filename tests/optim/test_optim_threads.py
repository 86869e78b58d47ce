"""A thread's step sees its own modules alone, and a cache of weights that a pass leaves is not read by the next."""

import threading

import pytest
import torch
from methods_under_test import OPTIMIZERS, closure_of, each, every_method
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.optim import SGD

from flatlab.optim import SAM


def batch(seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(64, 6, generator=g), torch.randint(0, 3, (64,), generator=g)


def networks():
    torch.manual_seed(0)
    return [nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)) for _ in range(4)]


def train(model, start=None, steps=40):
    opt = SAM(SGD(model.parameters(), lr=0.05), rho=0.05)
    if start is not None:
        start.wait()
    for step in range(steps):
        opt.step(closure_of(model, opt, *batch(step)))


def test_a_model_a_thread_trains_as_one_after_the_other():
    serial, parallel = networks(), networks()
    for model in serial:
        train(model)
    start, failed = threading.Barrier(4), []

    def work(model):
        try:
            train(model, start)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(model,)) for model in parallel]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed
    for a, b in zip(serial, parallel, strict=True):
        assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


@each(OPTIMIZERS)
def test_an_autocast_around_the_step_is_one_inside_the_closure(method):
    ends = []
    for outside in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
        opt = method(SGD(model.parameters(), lr=0.5), rho=0.5, **({"m": 32} if "m" in method.method.options else {}))

        def closure(x, y, model=model, opt=opt, inside=not outside):
            opt.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=inside or torch.is_autocast_enabled("cpu")):
                loss = nn.functional.cross_entropy(model(x).float(), y)
            loss.backward()
            return loss

        for step in range(2):
            with torch.autocast("cpu", torch.bfloat16, enabled=outside):
                opt.step(closure, *batch(step))
        ends.append(torch.cat([p.detach().ravel() for p in model.parameters()]))
    torch.testing.assert_close(*ends, rtol=1e-2, atol=1e-3)


@pytest.mark.filterwarnings("ignore")
@every_method
def test_a_cache_of_parametrized_weights_does_not_outlive_a_pass(method):
    ends = []
    for cached in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 3)))
        opt = method(SGD(model.parameters(), lr=0.5), rho=0.5)
        closure = closure_of(model, opt, *batch())
        if cached:
            with parametrize.cached():
                opt.step(closure)
        else:
            opt.step(closure)
        ends.append(torch.cat([p.detach().ravel() for p in model.parameters()]))
    assert torch.equal(*ends)
