"""What the passes of a step leave behind: weights, gradients, norm statistics, random numbers."""

import copy
import weakref

import pytest
import torch
from methods_under_test import OPTIMIZERS, WHOLE, closure_of, each, every_method
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from flatlab.optim import LSAM, SAM, StableSAM, passes


def batch(*shape, classes=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g), torch.randint(0, classes, (shape[0],), generator=g)


def buffers_after_a_plain_pass(model, x):
    model = copy.deepcopy(model)
    model(x)
    return dict(model.named_buffers())


def assert_buffers(model, expected):
    assert expected
    for name, value in model.named_buffers():
        assert torch.equal(value, expected[name]), name


class Net(nn.Module):
    """A network whose norm layer is set from outside, so that it can be compiled as one module."""

    def __init__(self, norm, width=6):
        super().__init__()
        self.into, self.norm, self.out = nn.Linear(4, width), norm, nn.Linear(width, 3)

    def forward(self, x):
        return self.out(self.norm(self.into(x)).relu())


class Stacked(nn.Module):
    """Norm layers further down: a subclass of the user's own, and one that averages over all batches."""

    def __init__(self):
        super().__init__()

        class Mine(nn.BatchNorm1d):
            def forward(self, x):
                return super().forward(x) + 1

        self.inner = nn.Sequential(Mine(6), nn.BatchNorm1d(6, momentum=None))

    def forward(self, x):
        return self.inner(x)


NORMS = {
    "BatchNorm": lambda: nn.BatchNorm1d(6),
    "cumulative": lambda: nn.BatchNorm1d(6, momentum=None),
    "no affine": lambda: nn.BatchNorm1d(6, affine=False),
    "nested": Stacked,
    "InstanceNorm": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 3)), nn.InstanceNorm1d(2, track_running_stats=True), nn.Flatten()
    ),
}


@every_method
@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS.keys())
def test_norm_statistics_move_as_in_one_plain_pass(method, norm):
    torch.manual_seed(0)
    model = Net(norm())
    rho = 0.0 if method is LSAM else 0.5  # LSAM's first pass, as every one, runs at weights that are drawn
    opt = method(SGD(model.parameters(), lr=0.5), rho=rho)
    for seed in range(3):
        x, y = batch(16, 4, seed=seed)
        expected = buffers_after_a_plain_pass(model, x)
        opt.step(closure_of(model, opt, x, y))
        assert_buffers(model, expected)


@pytest.mark.parametrize("compiled", ["wrapped", "in place"])
@pytest.mark.filterwarnings("ignore:Using `torch.compile")
def test_norm_statistics_of_a_compiled_module_move_in_the_first_pass_only_and_it_is_compiled_once(compiled):
    torch.manual_seed(0)
    model = Net(nn.BatchNorm1d(6))
    plain = copy.deepcopy(model)
    compilations = []

    def backend(graph, _):
        compilations.append(graph)
        return graph

    torch._dynamo.reset()
    net = model
    if compiled == "wrapped":
        net = torch.compile(model, backend=backend)
    else:
        model.compile(backend=backend)
    opt = SAM(SGD(model.parameters(), lr=0.5), rho=0.5)
    for seed in range(4):
        plain.load_state_dict(model.state_dict())
        x, y = batch(16, 4, seed=seed)
        plain(x)
        opt.step(closure_of(net, opt, x, y))
        assert_buffers(model, dict(plain.named_buffers()))
    assert len(compilations) <= (1 if torch.__version__ >= "2.6" else 2)  # 2.5 compiles anew for the first hook, once


def test_norm_statistics_of_layers_in_eval_mode_and_of_other_networks_are_not_touched():
    model, other = Net(nn.BatchNorm1d(6)), nn.BatchNorm1d(4)
    model.norm.eval()
    opt = SAM(SGD(model.parameters(), lr=0.1))
    x, y = batch(16, 4)
    before = copy.deepcopy(dict(model.named_buffers()))
    versions = [b._version for b in model.buffers()]
    opt.step(closure_of(model, opt, x, y))
    assert_buffers(model, before)
    assert versions == [b._version for b in model.buffers()]
    other(x)
    assert other.num_batches_tracked == 1


def test_norm_statistics_come_back_when_the_second_pass_raises():
    model = Net(nn.BatchNorm1d(6))
    opt = SAM(SGD(model.parameters(), lr=0.1))
    x, y = batch(16, 4)
    closure, calls = closure_of(model, opt, x, y), []
    expected = copy.deepcopy(dict(model.named_buffers()))

    def broken():
        calls.append(1)
        loss = closure()
        if len(calls) == 2:
            raise RuntimeError("broken")
        return loss

    with pytest.raises(RuntimeError, match="broken"):
        opt.step(broken)
    assert_buffers(model, expected)
    assert not torch.nn.modules.module._global_forward_pre_hooks


def test_a_norm_layer_that_is_called_twice_in_a_pass_moves_twice_a_step():
    layer = nn.BatchNorm1d(4)
    opt = SAM(SGD(layer.parameters(), lr=0.1))
    x, _ = batch(16, 4)

    def closure():
        opt.zero_grad()
        loss = layer(layer(x)).pow(3).mean()
        loss.backward()
        return loss

    opt.step(closure)
    assert layer.num_batches_tracked == 2


@every_method
def test_dropout_draws_one_mask_for_all_passes_and_the_generator_ends_as_after_one(method):
    torch.manual_seed(0)
    dropout, w = nn.Dropout(0.5), torch.ones(64, requires_grad=True)
    opt = method(SGD([w], lr=0.1), rho=0.5)
    masks = []

    def closure():
        opt.zero_grad()
        kept = dropout(torch.ones(64))
        masks.append(kept.clone())
        loss = (kept * w * w).mean()
        loss.backward()
        return loss

    for _ in range(2):
        start = torch.get_rng_state()
        opt.step(closure)
        end = torch.get_rng_state()
        torch.set_rng_state(start)
        dropout(torch.ones(64))
        assert torch.equal(end, torch.get_rng_state())
    first, second = masks[: len(masks) // 2], masks[len(masks) // 2 :]
    assert len(first) > 1 and all(torch.equal(mask, first[0]) for mask in first)
    assert all(torch.equal(mask, second[0]) for mask in second) and not torch.equal(first[0], second[0])


def test_the_generator_ends_as_after_one_pass_when_the_second_raises():
    w = torch.ones(3, requires_grad=True)
    opt = SAM(SGD([w], lr=0.1))
    ends = []

    def closure():
        torch.rand(50 if ends else 5)
        if ends:
            raise RuntimeError("broken")
        ends.append(torch.get_rng_state())
        w.grad = torch.ones(3)
        return torch.tensor(1.0)

    with pytest.raises(RuntimeError, match="broken"):
        opt.step(closure)
    assert torch.equal(torch.get_rng_state(), ends[0])


@every_method
def test_weights_come_back_to_the_bit_in_the_same_storage(method):
    torch.manual_seed(0)
    weights = [
        torch.randn(50, requires_grad=True),
        torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last).requires_grad_(),
        torch.tensor([-0.0, 1e-45, 3.4e38, 1.0], requires_grad=True),
        torch.randn(3, dtype=torch.bfloat16, requires_grad=True),
    ]
    before = [(w.data_ptr(), w.stride(), w.detach().clone()) for w in weights]
    opt = method(SGD(weights, lr=0.0), rho=0.7)

    def closure():
        opt.zero_grad()
        loss = sum((w.float().clamp(-10, 10) ** 2).sum() for w in weights)
        loss.backward()
        return loss

    def bits(w):
        return w.detach().contiguous().view(torch.uint8)

    @opt.base.register_step_pre_hook
    def compare(*_):
        for w, (pointer, stride, value) in zip(weights, before, strict=True):
            assert (w.data_ptr(), w.stride()) == (pointer, stride) and w.grad.stride() == stride
            assert torch.equal(bits(w), bits(value))
        before.clear()

    opt.step(closure)
    assert not before


CHANGES = {
    "fewer numbers at the same place": lambda t: t[:2],
    "more numbers at the same place": lambda t: t.as_strided((7, 3), (3, 1)),
    "transposed at the same place": lambda t: t.t(),
    "at another place": lambda t: t.clone(),
    "of another type": lambda t: t.double(),
}


@each([opt for opt in WHOLE if not opt.method.memory and not opt.method.draws])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_parameter_that_holds_another_tensor_from_now_on_steps_as_a_new_one(method, change):
    """As where a model is pruned, cast or laid out anew between two steps: nothing of the old tensor is kept."""
    room = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    w = nn.Parameter(room[:5])
    opt = method(SGD([w], lr=0.1))

    def step(opt, w):
        def closure():
            opt.zero_grad()
            loss = w.sin().sum()
            loss.backward()
            return loss

        opt.step(closure)
        return w.detach().clone()

    step(opt, w)
    w.grad, w.data = None, change(w.data)
    new = nn.Parameter(w.detach().clone())
    for _ in range(2):
        ends = step(opt, w), step(method(SGD([new], lr=0.1)), new)
        assert torch.equal(*ends)


def gated(first, second, method=SAM, **sgd):
    """Two weights `a`, `b`, of which a pass uses those that it is told to."""
    a, b = torch.tensor([3.0], requires_grad=True), torch.tensor([4.0], requires_grad=True)
    opt = method(SGD([a, b], lr=0.1, **sgd), rho=0.5)
    seen = []

    def closure():
        use = second if seen else first
        seen.append((a.item(), b.item()))
        opt.zero_grad()
        loss = sum(0.5 * (v * v).sum() for v, name in ((a, "a"), (b, "b")) if name in use)
        loss.backward()
        return loss

    return a, b, opt, closure, seen


def test_a_parameter_without_a_gradient_in_the_first_pass_has_none_there():
    a, b, opt, closure, seen = gated("a", "ab")
    opt.step(closure)
    assert seen == [(3.0, 4.0), (3.5, 4.0)]
    assert (a.grad.item(), b.grad.item()) == (3.5, 4.0)
    assert (a.item(), b.item()) == pytest.approx((2.65, 3.6))


def test_a_parameter_without_a_gradient_in_the_second_pass_comes_back_and_steps_by_zero():
    a, b, opt, closure, seen = gated("ab", "a", weight_decay=0.1)
    opt.step(closure)
    assert seen[1] == pytest.approx((3.3, 4.4))
    assert b.grad.item() == 0.0
    assert b.item() == pytest.approx(4.0 - 0.1 * 0.1 * 4.0)  # it has a gradient, so it decays


@every_method
def test_a_parameter_without_a_gradient_in_any_pass_is_skipped_as_torch_skips_it(method):
    a, b, opt, closure, _ = gated("a", "a", method, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        opt.step(closure)
    assert b.grad is None and b.item() == 4.0 and b not in opt.state
    assert a.item() != 3.0 and a in opt.state


@every_method
def test_frozen_parameters_and_their_state_are_left_alone(method):
    torch.manual_seed(0)
    model = Net(nn.BatchNorm1d(6))
    opt = method(SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1), rho=0.5)
    x, y = batch(16, 4)
    closure = closure_of(model, opt, x, y)
    opt.step(closure)
    model.into.requires_grad_(False)  # its gradient from the step before is still there
    before = copy.deepcopy(model.into.state_dict())
    momentum = opt.state[model.into.weight]["momentum_buffer"].clone()

    def forgetful():  # and a closure that clears nothing
        loss = cross_entropy(model(x), y)
        loss.backward()
        return loss

    opt.step(forgetful)
    assert all(torch.equal(v, before[k]) for k, v in model.into.state_dict().items())
    assert torch.equal(opt.state[model.into.weight]["momentum_buffer"], momentum)
    assert model.into.weight.grad is None
    model.into.requires_grad_(True)
    opt.step(closure)
    assert not torch.equal(model.into.weight, before["weight"])


@every_method
def test_a_closure_that_forgets_to_clear_gradients_gives_the_same_step(method):
    results = []
    for clears in (True, False):
        torch.manual_seed(0)
        model = Net(nn.BatchNorm1d(6))
        opt = method(SGD(model.parameters(), lr=0.1), rho=0.5)
        for seed in range(2):
            x, y = batch(16, 4, seed=seed)

            def closure(x=x, y=y, model=model, opt=opt, clears=clears):
                if clears:
                    opt.zero_grad()
                loss = cross_entropy(model(x), y)
                loss.backward()
                return loss

            opt.step(closure)
        results.append(model.state_dict())
    assert all(torch.equal(results[0][k], results[1][k]) for k in results[0])


def test_the_direction_is_not_written_into_a_tensor_of_the_closure():
    w = torch.ones(3, requires_grad=True)
    opt = StableSAM(SGD([w], lr=0.1), rho=0.5)
    mine = torch.tensor([1.0, 2.0, 2.0])
    scale = iter([1.0, 5.0])

    def closure():
        w.grad = mine.mul_(next(scale))
        return torch.tensor(1.0)

    opt.step(closure)
    torch.testing.assert_close(mine, torch.tensor([5.0, 10.0, 10.0]))
    torch.testing.assert_close(w.grad, torch.tensor([1.0, 2.0, 2.0]))


def test_weights_shared_by_two_layers_are_perturbed_once():
    layer = nn.Linear(3, 3, bias=False)
    model = nn.Sequential(layer, layer)
    opt = SAM(SGD(model.parameters(), lr=0.1), rho=0.5)
    seen = []

    def closure():
        seen.append(layer.weight.detach().clone())
        opt.zero_grad()
        loss = model(torch.ones(2, 3)).square().mean()
        loss.backward()
        return loss

    opt.step(closure)
    assert (seen[1] - seen[0]).norm().item() == pytest.approx(0.5, rel=1e-5)


def test_gradients_are_on_in_the_closure_though_the_caller_has_them_off():
    model = Net(nn.BatchNorm1d(6))
    opt = SAM(SGD(model.parameters(), lr=0.1))
    before = model.out.weight.detach().clone()
    with torch.no_grad():
        opt.step(closure_of(model, opt, *batch(16, 4)))
    assert not torch.equal(before, model.out.weight)


@each(OPTIMIZERS)
def test_a_large_gradient_is_given_up_piece_by_piece_and_the_step_is_the_same_to_the_bit(method, monkeypatch):
    """Of what a pass leaves on the parameters nothing is alive when its rule goes on, so that it is not held twice."""
    ends = []
    for large in (passes.LARGE, 1):
        monkeypatch.setattr(passes, "LARGE", large)
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        opt = method(SGD(model.parameters(), lr=0.1), **({"m": 4} if "m" in method.method.options else {}))
        g, alive = torch.Generator().manual_seed(1), []

        def closure(x, y, opt=opt, model=model, alive=alive, large=large):
            assert large > 1 or not any(ref() is not None for ref in alive)
            opt.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            alive[:] = [weakref.ref(p.grad) for p in model.parameters()]
            return loss

        for _ in range(3):
            opt.step(closure, torch.randn(8, 4, generator=g), torch.randint(0, 3, (8,), generator=g))
        ends.append(model)
    for a, b in zip(*(model.parameters() for model in ends), strict=True):
        assert torch.equal(a, b) and a.grad.shape == a.shape and torch.equal(a.grad, b.grad)
