"""Gradients without torch's compiler: none is loaded, and they are those of torch.func to the bit."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.func import grad, vjp, vmap
from torch.nn.functional import cross_entropy, mse_loss

from flatlab.landscape.pullback import unloaded

FIRST = """
import sys, torch
from torch import nn
from flatlab import measures
from flatlab.landscape import Landscape
x, y = torch.randn(9, 4), torch.randint(3, (9,))
net = Landscape.of(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), nn.functional.cross_entropy, (x, y))
w = torch.stack([net.w0, 2 * net.w0])
found = net.grad(net.w0), net.grad(w), net.hvp(w, w), net.per_sample_grads(w)
assert all(f.abs().sum() > 0 for f in found)
assert measures.fisher_rao(net, net.w0) != 0 and measures.hessian_trace(net, net.w0, samples=5).samples == 5
print([name for name in ("torch._dynamo", "torch._inductor") if name in sys.modules])
"""


@pytest.mark.slow
def test_derivatives_and_measures_of_a_network_load_no_compiler():
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def losses():
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        x = torch.randn(6, 1, 6, 6, dtype=dtype)
        conv = nn.Sequential(nn.Conv2d(1, 3, 3), nn.GroupNorm(1, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)).to(dtype)
        yield conv, cross_entropy, x, torch.arange(6) % 4
        yield (
            nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.Tanh(), nn.Linear(5, 1)).to(dtype),
            mse_loss,
            x,
            x[:, 0, 0, :1],
        )


@pytest.mark.parametrize("case", range(4))
def test_a_pullback_is_grad_and_vjp_of_torch_to_the_bit(case):
    model, loss_fn, x, y = list(losses())[case]
    shapes = {name: p.shape for name, p in model.named_parameters()}
    w = torch.cat([p.detach().reshape(-1) for p in model.parameters()])

    def loss(v, scale):
        parts = v.split([s.numel() for s in shapes.values()])
        weights = {name: part.view(s) for (name, s), part in zip(shapes.items(), parts, strict=True)}
        return scale * loss_fn(torch.func.functional_call(model, weights, (x,)), y)

    scale, v = torch.tensor(1.3, dtype=w.dtype), torch.randn_like(w)
    many = torch.stack([w, w + 0.1 * v, w - 0.1 * v])

    def slope(u):
        return unloaded(loss, u, scale, along=None)

    def bend(u, direction):
        return unloaded(slope, u, along=direction)

    ours = [slope(w), bend(w, v), vmap(slope)(many), vmap(bend, (0, None))(many, v)]
    with torch.no_grad():
        ours += [slope(w), bend(w, v)]
    track = w.clone().requires_grad_()
    ours += torch.autograd.grad(slope(track) @ v, track)

    def theirs_of(u):
        return grad(loss)(u, scale)

    def bent(u, direction):
        return vjp(theirs_of, u)[1](direction)[0]

    theirs = [theirs_of(w), bent(w, v), vmap(theirs_of)(many), vmap(bent, (0, None))(many, v), theirs_of(w), bent(w, v)]
    theirs += torch.autograd.grad(theirs_of(track) @ v, track)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_value_that_does_not_depend_on_the_weights_has_no_gradient_and_a_vector_none_by_itself():
    w = torch.ones(3)
    assert torch.equal(unloaded(lambda v: torch.tensor(2.0), w, along=None), torch.zeros(3))
    assert torch.equal(unloaded(lambda v: v.detach() * 2, w, along=w), torch.zeros(3))
    with pytest.raises(RuntimeError, match="the gradient is that of a scalar, got a value of 1 dimensions"):
        unloaded(lambda v: v * 2, w, along=None)
