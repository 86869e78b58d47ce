"""Norms of per-sample gradients from one backward pass: every layer it claims, and none it should not."""

import pytest
import torch
from measured_problems import random
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils._python_dispatch import TorchDispatchMode

from flatlab.landscape import Landscape
from flatlab.measures import gradient_noise
from flatlab.measures.per_sample_norms import _norms, per_sample_norms

IMAGES = (6, 4, 9, 9)


def landscape(model, shape, seed=0):
    torch.manual_seed(seed)
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    x = random(*shape, seed=1)
    out = model.double()(x)
    return Landscape.of(model, mse_loss, (x, random(*out.shape, seed=2)))


def conv(**options):
    options = {"out_channels": 6, "kernel_size": 3} | options
    return nn.Sequential(nn.Conv2d(4, **options), nn.Tanh(), nn.Flatten())


CASES = {
    "linear": (nn.Linear(5, 3), (6, 5)),
    "linear without bias": (nn.Linear(5, 3, bias=False), (6, 5)),
    "sequence of few": (nn.Sequential(nn.Linear(30, 20), nn.Tanh(), nn.Linear(20, 30)), (6, 2, 30)),
    "sequence of many": (nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 3)), (6, 40, 3)),
    "two sequence dimensions": (nn.Linear(3, 2), (6, 4, 5, 3)),
    "convolution": (conv(), IMAGES),
    "convolution without bias": (conv(bias=False), IMAGES),
    "stride, padding, dilation": (conv(stride=2, padding=(2, 1), dilation=2), IMAGES),
    "groups": (conv(groups=2), IMAGES),
    "depthwise": (conv(groups=4, out_channels=8), IMAGES),
    "few positions": (conv(out_channels=40, stride=6), IMAGES),
    "few positions in groups": (conv(out_channels=40, stride=6, groups=2), IMAGES),
    "stride that skips the border": (conv(stride=4, kernel_size=2), IMAGES),
    "rectangular": (conv(kernel_size=(2, 5)), IMAGES),
    "activation in place": (nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)), (6, 5)),
}


@pytest.mark.parametrize("block", [None, 1])
@pytest.mark.parametrize("name", CASES)
def test_norms_and_gradient_are_those_of_the_materialized_gradients(name, block, monkeypatch):
    if block:
        monkeypatch.setattr("flatlab.measures.per_sample_norms.BLOCK", block)
    net = landscape(*CASES[name])
    index = torch.tensor([4, 0, 1, 5])
    squares, gradient = per_sample_norms(net, net.w0, index)
    expected = net.per_sample_grads(net.w0, index)
    torch.testing.assert_close(squares, expected.square().sum(1))
    torch.testing.assert_close(gradient, expected.mean(0))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x):
        return self.a(torch.tanh(self.a(x)))


class PastTheLayer(Twice):
    def forward(self, x):
        return torch.tanh(self.a(x)) @ self.a.weight


class Unused(Twice):
    def forward(self, x):
        return x @ self.a.weight


class OwnParameter(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(4, 3))
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return super().forward(x) * self.scale


def hooked():
    layer = nn.Linear(4, 3)
    layer.register_forward_hook(lambda m, args, out: 2 * out)
    return layer


OTHERS = [
    Tied,
    Twice,
    PastTheLayer,
    Unused,
    OwnParameter,
    hooked,
    lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)),
    lambda: nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)),
    lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval(),
]


@pytest.mark.parametrize("make", OTHERS)
def test_anything_else_falls_back_to_the_gradients_and_has_the_right_noise(make):
    net = landscape(make(), (6, 4))
    assert per_sample_norms(net, net.w0, torch.arange(6)) is None
    single = Landscape.of(net.model.float(), mse_loss, (net.x.float(), net.y.float()))
    assert per_sample_norms(single, single.w0, torch.arange(6)) is None
    net.model.double()
    gradients = net.per_sample_grads(net.w0)
    expected = torch.cov(gradients.T, correction=0).trace().item()
    for chunk in (2, 128):
        assert gradient_noise(net, net.w0, chunk=chunk) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_rounding_in_float32_is_not_taken_for_a_gradient_that_is_missing(name):
    net = landscape(*CASES[name])
    single = Landscape.of(net.model.float(), mse_loss, (1000 * net.x.float(), net.y.float()))
    squares, _ = per_sample_norms(single, single.w0, torch.arange(6))
    torch.testing.assert_close(squares, single.per_sample_grads(single.w0).square().sum(1), rtol=1e-3, atol=1e-6)
    net.model.double()


def test_circular_padding_falls_back():
    net = landscape(conv(padding=1, padding_mode="circular"), IMAGES)
    assert per_sample_norms(net, net.w0, torch.arange(6)) is None


def test_the_models_own_layers_are_left_without_hooks_also_after_an_error():
    model = nn.Sequential(nn.Linear(4, 3))
    net = Landscape.of(model, lambda a, b: 1 / 0, (torch.ones(2, 4), torch.ones(2, 3)))
    with pytest.raises(ZeroDivisionError):
        per_sample_norms(net, net.w0, torch.arange(2))
    assert not model[0]._forward_hooks


def test_chunks_add_up_and_float32_keeps_the_noise_of_a_convolutional_network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 4))
    x, y = random(20, 1, 8, 8, seed=3), torch.arange(20) % 4
    single = Landscape.of(model, cross_entropy, (x.float(), y))
    found = gradient_noise(single, single.w0)
    double = Landscape.of(model.double(), cross_entropy, (x, y))
    expected = torch.cov(double.per_sample_grads(double.w0).T, correction=0).trace().item()
    assert found == pytest.approx(expected, rel=1e-4)
    assert gradient_noise(double, double.w0, chunk=7) == pytest.approx(expected, rel=1e-10)


class Largest(TorchDispatchMode):
    """The largest tensor made meanwhile, in numbers; views of what was there before are none."""

    def __init__(self, *given):
        super().__init__()
        self.given, self.numbers = {t.untyped_storage().data_ptr() for t in given}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **kwargs or {})
        for t in made if isinstance(made, tuple | list) else [made]:
            if isinstance(t, torch.Tensor) and t.untyped_storage().data_ptr() not in self.given:
                self.numbers = max(self.numbers, t.numel())
        return made


SHAPES = {  # a layer, its input, and the numbers of one sample's largest temporary
    "a linear layer by its gradients": (lambda: nn.Linear(20, 20), (12, 20), 20 * 20),
    "a linear layer by pairs of positions": (lambda: nn.Linear(40, 30), (3, 40), 3 * 40),
    "a convolution by its gradients": (lambda: nn.Conv2d(2, 3, 3), (2, 10, 10), 2 * 10 * 10),
    "a convolution by pairs of positions": (lambda: nn.Conv2d(20, 30, 3), (20, 4, 4), 20 * 9 * 4),
    "one in groups by pairs": (lambda: nn.Conv2d(40, 60, 3, groups=2), (40, 3, 3), 40 * 9),
}


@pytest.mark.parametrize(("layer", "shape", "numbers"), SHAPES.values(), ids=SHAPES)
def test_temporaries_stay_within_a_block_whatever_the_number_of_samples(monkeypatch, layer, shape, numbers):
    torch.manual_seed(0)
    layer, a = layer().double(), random(32, *shape, seed=1)
    delta = random(*layer(a).shape, seed=2)
    with torch.no_grad():
        whole, (weight, bias) = _norms(layer, a, delta)
        monkeypatch.setattr("flatlab.measures.per_sample_norms.BLOCK", 4 * numbers)
        with Largest(a, delta, *layer.parameters()) as seen:
            found, (parts, again) = _norms(layer, a, delta)
    assert numbers < seen.numbers <= max(4 * numbers, layer.weight.numel())  # the gradient itself may be larger
    for one, other in ((whole, found), (weight, parts), (bias, again)):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
