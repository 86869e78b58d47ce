"""What a forward pass draws and moves is found by running it."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout
from torch.nn.utils.parametrizations import spectral_norm

from flatlab import measures
from flatlab.landscape import Landscape

X = torch.randn(20, 5, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(20) % 3


class Around(nn.Module):
    """A linear network with something in the middle."""

    def __init__(self, middle):
        super().__init__()
        self.a, self.middle, self.b = nn.Linear(4, 6), middle, nn.Linear(6, 3)

    def forward(self, x):
        return self.b(torch.tanh(self.middle(self.a(x))).mean(1))


class Attention(nn.MultiheadAttention):
    def forward(self, x):
        return super().forward(x, x, x)[0]


class Recurrent(nn.LSTM):
    def forward(self, x):
        return super().forward(x)[0]


class Functional(nn.Module):
    def forward(self, x):
        return dropout(x, 0.5, self.training)


class Seldom(nn.Module):
    """Drops one number in a million: two passes give the same."""

    def forward(self, x):
        return dropout(x, 1e-6, self.training)


class OnlyPython(nn.Module):
    def forward(self, x):
        return x * (1 + random.random() * self.training)


class OnlyNumpy(nn.Module):
    def forward(self, x):
        return x * (1 + np.random.rand() * self.training)  # noqa: NPY002


class OwnGenerator(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x):
        return x + self.training * torch.randn(x.shape, generator=self.generator, dtype=x.dtype)


class Counts(nn.Module):
    """Python state that moves without a buffer."""

    count = 0

    def forward(self, x):
        self.count += self.training
        return x * self.count


RANDOM = {
    "attention": lambda: Attention(6, 2, dropout=0.5, batch_first=True),
    "recurrent": lambda: Recurrent(6, 6, 2, dropout=0.5, batch_first=True),
    "functional": Functional,
    "seldom": Seldom,
    "python": OnlyPython,
    "numpy": OnlyNumpy,
    "a generator of its own": OwnGenerator,
    "a count": Counts,
    "spectral norm": lambda: spectral_norm(nn.Linear(6, 6)),
}


@pytest.mark.parametrize("name", RANDOM)
def test_what_is_no_function_of_the_weights_is_refused_by_name_and_taken_in_eval_mode(name):
    torch.manual_seed(0)
    model = Around(RANDOM[name]())
    before = {key: b.clone() for key, b in model.named_buffers()}
    with pytest.raises(
        ValueError, match=r"^layer '.*' \(\w+\) is in train mode and .*; call model.eval\(\) first$"
    ) as error:
        Landscape.of(model, cross_entropy, (X, Y))
    if name != "seldom":
        assert "'middle" in str(error.value)
    assert all(torch.equal(b, before[key]) for key, b in model.named_buffers())
    net = Landscape.of(model.eval(), cross_entropy, (X, Y))
    assert net.loss(net.w0) == net.loss(net.w0)
    model.train()
    with pytest.raises(ValueError, match="is in train mode"):
        measures.hessian_trace(net, net.w0)


class Statistic(nn.Module):
    """A hand-written running statistic and a count, which nothing reads."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        with torch.no_grad():
            self.mean.lerp_(x.mean((0, 1)).detach(), 0.1)
            self.count += 1
        return x


@pytest.mark.parametrize("train", [False, True])
def test_buffers_that_a_pass_moves_without_effect_are_the_users_and_stay(train):
    torch.manual_seed(0)
    model = Around(Statistic())
    model.train(train)
    if train:  # a statistic of the samples, as BatchNorm keeps it, but nothing uses it
        model.middle.mean.fill_(2.0)
    before = {key: b.clone() for key, b in model.named_buffers()}
    net = Landscape.of(model, cross_entropy, (X, Y))
    plain = Landscape.of(Around(nn.Identity()), cross_entropy, (X, Y))
    w = net.w0
    torch.testing.assert_close(net.loss(w), plain.loss(w))
    torch.testing.assert_close(net.grad(w), plain.grad(w))
    torch.testing.assert_close(net.hvp(w, w), plain.hvp(w, w))
    torch.testing.assert_close(net.losses(w), plain.losses(w))
    torch.testing.assert_close(net.per_sample_grads(w), plain.per_sample_grads(w))
    for name in ("hessian_trace", "gradient_noise", "fisher_rao", "relative_flatness", "top_eigenvalues"):
        measure = getattr(measures, name)
        assert float(measure(net, w)) == pytest.approx(float(measure(plain, w)), rel=1e-4), name
    assert all(torch.equal(b, before[key]) for key, b in model.named_buffers())


class HandWritten(nn.Module):
    """BatchNorm by hand, of no known type."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x):
        mean = x.mean((0, 1)) if self.training else self.mean
        if self.training:
            self.mean.lerp_(mean.detach(), 0.1)
        return x - mean


def test_a_hand_written_batch_norm_is_found_too():
    model = Around(HandWritten())
    with pytest.raises(
        ValueError, match=r"layer 'middle' \(HandWritten\) is in train mode and lets samples see each other"
    ):
        Landscape.of(model, cross_entropy, (X, Y))
    assert not model.middle.mean.any()
    Landscape.of(model.eval(), cross_entropy, (X, Y))


def test_batch_norm_in_train_mode_is_found_where_samples_are_bytes():
    """Nothing can be added to a byte: another sample has to come in its place."""

    class OfBytes(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.out = nn.BatchNorm1d(4), nn.Linear(4, 3)

        def forward(self, x):
            return self.out(self.norm(x.float() / 255))

    x, model = torch.randint(0, 256, (20, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8), OfBytes()
    with pytest.raises(ValueError, match=r"layer 'norm' \(BatchNorm1d\) is in train mode and lets samples see each other"):
        Landscape.of(model, cross_entropy, (x, Y))
    Landscape.of(model.eval(), cross_entropy, (x, Y))


def test_the_weights_of_before_are_refused_once_the_model_has_trained_on():
    """With the averages of a later BatchNorm they would be a network that never was. The present ones are its loss."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    data = torch.randn(64, 5), torch.arange(64) % 3
    net = Landscape.of(model.eval(), cross_entropy, data)
    before = net.loss(net.w0)
    model.train()(data[0])
    model.eval()
    net.loss(net.w0)  # other averages, same weights: the model as it is
    with torch.no_grad():
        model[0].weight += 0.1
    for ask in (net.loss, net.grad, lambda w: measures.hessian_trace(net, w)):
        with pytest.raises(ValueError, match=r"trained on .* 1\.\w+ has changed .* Make a new landscape"):
            ask(net.w0)
    now = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    torch.testing.assert_close(net.loss(now), cross_entropy(model(data[0]), data[1]).detach())
    new = Landscape.of(model, cross_entropy, data)
    torch.testing.assert_close(new.loss(new.w0), net.loss(now))
    assert not torch.equal(new.loss(new.w0), before)


def test_without_buffers_the_weights_of_before_stay_what_they_were():
    model = nn.Linear(3, 1)
    net = Landscape.of(model, nn.functional.mse_loss, (torch.ones(4, 3), torch.zeros(4, 1)))
    before = net.loss(net.w0)
    with torch.no_grad():
        model.weight += 1
    assert torch.equal(net.loss(net.w0), before)


def test_a_model_is_looked_at_once_in_each_mode():
    model, seen = Around(nn.Identity()), []
    Landscape.of(model, cross_entropy, (X, Y))
    model.a.register_forward_hook(lambda *_: seen.append(1))
    Landscape.of(model, cross_entropy, (X, Y))
    assert not seen
    Landscape.of(model.eval(), cross_entropy, (X, Y))
    assert seen
