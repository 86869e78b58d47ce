"""What a forward pass moves, by whatever name: it moves in the first pass, and every pass starts where that one did."""

import random
from functools import partial

import numpy as np
import pytest
import torch
from methods_under_test import WHOLE, closure_of, each
from torch import nn
from torch.nn.functional import batch_norm, cross_entropy, one_hot
from torch.nn.utils import parametrizations, spectral_norm
from torch.optim import SGD

from flatlab.optim import LSAM, MSAM, SAM, SAMGCM

EXACT = [opt for opt in WHOLE if opt.method.local_ascent or opt.method.memory or opt.method.draws]
"""Those that are the base optimizer to the bit where their radii are 0."""
RADII = {"rho", "rho_cov"}


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


class MomentumEncoder(nn.Module):
    """A frozen layer that follows a trained one; written in place, or through `data`, which moves no version."""

    def __init__(self, through_data):
        super().__init__()
        self.query, self.key, self.through_data = nn.Linear(8, 8), nn.Linear(8, 8).requires_grad_(False), through_data

    def forward(self, x):
        if self.training:
            with torch.no_grad():
                for p, q in zip(self.key.parameters(), self.query.parameters(), strict=True):
                    if self.through_data:
                        p.data = 0.9 * p.data + 0.1 * q.data
                    else:
                        p.lerp_(q, 0.1)
        return self.query(x) + self.key(x)


class ReplacedParameters(nn.Module):
    """A codebook of parameters that the optimizer was given and that every forward pass replaces by new ones."""

    def __init__(self):
        super().__init__()
        self.code = nn.Embedding(5, 8)

    def forward(self, z):
        nearest = torch.cdist(z, self.code.weight).argmin(1)
        if self.training:
            share = one_hot(nearest, 5).float()
            self.code.weight = nn.Parameter(0.9 * self.code.weight + 0.1 * share.T @ z)
        return z + (self.code(nearest) - z).detach()


class PlainAttributes(nn.Module):
    """A state that is not there at first, a tensor written in place, a number, a list, a dict."""

    def __init__(self):
        super().__init__()
        self.hidden, self.mean, self.steps, self.last, self.seen = None, torch.zeros(8), 0, [], {"sum": 0.0}

    def forward(self, x):
        out = x - self.mean + 0.1 * self.steps + sum(self.last[-2:]) + 0.01 * self.seen["sum"]
        if self.hidden is not None:
            out = out + 0.1 * self.hidden
        if self.training:
            self.hidden, self.steps, self.total = out.detach().mean(0), self.steps + 1, out.detach().sum()
            self.mean.lerp_(x.detach().mean(0), 0.1)
            self.last.append(0.1 * float(out.detach().mean()))
            self.seen["sum"] += float(x.detach().sum())
        return out

    def get_extra_state(self):
        hidden = torch.zeros(8) if self.hidden is None else self.hidden
        total = getattr(self, "total", torch.zeros(()))
        return torch.cat([hidden, self.mean, total[None], torch.tensor([self.steps, *self.last, self.seen["sum"]])])


class GrownInPlace(nn.Module):
    """A buffer that the first pass resizes, as the observer of a quantized layer's channels does."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(0))

    def forward(self, x):
        if self.training:
            with torch.no_grad():
                if not self.mean.numel():
                    self.mean.resize_(8).zero_()
                self.mean.lerp_(x.mean(0), 0.1)
        return x - self.mean


LAYERS = {
    "codebook": Codebook,
    "written by hand": Written,
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(8, 8)),
    "old spectral norm": lambda: spectral_norm(nn.Linear(8, 8)),
    "scripted": lambda: torch.jit.script(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))),
    "cumulative": lambda: nn.BatchNorm1d(8, momentum=None),
    "momentum encoder": lambda: MomentumEncoder(through_data=False),
    "momentum encoder through data": lambda: MomentumEncoder(through_data=True),
    "replaced parameters": ReplacedParameters,
    "plain attributes": PlainAttributes,
    "grown in place": GrownInPlace,
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


class RunningCenter(nn.Module):
    """A loss with a state and no weights."""

    def __init__(self):
        super().__init__()
        self.register_buffer("center", torch.zeros(8))

    def forward(self, z):
        with torch.no_grad():
            self.center.lerp_(z.mean(0), 0.1)
        return (z - self.center).square().mean()


@pytest.mark.parametrize("compiles", [False, True], ids=["plain", "compiled"])
def test_a_loss_with_a_state_and_no_weights_moves_once_from_the_first_step_on(compiles):
    """Nothing leads to it from the weights, and the first pass runs without a hook."""
    ends = []
    for wrap in (lambda base: base, lambda base: SAM(base, rho=0.0)):
        model, loss = network(nn.Tanh), RunningCenter()
        run = torch.compile(model[:3], backend="eager") if compiles else model[:3]
        opt = wrap(SGD(model.parameters(), lr=0.1))

        def closure(x, run=run, loss=loss, opt=opt):
            opt.zero_grad()
            value = loss(run(x))
            value.backward()
            return value

        for seed in range(3):
            opt.step(lambda seed=seed, closure=closure: closure(batch(seed)[0]))
        ends.append((model, loss))
    for one, other in zip(*ends, strict=True):
        same(one, other)


def test_a_frozen_backbone_that_is_larger_than_what_is_trained_is_not_copied(monkeypatch):
    """A pass can still be seen to write to it, by its version: of what it was then, only the first step knows nothing."""
    model = nn.Sequential(nn.Linear(4, 100).requires_grad_(False), nn.Linear(100, 3))
    copied, clone = [], torch.Tensor.clone
    monkeypatch.setattr(torch.Tensor, "clone", lambda t, **how: copied.append(t.numel()) or clone(t, **how))
    opt = SAM(SGD(model.parameters(), lr=0.1))
    opt.step(closure_of(model, opt, *batch(0)))
    assert 400 not in copied, "its weight"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layer", [Codebook, Written, LAYERS["spectral norm"], LAYERS["cumulative"]])
def test_so_is_samgcm_though_its_single_samples_run_in_evaluation_in_between(layer):
    plain, wrapped = network(layer), network(layer)
    alone, opt = SGD(plain.parameters(), lr=0.1), SAMGCM(SGD(wrapped.parameters(), lr=0.1), rho=0.0)
    for seed in range(2):
        x, y = batch(seed)
        alone.zero_grad()
        cross_entropy(plain(x), y).backward()
        alone.step()
        opt.step(lambda a, b: closure_of(wrapped, opt, a, b)(), x, y)
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


def drawing(opt, w, seen, draw):
    """A closure with a random number in its loss, which it keeps."""

    def closure():
        opt.zero_grad()
        seen.append(draw())
        loss = (seen[-1] * w * w).sum()
        loss.backward()
        return loss

    return closure


@each(WHOLE)
@pytest.mark.parametrize(
    ("draw", "seeded"),
    [(random.random, random.seed), (np.random.rand, np.random.seed), (lambda: torch.rand(()).item(), torch.manual_seed)],
    ids=["random", "numpy", "torch"],
)
def test_every_pass_draws_what_the_first_one_drew_and_the_generator_ends_as_after_one(method, draw, seeded):
    w, seen = torch.ones(3, requires_grad=True), []
    opt = method(SGD([w], lr=0.1))

    closure = drawing(opt, w, seen, draw)
    seeded(4)
    expected = [draw() for _ in range(6)]
    seeded(4)
    for _ in range(5):
        opt.step(closure)
    passes = len(seen) // 5
    assert seen == [value for value in expected[:5] for _ in range(passes)] and passes > 1
    assert draw() == expected[5]


class Drawing(nn.Module):
    def __init__(self, draw_of):
        super().__init__()
        self.generator, self.draw_of = random.Random(6), draw_of

    def forward(self):
        return self.draw_of(self.generator)


@pytest.mark.parametrize(
    ("made", "draw_of"),
    [
        (lambda: random.Random(6), lambda g: g.random()),
        (lambda: np.random.default_rng(6), lambda g: g.random()),
        (lambda: np.random.RandomState(6), lambda g: g.rand()),
        (lambda: torch.Generator().manual_seed(6), lambda g: torch.rand((), generator=g).item()),
    ],
    ids=["random", "numpy", "numpy's old", "torch"],
)
@pytest.mark.parametrize("held", ["scope", "function", "object", "bound", "partial", "module"])
def test_a_generator_of_ones_own_that_the_closure_refers_to_is_one_of_them(made, draw_of, held):
    w, seen, own = torch.ones(3, requires_grad=True), [], made()
    opt = SAM(SGD([w], lr=0.1))

    class Held:
        def __init__(self):
            self.own = own

        def draw(self):
            return draw_of(self.own)

    def inner(generator=own):
        return draw_of(generator)

    it, module = Held(), Drawing(draw_of)
    module.generator = own
    draw = {
        "scope": lambda: draw_of(own),
        "function": lambda: inner(),
        "object": lambda: draw_of(it.own),
        "bound": it.draw,
        "partial": partial(draw_of, own),
        "module": lambda: module(),
    }[held]

    closure = drawing(opt, w, seen, draw)
    for _ in range(5):
        opt.step(closure)
    again = made()
    assert seen == [value for _ in range(5) for value in [draw_of(again)] * 2]
    assert draw_of(own) == draw_of(again)


@pytest.mark.parametrize("draw", [random.random, np.random.rand], ids=["random", "numpy"])
def test_a_closure_that_begins_to_draw_later_is_found_out_within_sixteen_steps(draw):
    """Looking takes time, so that after the first steps only some are looked at; from then on every pass repeats."""
    w, seen = torch.ones(3, requires_grad=True), []
    opt = SAM(SGD([w], lr=0.0))

    def closure():
        opt.zero_grad()
        seen[-1].append(draw() if len(seen) > 5 else 1.0)
        loss = (w * w).sum()
        loss.backward()
        return loss

    for _ in range(40):
        seen.append([])
        opt.step(closure)
    assert [first for first, again in seen if first != again] == [first for first, _ in seen[5:16]]
    assert len({first for first, _ in seen[16:]}) == 24


def test_a_lazy_module_beside_the_model_is_left_alone():
    model, beside, x = nn.Linear(3, 1), nn.LazyLinear(2), torch.randn(4, 3)
    opt = SAM(SGD(model.parameters(), lr=0.1))

    def closure():
        opt.zero_grad()
        loss = model(x).square().mean() + 0.0 * len(beside._parameters)
        loss.backward()
        return loss

    before = model.weight.detach().clone()
    opt.step(closure)
    assert nn.parameter.is_lazy(beside.weight)
    assert not torch.equal(model.weight, before)
    assert beside(x).shape == (4, 2)
    opt.step(closure)


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


class MadeInForward(nn.Module):
    """Its average begins with the first batch: before that there is no buffer, or one that is None."""

    def __init__(self, registered):
        super().__init__()
        if registered:
            self.register_buffer("mean", None)

    def forward(self, x):
        now = x.detach().mean(0)
        if getattr(self, "mean", None) is not None:
            self.mean = 0.9 * self.mean + 0.1 * now
        elif "mean" in self._buffers:
            self.mean = now
        else:
            self.register_buffer("mean", now)
        return x - self.mean


@pytest.mark.parametrize("registered", [True, False], ids=["None before", "not there before"])
@each(EXACT)
def test_a_buffer_that_the_first_pass_makes_is_made_by_each_pass_anew_and_moves_once(method, registered):
    results = []
    for wrap in (lambda base: base, lambda base: method(base, **dict.fromkeys(RADII & method.method.options.keys(), 0.0))):
        model = network(lambda: MadeInForward(registered))
        opt = wrap(SGD(model.parameters(), lr=0.1, momentum=0.9))
        for step in range(3):
            opt.step(closure_of(model, opt, *batch(step)))
        results.append(model)
    same(*results)


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("registered", [True, False], ids=["None before", "not there before"])
def test_a_step_that_fails_leaves_no_buffer_that_a_pass_has_made(registered, failing):
    model = network(lambda: MadeInForward(registered))
    opt = SAM(SGD(model.parameters(), lr=0.1))
    closure = closure_of(model, opt, *batch(0))

    def fails():
        loss = closure()
        if opt._running.count == failing:
            raise KeyError("no more data")
        return loss

    with pytest.raises(KeyError):
        opt.step(fails)
    assert getattr(model[1], "mean", None) is None
    opt.step(closure)
    assert model[1].mean is not None


class MaxNorm(nn.Linear):
    """Projects its own weights in the forward pass, as EEGNet does, in the ways that are written for it."""

    def __init__(self, how):
        super().__init__(8, 8)
        self.how = how

    def forward(self, x):
        scaled = torch.where(self.weight.detach().norm() > 1.0, self.weight.detach() / 2, self.weight.detach())
        if self.how == "data replaced":
            self.weight.data = scaled
        elif self.how == "data written":
            self.weight.data.copy_(scaled)
        else:
            with torch.no_grad():
                self.weight.copy_(scaled)
        return super().forward(x)


class FirstBatch(nn.Module):
    """ActNorm: its parameters begin with what the first batch says."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(8))
        self.register_buffer("begun", torch.tensor(False))

    def forward(self, x):
        if not self.begun:
            with torch.no_grad():
                self.shift.copy_(-x.mean(0))
                self.begun.fill_(True)
        return x + self.shift


WRITERS = {how: (lambda how=how: MaxNorm(how)) for how in ("data replaced", "data written", "in place")}
WRITERS["initialized by data"] = FirstBatch
AT_WEIGHTS = [opt for opt in WHOLE if not opt.method.draws]


@pytest.mark.parametrize("layer", WRITERS.values(), ids=WRITERS.keys())
@each(AT_WEIGHTS)
def test_what_the_first_pass_writes_to_the_weights_stays(method, layer):
    """Without a radius it is the base optimizer; later passes' writes go with the weights that they were made to."""
    radii = dict.fromkeys(RADII & method.method.options.keys(), 0.0)
    results = []
    for wrap in (lambda base: base, lambda base: method(base, **radii)):
        model = network(layer)
        opt = wrap(SGD(model.parameters(), lr=0.1, momentum=0.9))
        for step in range(4):
            opt.step(closure_of(model, opt, *batch(step)))
        results.append(model)
    assert not torch.equal(results[0][1].state_dict().popitem()[1], network(layer)[1].state_dict().popitem()[1])
    for a, b in zip(*(model.state_dict().values() for model in results), strict=True):
        torch.testing.assert_close(a, b, rtol=0 if method in EXACT else 1e-4, atol=0 if method in EXACT else 1e-6)


@pytest.mark.parametrize("layer", list(WRITERS.values())[:-1], ids=list(WRITERS)[:-1])
def test_sam_climbs_from_the_weights_that_the_first_pass_has_written(layer):
    model, by_hand = network(layer), network(layer)
    x, y = batch(0)
    opt = SAM(SGD(model.parameters(), lr=0.1), rho=0.5)
    opt.step(closure_of(model, opt, x, y))
    params = list(by_hand.parameters())
    cross_entropy(by_hand(x), y).backward()
    start, g = [p.detach().clone() for p in params], [p.grad for p in params]
    length = torch.cat([a.flatten() for a in g]).norm()
    with torch.no_grad():
        for p, a in zip(params, g, strict=True):
            p.add_(a, alpha=0.5 / length.item())
    by_hand.zero_grad()
    cross_entropy(by_hand(x), y).backward()
    with torch.no_grad():
        for p, w in zip(params, start, strict=True):
            p.copy_(w - 0.1 * p.grad)
    for a, b in zip(model.parameters(), params, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("layer", WRITERS.values(), ids=WRITERS.keys())
def test_micro_batches_find_what_the_ones_before_have_written(layer):
    """Of one part MSAM is SAM, to the bit, though it reads the weights beforehand."""
    x, y = batch(0)
    results = []
    for method, more in ((SAM, {}), (MSAM, {"m": len(x)})):
        model = network(layer)
        opt = method(SGD(model.parameters(), lr=0.1), rho=0.5, **more)

        def closure(x, y, model=model, opt=opt):
            return closure_of(model, opt, x, y)()

        opt.step(closure, x, y)
        results.append(model)
    same(*results)


@pytest.mark.parametrize("layer", WRITERS.values(), ids=WRITERS.keys())
def test_a_method_without_a_pass_at_the_weights_refuses_a_model_that_writes_to_them(layer):
    model = network(layer)
    before = [p.detach().clone() for p in model.parameters()]
    opt = LSAM(SGD(model.parameters(), lr=0.1), rho=0.1)
    with pytest.raises(RuntimeError, match="writes to the weights"):
        opt.step(closure_of(model, opt, *batch(0)))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_an_embedding_with_max_norm_trains_as_under_its_base():
    results = []
    for wrap in (lambda base: base, lambda base: SAM(base, rho=0.0)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(10, 8, max_norm=1.0), nn.Flatten(), nn.Linear(24, 3))
        opt = wrap(SGD(model.parameters(), lr=0.1, momentum=0.9))
        index = torch.randint(10, (16, 3), generator=torch.Generator().manual_seed(5))
        for step in range(3):
            opt.step(closure_of(model, opt, index, batch(step)[1]))
        results.append(model)
    same(*results)


def test_weights_that_a_frozen_model_holds_and_a_later_group_trains_are_found_then():
    """Spectral norm in a block that is thawed, or added as a group, after the first steps."""
    results = []
    for wrap in (lambda base: base, lambda base: SAM(base, rho=0.0)):
        model = network(LAYERS["spectral norm"])
        thawed = list(model[1].parameters())
        opt = wrap(SGD([p for p in model.parameters() if all(p is not q for q in thawed)], lr=0.1))
        for step in range(4):
            if step == 2:
                opt.add_param_group({"params": thawed, "lr": 0.05})
            opt.step(closure_of(model, opt, *batch(step)))
        results.append(model)
    same(*results)
