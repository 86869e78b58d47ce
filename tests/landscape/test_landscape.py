"""The one interface of toys and networks, against automatic differentiation and closed forms."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from flatlab.landscape import Landscape


@pytest.fixture
def regression():
    """Linear regression without bias: everything about it is known in closed form."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 3, dtype=torch.float64, generator=generator)
    y = torch.randn(12, 1, dtype=torch.float64, generator=generator)
    return Landscape.of(nn.Linear(3, 1, bias=False).double(), mse_loss, (x, y)), x, y


def test_a_linear_network_has_the_closed_forms_of_least_squares(regression):
    net, x, y = regression
    w = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    v = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    residual = w @ x.T - y.T
    torch.testing.assert_close(net.loss(w), (residual**2).mean(1))
    torch.testing.assert_close(net.losses(w), residual**2)
    torch.testing.assert_close(net.grad(w), 2 * residual @ x / 12)
    torch.testing.assert_close(net.hvp(w, v), 2 * v @ x.T @ x / 12)
    torch.testing.assert_close(net.per_sample_grads(w), 2 * residual[..., None] * x)


def test_a_batch_picks_terms(regression):
    net, x, y = regression
    batch = torch.tensor([3, 0, 7])
    w = net.w0
    residual = x[batch] @ w - y[batch, 0]
    torch.testing.assert_close(net.loss(w, batch), (residual**2).mean())
    torch.testing.assert_close(net.grad(w, batch), 2 * residual @ x[batch] / 3)
    assert net.per_sample_grads(w, batch).shape == (3, 3)


def test_a_deep_network_agrees_with_backward_and_is_left_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)).double()
    x, y = torch.randn(6, 1, 6, 6, dtype=torch.float64), torch.arange(6) % 4
    net = Landscape.of(model, cross_entropy, (x, y))
    before = [p.detach().clone() for p in model.parameters()]
    cross_entropy(model(x), y).backward()
    expected = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
    torch.testing.assert_close(net.grad(net.w0), expected)
    torch.testing.assert_close(net.per_sample_grads(net.w0).mean(0), expected)
    v = torch.randn_like(net.w0)
    h = 1e-5
    difference = (net.grad(net.w0 + h * v) - net.grad(net.w0 - h * v)) / (2 * h)
    torch.testing.assert_close(net.hvp(net.w0, v), difference, rtol=1e-6, atol=1e-7)
    ensemble = torch.stack([net.w0, net.w0 + 0.1 * v])
    torch.testing.assert_close(net.grad(ensemble)[1], net.grad(ensemble[1]))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_a_wrong_shape_is_named(regression):
    net, *_ = regression
    with pytest.raises(ValueError, match=r"takes points of shape \(..., 3\), got \(2,\)"):
        net.grad(torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(4), nn.Dropout(0.5)])
def test_a_loss_that_is_no_fixed_sum_over_samples_is_refused(layer):
    model = nn.Sequential(nn.Linear(3, 4), layer, nn.Linear(4, 1))
    data = (torch.zeros(5, 3), torch.zeros(5, 1))
    with pytest.raises(ValueError, match=rf"layer '1' \({type(layer).__name__}\) is in train mode.*model.eval\(\)"):
        Landscape.of(model, mse_loss, data)
    Landscape.of(model.eval(), mse_loss, data).grad(torch.zeros(Landscape.of(model, mse_loss, data).d))


def test_data_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="x has 5 samples and y has 4"):
        Landscape.of(nn.Linear(3, 1), mse_loss, (torch.zeros(5, 3), torch.zeros(4, 1)))


def small_network(chunk=None, loss=cross_entropy, seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()
    g = torch.Generator().manual_seed(1)
    data = torch.randn(600, 5, dtype=torch.float64, generator=g), torch.randint(3, (600,), generator=g)
    return Landscape.of(model, loss, data, chunk)


def sizes_of_the_passes(net, call):
    seen = []
    handle = net.model.register_forward_pre_hook(lambda m, args: seen.append(len(args[0])))
    call()
    handle.remove()
    return seen


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
@pytest.mark.parametrize("batch", [None, torch.arange(599, 100, -1)])
def test_loss_gradient_and_hessian_product_in_parts_are_those_of_one_pass(lead, batch):
    whole, parts = small_network(chunk=600), small_network(chunk=70)
    w = whole.w0 + 0.1 * torch.randn(*lead, whole.d, dtype=torch.float64)
    v = torch.randn(*lead, whole.d, dtype=torch.float64)
    for name, arguments in (("loss", (w,)), ("losses", (w,)), ("grad", (w,)), ("hvp", (w, v))):
        expected = getattr(whole, name)(*arguments, batch=batch)
        torch.testing.assert_close(getattr(parts, name)(*arguments, batch=batch), expected, rtol=1e-12, atol=1e-14)


def test_no_pass_takes_more_samples_than_the_chunk():
    net = small_network(chunk=70)
    net.hvp(net.w0, net.w0)  # looks once whether the loss is a mean, and whether the product is right
    for call in (lambda: net.loss(net.w0), lambda: net.grad(net.w0), lambda: net.hvp(net.w0, net.w0)):
        seen = sizes_of_the_passes(net, call)
        assert sum(seen) == 600 and max(seen) <= 70


def test_the_chunk_that_is_chosen_keeps_the_numbers_within_the_budget(monkeypatch):
    # Linear keeps its input (5 and 7 numbers), tanh its output (the 7 again), cross entropy the 3 logarithms and a sum.
    monkeypatch.setattr("flatlab.landscape.network.NUMBERS", 100 * 15)
    net = small_network()
    sizes = [part.stop - part.start for part in net.parts(net.w0)]
    assert sum(sizes) == 600 and 60 <= max(sizes) <= 110
    several = [part.stop - part.start for part in net.parts(net.w0.expand(4, -1))]
    assert max(several) <= max(sizes) / 3
    assert len(net.parts(net.w0, batch=torch.arange(200))) == 1  # up to 256 samples nothing is measured


def test_a_point_that_requires_a_gradient_gets_one_graph():
    net = small_network(chunk=70)
    w = net.w0.clone().requires_grad_()
    (g,) = torch.autograd.grad(net.loss(w), w)
    torch.testing.assert_close(g, net.grad(net.w0))
    torch.testing.assert_close(torch.func.jacrev(net.grad)(net.w0) @ g, net.hvp(net.w0, g))


def test_a_loss_that_is_no_mean_is_taken_whole_and_refused_in_parts_of_a_given_size(monkeypatch):
    monkeypatch.setattr("flatlab.landscape.network.NUMBERS", 100 * 15)
    weighted = nn.CrossEntropyLoss(torch.tensor([1.0, 5.0, 2.0], dtype=torch.float64))
    net = small_network(loss=weighted)
    assert len(net.parts(net.w0)) == 1
    torch.testing.assert_close(net.loss(net.w0), weighted(net.model(net.x), net.y))
    with pytest.raises(ValueError, match="is not the mean of their single losses"):
        small_network(chunk=70, loss=weighted).grad(net.w0)
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        small_network(chunk=0)


def test_zero_weights_do_not_hide_that_a_loss_is_no_mean(monkeypatch):
    monkeypatch.setattr("flatlab.landscape.network.NUMBERS", 100 * 15)
    net = small_network(loss=nn.CrossEntropyLoss(torch.tensor([1.0, 5.0, 2.0], dtype=torch.float64)))
    for p in net.model.parameters():
        nn.init.zeros_(p)
    zero = Landscape.of(net.model, net.loss_fn, (net.x, net.y))
    assert len(zero.parts(zero.w0)) == 1
