"""Models as users have them: shared modules, tied weights, losses with a term of the weights, forwards that write them."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from flatlab import measures
from flatlab.landscape import Landscape
from flatlab.landscape.curvature import Refused
from flatlab.measures.hessian_product import dense, hessian_product
from flatlab.penalties import gradient_noise_penalty, hessian_frobenius_penalty

DOUBLE = torch.float64


def samples(n=12, classes=3):
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, 4, generator=g, dtype=DOUBLE), torch.arange(n) % classes


class Shared(nn.Module):
    """One block that runs twice, under two names."""

    def __init__(self, norm=False):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.out = nn.Linear(4, 4), nn.Linear(4, 3)
        self.second = self.first
        self.norm = self.again = nn.BatchNorm1d(4) if norm else nn.Identity()

    def forward(self, x):
        return self.out(torch.tanh(self.again(self.second(torch.tanh(self.norm(self.first(x)))))))


class Tied(nn.Module):
    """An autoencoder whose decoder is the encoder's transpose."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.decoder.weight = self.encoder.weight

    def forward(self, x):
        return self.decoder(torch.tanh(self.encoder(x)))


def exact(model, loss):
    """Gradient and Hessian by torch's plain double backward pass on a copy."""
    model = copy.deepcopy(model)
    params = list(model.parameters())
    flat = lambda parts: torch.cat([p.reshape(-1) for p in parts])  # noqa: E731
    g = flat(torch.autograd.grad(loss(model), params, create_graph=True))
    return g.detach(), torch.stack([flat(torch.autograd.grad(e, params, retain_graph=True)) for e in g])


@pytest.mark.parametrize("model", [Shared().double(), Shared(norm=True).double().eval()], ids=["linear", "with a norm"])
def test_a_module_of_two_names_is_measured_and_stays_the_users(model):
    """torch's functional_call leaves its replacement in such a module."""
    x, y = samples()
    own, values = list(model.parameters()), [p.detach().clone() for p in model.parameters()]
    net = Landscape.of(model, cross_entropy, (x, y))
    g, h = exact(model, lambda m: cross_entropy(m(x), y))
    torch.testing.assert_close(net.grad(net.w0), g)
    torch.testing.assert_close(dense(hessian_product(net, net.w0), net.w0), h)
    assert measures.top_eigenvalues(net, net.w0).item() == pytest.approx(torch.linalg.eigvalsh(h)[-1].item(), rel=1e-3)
    measures.gradient_noise(net, net.w0), measures.fisher_rao(net, net.w0)
    hessian_frobenius_penalty(model, cross_entropy, (x, y), probes=1).backward()
    gradient_noise_penalty(model, cross_entropy, (x, y)).backward()
    assert all(a is b and torch.equal(a, v) for a, b, v in zip(own, model.parameters(), values, strict=True))
    assert all(isinstance(p, nn.Parameter) and p.requires_grad and p.grad is not None for p in model.parameters())


def test_tied_weights_count_once():
    model, (x, _) = Tied().double(), samples()
    net = Landscape.of(model, mse_loss, (x, x))
    g, h = exact(model, lambda m: mse_loss(m(x), x))
    assert net.d == 16
    torch.testing.assert_close(net.grad(net.w0), g)
    torch.testing.assert_close(dense(hessian_product(net, net.w0), net.w0), h)


def test_a_loss_with_a_term_of_the_models_weights_moves_with_them():
    """Weight decay written into the loss: it has its gradient, its curvature, and its value away from w0."""
    torch.manual_seed(0)
    model, (x, y) = nn.Linear(4, 3).double(), samples()

    def loss(out, labels):
        return cross_entropy(out, labels) + 0.5 * sum(p.square().sum() for p in model.parameters())

    net, plain = Landscape.of(model, loss, (x, y)), Landscape.of(model, cross_entropy, (x, y))
    w = net.w0 + 0.3
    torch.testing.assert_close(net.loss(w), plain.loss(w) + w @ w / 2)
    torch.testing.assert_close(net.losses(w), plain.losses(w) + w @ w / 2)
    torch.testing.assert_close(net.grad(w), plain.grad(w) + w)
    torch.testing.assert_close(net.per_sample_grads(w), plain.per_sample_grads(w) + w)
    torch.testing.assert_close(net.hvp(w, w), plain.hvp(w, w) + w)
    trace = measures.hessian_trace(net, w, samples=400)
    exact_part = measures.hessian_trace(plain, w).value
    assert trace.value == pytest.approx(exact_part + net.d, abs=4 * trace.stderr) and trace.stderr < net.d / 50


def test_a_choice_of_parameters_leaves_no_graph_behind():
    model, (x, y) = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)).double(), samples()
    for choice in (["0.weight"], "0.weight", model[0].weight):
        net = Landscape.of(model, cross_entropy, (x, y), params=choice)
        assert net.d == 16
        for found in (net.loss(net.w0), net.grad(net.w0), net.per_sample_grads(net.w0), net.hvp(net.w0, net.w0)):
            assert not found.requires_grad
    with pytest.raises(ValueError, match="params must be parameters of the model or their names"):
        Landscape.of(model, cross_entropy, (x, y), params=len)


class Bounded(nn.Linear):
    def __init__(self, how):
        super().__init__(4, 4)
        self.how = how

    def forward(self, x):
        scaled = torch.renorm(self.weight.detach(), 2, 0, 0.1)
        if self.how == "replaced":
            self.weight.data = scaled
        else:
            self.weight.data.copy_(scaled)
        return super().forward(x)


@pytest.mark.parametrize("how", ["replaced", "written"])
def test_a_forward_pass_that_writes_to_the_weights_is_refused_and_they_stay(how):
    model, (x, y) = nn.Sequential(Bounded(how), nn.Tanh(), nn.Linear(4, 3)).double(), samples()
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(ValueError, match="the forward pass writes to the weights"):
        Landscape.of(model, cross_entropy, (x, y))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("bound", [0.5, 100.0], ids=["that acts", "that acts far out"])
def test_an_embedding_with_a_max_norm_is_refused(bound):
    model = nn.Sequential(nn.Embedding(9, 4, max_norm=bound), nn.Linear(4, 3))
    with pytest.raises(ValueError, match="the forward pass writes to the weights"):
        Landscape.of(model, cross_entropy, (torch.arange(9), torch.arange(9) % 3))


@pytest.mark.parametrize("labels", [torch.zeros(12, 1).long(), torch.zeros(12, 3).long()], ids=["(n, 1)", "whole one-hot"])
def test_what_the_loss_refuses_is_said_by_the_loss(labels):
    """And not by the check of derivatives, which would look for the fault in the model."""
    net = Landscape.of(nn.Linear(4, 3).double(), cross_entropy, (samples()[0], labels))
    with pytest.raises(Exception) as plain:
        cross_entropy(net.model(net.x), labels)
    for measure in (lambda: net.grad(net.w0), lambda: measures.top_eigenvalues(net, net.w0)):
        with pytest.raises(type(plain.value)) as said:
            measure()
        assert str(said.value) == str(plain.value)


def test_a_loss_that_is_cut_off_from_the_weights_is_refused_rather_than_flat():
    net = Landscape.of(nn.Linear(4, 3).double(), lambda out, y: cross_entropy(out.detach(), y), samples())
    for measure in (net.grad, net.per_sample_grads, *(lambda w, f=f: f(net, w) for f in MEASURED)):
        with pytest.raises(Refused, match="is not the derivative of its"):
            measure(net.w0)
    dead = Landscape.of(nn.Linear(4, 3).double(), lambda out, y: 0.0 * out.sum() + 1.0, samples())
    assert not dead.grad(dead.w0).any(), "a loss that is flat has the gradient 0"


MEASURED = [measures.hessian_trace, measures.gradient_noise, measures.fisher_rao, measures.sam_sharpness]
MEASURED += [measures.top_eigenvalues]
