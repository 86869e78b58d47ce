"""Whether a loss is the mean of its single losses, proved on what can differ."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from flatlab.landscape import Landscape
from flatlab.measures import fisher_rao, gradient_noise, hessian_trace


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(outputs):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, outputs))


def rare(n, where):
    y = torch.arange(n) % 9
    y[torch.tensor(where)] = 9
    return y


def tokens(rows, columns, padded):
    y = torch.randint(0, 7, (rows, columns), generator=torch.Generator().manual_seed(1))
    for row in padded:
        y[row, 2:] = -100
    return y


def of_tokens(z, y):
    return cross_entropy(z.reshape(-1, 7), y.reshape(-1), ignore_index=-100)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = network(7 * 8)

    def forward(self, x):
        return self.inner(x).view(-1, 8, 7)


WEIGHT = torch.ones(10)
WEIGHT[9] = 20.0
NONE = {
    "a rare class of another weight": (lambda: network(10), nn.CrossEntropyLoss(WEIGHT), rare(400, [5, 77, 150])),
    "a class of one": (lambda: network(10), nn.CrossEntropyLoss(WEIGHT), rare(3000, [2718])),
    "sorted classes": (lambda: network(10), nn.CrossEntropyLoss(WEIGHT), torch.arange(2560) // 256),
    "one padded row": (Tokens, of_tokens, tokens(1500, 8, [1234])),
    "an ignored label": (
        lambda: network(10),
        cross_entropy,
        rare(300, [7]).where(torch.arange(300) != 123, torch.tensor(-100)),
    ),
    "a masked number": (
        lambda: network(2),
        lambda z, t: ((z - t).square() * (t > -9)).sum() / (t > -9).sum(),
        random(700, 2, seed=2).index_fill(0, torch.tensor([600]), -9.5) * torch.tensor([1.0, 0.5]),
    ),
}


@pytest.mark.parametrize("case", NONE)
def test_what_a_few_samples_do_not_show_is_found(case):
    make, loss_fn, y = NONE[case]
    net = Landscape.of(make(), loss_fn, (random(len(y), 4), y))
    for f in (gradient_noise, fisher_rao):
        with pytest.raises(ValueError, match="is not the mean of their single losses"):
            f(net, net.w0)
    torch.testing.assert_close(net.loss(net.w0), loss_fn(net.model(net.x), y))
    with pytest.raises(ValueError, match="is not the mean of their single losses"):
        Landscape.of(net.model, loss_fn, (net.x, y), chunk=100).loss(net.w0)


def test_curvature_of_a_loss_with_a_rare_class_is_that_of_the_loss():
    make, loss_fn, y = NONE["a rare class of another weight"]
    net = Landscape.of(make(), loss_fn, (random(len(y), 4), y))
    truth = torch.func.hessian(net.loss)(net.w0).trace().item()
    found = hessian_trace(net, net.w0, samples=300)
    assert found.stderr > 0 and abs(found.value - truth) < 4 * found.stderr


class Weighted(nn.Module):
    """A loss of the user's, whose weights are no buffers: in float64 it does not run."""

    def forward(self, z, y):
        return nn.functional.cross_entropy(z, y, torch.tensor([1.0, 50.0]))


@pytest.mark.parametrize("loss_fn", [nn.CrossEntropyLoss(torch.tensor([1.0, 50.0])), Weighted()], ids=["torch's", "own"])
def test_a_small_loss_hides_no_weights(loss_fn):
    """At a good minimum all losses are far below 1, and so is what tells the two means apart."""
    model = nn.Linear(2, 2, bias=False)
    y = (torch.arange(600) % 50 == 7).long()
    x = torch.stack([1 - y, y], 1) + 0.1 * random(600, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[6.0, -6.0], [-5.0, 5.0]]))
    net = Landscape.of(model, loss_fn, (x, y))
    assert net.loss(net.w0) < 1e-3
    with pytest.raises(ValueError, match="is not the mean of their single losses"):
        net.need_mean()


MEANS = {
    "labels": (lambda: network(10), cross_entropy, rare(3000, [2718])),
    "equal weights": (lambda: network(10), nn.CrossEntropyLoss(torch.full((10,), 3.0)), rare(400, [5])),
    "label smoothing": (lambda: network(10), nn.CrossEntropyLoss(label_smoothing=0.1), rare(400, [5])),
    "tokens": (Tokens, of_tokens, tokens(600, 8, [])),
    "several labels": (
        lambda: network(3),
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 2.0, 9.0])),
        (random(500, 3) > 0) * 1.0,
    ),
    "numbers": (lambda: network(2), nn.HuberLoss(), 1e3 * random(700, 2, seed=2)),
}


@pytest.mark.parametrize("case", MEANS)
def test_a_mean_is_taken_for_one(case):
    make, loss_fn, y = MEANS[case]
    net = Landscape.of(make(), loss_fn, (random(len(y), 4), y), chunk=100)
    net.need_mean()
    torch.testing.assert_close(net.loss(net.w0), loss_fn(net.model(net.x), y))
