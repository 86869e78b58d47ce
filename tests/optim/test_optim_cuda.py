"""What only a GPU shows: its random numbers, and capture into a graph."""

import copy

import pytest
import torch
from methods_under_test import OPTIMIZERS, each, every_method
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from flatlab.optim import SAM

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@every_method
def test_dropout_on_the_gpu_draws_one_mask_for_all_passes_and_the_generator_ends_as_after_one(method):
    dropout, w = nn.Dropout(0.5), torch.ones(4096, device="cuda", requires_grad=True)
    opt = method(SGD([w], lr=0.1), rho=0.5)
    masks = []

    def closure():
        opt.zero_grad()
        kept = dropout(torch.ones_like(w))
        masks.append(kept.clone())
        loss = (kept * w * w).mean()
        loss.backward()
        return loss

    start = torch.cuda.get_rng_state()
    opt.step(closure)
    end = torch.cuda.get_rng_state()
    torch.cuda.set_rng_state(start)
    dropout(torch.ones_like(w))
    assert torch.equal(end, torch.cuda.get_rng_state())
    assert all(torch.equal(mask, masks[0]) for mask in masks)


def stepper(method, model, x, y):
    """An optimizer and its step on the batch, which a method that looks at parts may cut."""
    more = {"m": 8} if "m" in method.method.options else {}
    opt = method(SGD(model.parameters(), lr=0.1, momentum=0.9), rho=0.1, **more)

    def closure(x, y):
        opt.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        return loss

    return opt, lambda: opt.step(closure, x, y)


def captured(method, model, x, y):
    """A step, warmed up on a side stream and captured; returns the graph and the optimizer."""
    opt, step = stepper(method, model, x, y)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()
    return graph, opt, loss


@each([opt for opt in OPTIMIZERS if opt.method.capturable])
def test_a_step_can_be_captured_and_replays_as_it_runs(method):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)).cuda()
    x, y = torch.randn(32, 8, device="cuda"), torch.randint(0, 3, (32,), device="cuda")
    graph, opt, loss = captured(method, model, x, y)
    twin = copy.deepcopy(model)
    eager, step = stepper(method, twin, x, y)
    eager.load_state_dict(copy.deepcopy(opt.state_dict()))  # torch's own takes the tensors as they are
    for _ in range(3):
        graph.replay()
        torch.testing.assert_close(loss, step())
    for (name, a), (_, b) in zip(model.state_dict().items(), twin.state_dict().items(), strict=True):
        torch.testing.assert_close(a, b, msg=name)


@each([opt for opt in OPTIMIZERS if not opt.method.capturable])
def test_what_cannot_be_replayed_runs_on_the_gpu_and_is_refused_while_a_graph_is_captured(method):
    model = nn.Linear(8, 3).cuda()
    x, y = torch.randn(32, 8, device="cuda"), torch.randint(0, 3, (32,), device="cuda")
    with pytest.raises(RuntimeError, match=f"{method.__name__} cannot be captured"):
        captured(method, model, x, y)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_dropout_is_refused_while_a_graph_is_captured():
    model = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.5), nn.Linear(16, 3)).cuda()
    x, y = torch.randn(32, 8, device="cuda"), torch.randint(0, 3, (32,), device="cuda")
    with pytest.raises(RuntimeError, match="dropout cannot repeat its mask in a CUDA graph"):
        captured(SAM, model, x, y)
