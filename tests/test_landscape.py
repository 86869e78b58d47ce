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
