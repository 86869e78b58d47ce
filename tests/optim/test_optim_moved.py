"""What a forward pass moves, by whatever name: it moves in the first pass, and every pass starts where that one did."""

import random

import numpy as np
import pytest
import torch
from methods_under_test import WHOLE, closure_of, each
from torch import nn
from torch.nn.functional import batch_norm, cross_entropy, one_hot
from torch.nn.utils import parametrizations, spectral_norm
from torch.optim import SGD

from flatlab.optim import SAM

EXACT = [opt for opt in WHOLE if opt.method.local_ascent or opt.method.memory or opt.method.draws]
"""Those that are the base optimizer to the bit where their radii are 0."""


class Codebook(nn.Module):
    """Without parameters, replaced by its own average in every forward pass."""

    def __init__(self):
        super().__init__()
        self.register_buffer("code", torch.randn(5, 8, generator=torch.Generator().manual_seed(3)))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, z):
        nearest = torch.cdist(z, self.code).argmin(1)
        out = z + (self.code[nearest] - z).detach()
        if self.training:
            with torch.no_grad():
                share = one_hot(nearest, 5).float()
                self.code.lerp_(share.T @ z / (share.sum(0)[:, None] + 1e-3), 0.1)
                self.calls = self.calls + 1  # not written to, but replaced
        return out


class Written(nn.Module):
    """A batch norm by hand."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("variance", torch.ones(8))

    def forward(self, x):
        return batch_norm(x, self.mean, self.variance, training=self.training) + 0.1 * self.mean


LAYERS = {
    "codebook": Codebook,
    "written by hand": Written,
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(8, 8)),
    "old spectral norm": lambda: spectral_norm(nn.Linear(8, 8)),
    "scripted": lambda: torch.jit.script(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))),
    "cumulative": lambda: nn.BatchNorm1d(8, momentum=None),
}
every_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())


def network(layer):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), layer(), nn.Tanh(), nn.Linear(8, 3))


def batch(seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(16, 4, generator=g), torch.randint(0, 3, (16,), generator=g)


def same(model, other):
    for (name, a), (_, b) in zip(model.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.filterwarnings("ignore")
@each(EXACT)
@every_layer
def test_without_a_radius_it_is_the_base_optimizer_to_the_bit_from_the_first_step_on(method, layer):
    plain, wrapped = network(layer), network(layer)
    radii = {name: 0.0 for name in method.method.options if name.startswith("rho")}
    alone = SGD(plain.parameters(), lr=0.1, momentum=0.9)
    opt = method(SGD(wrapped.parameters(), lr=0.1, momentum=0.9), **radii)
    for seed in range(4):
        if seed == 2:  # a change of mode is seen
            plain[1].eval(), wrapped[1].eval()
        alone.zero_grad()
        cross_entropy(plain(batch(seed)[0]), batch(seed)[1]).backward()
        alone.step()
        opt.step(closure_of(wrapped, opt, *batch(seed)))
    same(plain, wrapped)


@pytest.mark.filterwarnings("ignore")
@every_layer
@pytest.mark.parametrize("steps", [0, 1])
def test_a_step_that_fails_gives_all_of_it_back(layer, steps):
    model = network(layer)
    opt = SAM(SGD(model.parameters(), lr=0.1))
    for seed in range(steps):
        opt.step(closure_of(model, opt, *batch(seed)))
    before, calls = {k: v.clone() for k, v in model.state_dict().items()}, []
    closure = closure_of(model, opt, *batch(9))

    def broken():
        calls.append(closure())
        if len(calls) == 2:
            raise KeyboardInterrupt
        return calls[-1]

    with pytest.raises(KeyboardInterrupt):
        opt.step(broken)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@each(WHOLE)
@pytest.mark.parametrize(
    ("draw", "seeded"),
    [(random.random, random.seed), (np.random.rand, np.random.seed), (lambda: torch.rand(()).item(), torch.manual_seed)],
    ids=["random", "numpy", "torch"],
)
def test_every_pass_draws_what_the_first_one_drew_and_the_generator_ends_as_after_one(method, draw, seeded):
    w, seen = torch.ones(3, requires_grad=True), []
    opt = method(SGD([w], lr=0.1))

    def closure():
        opt.zero_grad()
        seen.append(draw())
        loss = (seen[-1] * w * w).sum()
        loss.backward()
        return loss

    seeded(4)
    expected = [draw() for _ in range(6)]
    seeded(4)
    for _ in range(5):
        opt.step(closure)
    passes = len(seen) // 5
    assert seen == [value for value in expected[:5] for _ in range(passes)] and passes > 1
    assert draw() == expected[5]


def test_modules_that_are_only_half_built_are_passed_over():
    class Half(nn.Module):
        def __init__(self, inner):
            self.__dict__["_early"] = inner  # and never calls its base's constructor

    model = network(LAYERS["cumulative"])
    half, opt = Half(model), SAM(SGD(model.parameters(), lr=0.1))
    opt.step(closure_of(model, opt, *batch(0)))
    assert model[1].num_batches_tracked == 1 and half._early is model


def test_first_pass_tells_the_closure_which_pass_it_is_and_passes_how_many_there_were():
    model = network(LAYERS["cumulative"])
    opt, told = SAM(SGD(model.parameters(), lr=0.1)), []
    closure = closure_of(model, opt, *batch(0))
    opt.step(lambda: told.append(opt.first_pass) or closure())
    assert told == [True, False] and opt.passes == 2 and not opt.first_pass
