"""Second derivatives are right, or differences, or refused: never wrong without a word."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from flatlab import measures
from flatlab.landscape import Landscape
from flatlab.landscape.curvature import Refused
from flatlab.measures.hessian_product import hessian_product
from flatlab.penalties import hessian_frobenius_penalty

DOUBLE = torch.float64


def random(*shape, seed=0, dtype=DOUBLE):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def by_differences(net, w, batch=None):
    """The Hessian, from gradients by torch's plain backward pass in a copy of the model."""
    columns, h = [], 1e-6
    for e in torch.eye(net.d, dtype=DOUBLE):
        columns.append((net.slope(w + h * e, batch) - net.slope(w - h * e, batch)) / (2 * h))
    return torch.stack(columns)


class Chain(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.a, self.b, self.c, self.body = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3), body

    def inner(self, x):
        return torch.tanh(self.b(torch.tanh(self.a(x))))

    def forward(self, x):
        return self.c(self.body(self, x))


class OnceTanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x.tanh())
        return x.tanh()

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        return g * (1 - ctx.saved_tensors[0] ** 2)


class Flat(torch.autograd.Function):
    """A backward pass that forgets what it depends on: wrong in second order without an error."""

    @staticmethod
    def forward(ctx, x):
        ctx.slope = (1 - x.detach().tanh() ** 2).detach()
        return x.tanh()

    @staticmethod
    def backward(ctx, g):
        return g * ctx.slope


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, g):
        return g


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.qkv, self.c = nn.Linear(4, 6), nn.Linear(6, 18), nn.Linear(6, 3)

    def forward(self, x):
        q, k, v = self.qkv(self.a(x[:, None] * torch.arange(1, 4, dtype=x.dtype)[:, None])).chunk(3, -1)
        return self.c(F.scaled_dot_product_attention(q, k, v, is_causal=True).mean(1))


def normed():
    torch.manual_seed(0)
    first = nn.utils.parametrizations.weight_norm(nn.Linear(4, 6))
    return nn.Sequential(first, nn.Tanh(), nn.Linear(6, 3))


def chain(body):
    torch.manual_seed(0)
    return Chain(body)


RIGHT = {
    "attention": Attends,
    "attention by torch": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 2)), nn.TransformerEncoderLayer(2, 1, 4, batch_first=True), nn.Flatten(), nn.Linear(4, 3)
    ).eval(),
    "checkpoint": lambda: chain(lambda m, x: checkpoint(m.inner, x, use_reentrant=False)),
    "weight norm": normed,
    "differentiable once": lambda: chain(lambda m, x: OnceTanh.apply(m.a(x))),
    "a constant in backward": lambda: chain(lambda m, x: Flat.apply(m.a(x))),
    "a GRU": lambda: nn.Sequential(nn.Unflatten(1, (2, 2)), Last(nn.GRU(2, 3, batch_first=True))),
}


class Last(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)[0][:, -1]


def network(name, dtype=DOUBLE):
    torch.manual_seed(0)
    model = RIGHT[name]().to(dtype)
    return Landscape.of(model, cross_entropy, (random(12, 4, seed=1).to(dtype), torch.arange(12) % 3))


@pytest.mark.parametrize(
    "name", [n if n in ("attention", "weight norm") else pytest.param(n, marks=pytest.mark.slow) for n in RIGHT]
)
def test_products_of_every_kind_are_the_hessians(name):
    net = network(name)
    w = net.w0 + 0.2 * random(net.d, seed=2)
    truth, v = by_differences(net, w), random(net.d, seed=3)
    for product in (net.hvp(w, v), hessian_product(net, w)(v), net.hvp(w, torch.stack([v, 2 * v]))[0]):
        torch.testing.assert_close(product, truth @ v, rtol=1e-4, atol=1e-5)
    trace, top = truth.trace().item(), torch.linalg.eigvalsh((truth + truth.T) / 2)[-1].item()
    found = measures.hessian_trace(net, w, samples=100)
    assert abs(found.value - trace) < 4 * found.stderr + 1e-4 * abs(trace)
    assert measures.top_eigenvalues(net, w, tol=1e-6)[0].item() == pytest.approx(top, rel=1e-3)
    squares = measures.hessian_frobenius(net, w, samples=100)
    assert abs(squares.value - truth.square().sum().item()) < 4 * squares.stderr + 1e-4 * squares.value


def test_a_product_of_a_plain_network_is_a_backward_pass_alone():
    """A fault in the fast way hides behind a slower one that is right: here it shows, as forward passes."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).to(DOUBLE)
    net = Landscape.of(model, cross_entropy, (random(12, 4, seed=1), torch.arange(12) % 3))
    passes = []
    model[0].register_forward_hook(lambda *_: passes.append(1))
    product = net.hessian_product(net.w0)
    before = len(passes)
    assert before > 0
    for seed in (2, 3):
        v = random(net.d, seed=seed)
        torch.testing.assert_close(product(v), by_differences(net, net.w0) @ v, rtol=1e-4, atol=1e-5)
        passes[:] = passes[:before]  # what the truth has taken does not count
        product(v)
        assert len(passes) == before


@pytest.mark.parametrize("name", RIGHT)
def test_first_derivatives_of_single_samples_are_right_wherever_the_weights_are(name):
    net = network(name)
    w, v = net.w0 + 0.2 * random(net.d, seed=2), random(net.d, seed=3)
    gradients = torch.stack([net.slope(w, i[None]) for i in torch.arange(12)])
    torch.testing.assert_close(net.grad(w), gradients.mean(0))
    torch.testing.assert_close(net.per_sample_grads(w), gradients)
    assert measures.gradient_noise(net, w) == pytest.approx(torch.cov(gradients.T, correction=0).trace().item(), rel=1e-6)
    assert measures.fisher_rao(net, w) == pytest.approx((gradients @ w).square().mean().sqrt().item(), rel=1e-6)
    assert measures.noise_energy(net, w, v) == pytest.approx((gradients @ v).var(correction=0).item(), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["attention", "weight norm", "differentiable once"])
def test_nonuniformity_is_that_of_the_single_hessians(name):
    net = network(name)
    w = net.w0 + 0.2 * random(net.d, seed=2)
    each = torch.stack([by_differences(net, w, i[None]) for i in torch.arange(12)])
    sigma = (each @ each).mean(0) - each.mean(0) @ each.mean(0)
    expected = torch.linalg.eigvalsh((sigma + sigma.T) / 2)[-1].sqrt().item()
    assert measures.hessian_nonuniformity(net, w, tol=1e-4) == pytest.approx(expected, rel=1e-3)


def test_single_precision_is_proved_in_double():
    net = network("weight norm", torch.float32)
    double = network("weight norm")
    w, v = net.w0 + 0.2 * random(net.d, seed=2).float(), random(net.d, seed=3)
    truth = by_differences(double, w.double()) @ v
    torch.testing.assert_close(net.hvp(w, v.float()), truth.float(), rtol=1e-4, atol=1e-5)


WRONG = {
    "a reentrant checkpoint": lambda m, x: checkpoint(m.inner, x, use_reentrant=True),
    "a straight-through estimator": lambda m, x: Straight.apply(m.a(x)),
    "a detach": lambda m, x: m.inner(x) * m.inner(x).detach().sigmoid(),
}


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("name", WRONG)
def test_what_has_no_derivative_is_refused_in_one_line(name):
    net = Landscape.of(chain(WRONG[name]).double(), cross_entropy, (random(12, 4, seed=1), torch.arange(12) % 3))
    second = [net.hvp, lambda w, v: hessian_product(net, w)(v), lambda w, v: measures.hessian_trace(net, w, samples=3)]
    for f in (*second, lambda w, v: measures.top_eigenvalues(net, w)):
        with pytest.raises(Refused, match="of this model is not the derivative of its") as error:
            f(net.w0, net.w0)
        assert "\n" not in str(error.value)
    assert torch.isfinite(net.loss(net.w0))


def test_a_loss_that_goes_through_single_precision_is_proved_with_longer_steps():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 60), nn.ReLU(), nn.Linear(60, 3)).double()
    data = random(12, 4, seed=1), torch.arange(12) % 3
    net = Landscape.of(model, lambda z, y: cross_entropy(z.float(), y), data)
    assert torch.isfinite(net.hvp(net.w0, net.w0)).all()
    assert hessian_frobenius_penalty(model, lambda z, y: cross_entropy(z.float(), y), data).item() > 0


class Padded(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.c = nn.Embedding(11, 6, padding_idx=0), nn.Linear(6, 3)

    def forward(self, x):
        return self.c(torch.tanh(self.words(x)).mean(1))


def test_a_padding_row_that_is_held_still_on_purpose_is_no_mistake():
    torch.manual_seed(0)
    model, x, y = Padded().double(), torch.arange(60).view(12, 5) % 11, torch.arange(12) % 3
    net = Landscape.of(model, cross_entropy, (x, y))
    free = (net.grad(net.w0) != 0).nonzero()[:, 0]
    found = torch.stack([net.hvp(net.w0, e) for e in torch.eye(net.d, dtype=DOUBLE)])
    truth = by_differences(net, net.w0)
    torch.testing.assert_close(found[free][:, free], truth[free][:, free], rtol=1e-4, atol=1e-6)
    assert not found[:6].any() and not found[:, :6].any()
    assert hessian_frobenius_penalty(model, cross_entropy, (x, y), probes=2).item() > 0


class InSingle(nn.Module):
    """Fused for float32 alone, so that nothing can be proved in double, and no differences are good enough."""

    def __init__(self, function):
        super().__init__()
        self.a, self.c, self.function = nn.Linear(4, 6), nn.Linear(6, 3), function

    def forward(self, x):
        if x.dtype != torch.float32:
            raise RuntimeError("float32 only")
        return self.c(self.function(self.a(x)))


@pytest.mark.parametrize("activation", [torch.tanh, torch.relu, F.gelu])
def test_a_model_of_one_precision_is_proved_in_it(activation):
    torch.manual_seed(0)
    net = Landscape.of(InSingle(activation), cross_entropy, (random(12, 4, seed=1).float(), torch.arange(12) % 3))
    assert torch.isfinite(net.hvp(net.w0, net.w0)).all()


@pytest.mark.parametrize("function", [OnceTanh.apply, Flat.apply])
def test_a_model_of_one_precision_that_is_wrong_is_refused(function):
    torch.manual_seed(0)
    net = Landscape.of(InSingle(function), cross_entropy, (random(12, 4, seed=1).float(), torch.arange(12) % 3))
    with pytest.raises(Refused, match="the Hessian product of this model"):
        net.hvp(net.w0, net.w0)


def test_a_product_within_a_transform_of_torch_is_not_proved_and_does_not_spoil_the_proof():
    net = network("differentiable once")
    plain = Landscape.of(chain(lambda m, x: torch.tanh(m.a(x))).double(), cross_entropy, (net.x, net.y))
    w, v = plain.w0, random(plain.d, seed=3)
    jacobian = torch.func.jacrev(lambda u: plain.hvp(w, u))(v)
    torch.testing.assert_close(jacobian @ v, plain.hvp(w, v))
    torch.testing.assert_close(plain.hvp(w, v), by_differences(plain, w) @ v, rtol=1e-4, atol=1e-5)
    assert plain._kind("mapped") == "mapped"


def test_the_proof_is_made_once():
    net, calls = network("attention"), []
    net.hvp(net.w0, net.w0)
    net.model.register_forward_hook(lambda *_: calls.append(1))
    net.hvp(net.w0, net.w0)
    assert len(calls) == 1


class Scaled(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.head, self.body, self.aux, self.how = nn.Linear(6, 3), nn.Linear(4, 6), nn.Linear(6, 3), how

    def forward(self, x):
        hidden = torch.relu(self.body(x))
        z = self.head(hidden)
        if self.how == "in place":
            z /= 0.2
        elif self.how == "out of place":
            z = z / 0.2
        elif self.how == "masked":
            z[:, 0] = -1e4
        elif self.how == "unused":
            self.aux(hidden)
        return z


@pytest.mark.parametrize("how", ["plain", "in place", "out of place", "masked", "unused"])
def test_relative_flatness_is_of_the_logits_layer_whatever_comes_after_it(how):
    torch.manual_seed(0)
    net = Landscape.of(Scaled(how).double(), cross_entropy, (random(12, 4, seed=1), torch.arange(12) % 3))
    w, rows = net.w0, net.named(net.w0)["head.weight"]
    block = by_differences(net, w)[:18, :18].view(3, 6, 3, 6)
    expected = sum(rows[s] @ rows[t] * block[s, :, t].trace() for s in range(3) for t in range(3)).item()
    assert measures.relative_flatness(net, w) == pytest.approx(expected, rel=1e-5)
    assert measures.relative_flatness(net, w, "head") == pytest.approx(expected, rel=1e-5)
    robust = measures.feature_robustness(net, w, 1e-3, samples=400)
    assert abs(robust.value - 1e-6 / 12 * expected) < 4 * robust.stderr + 1e-3 * abs(robust.value)


def test_attention_has_penalties_and_a_wrong_second_derivative_has_none():
    x, y = random(12, 4, seed=1), torch.arange(12) % 3
    torch.manual_seed(0)
    model = Attends().double()
    net = Landscape.of(model, cross_entropy, (x, y))
    found = hessian_frobenius_penalty(model, cross_entropy, (x, y), probes=400, generator=torch.Generator().manual_seed(0))
    assert found.item() == pytest.approx(by_differences(net, net.w0).square().sum().item() / 12, rel=0.1)
    found.backward()
    for body in (lambda m, x: Flat.apply(m.a(x)), WRONG["a detach"]):
        with pytest.raises(Refused, match="the Hessian product of this model"):
            hessian_frobenius_penalty(chain(body).double(), cross_entropy, (x, y))


def trained(narrow, body=None):
    """A float64 network in the midst of training, whose loss goes through a lower precision, `narrow(outputs)`."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), body or nn.ReLU(), nn.Linear(16, 4)).double()
    x = random(64, 6)
    data = x, x[:, :4].argmax(1)
    opt = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    for _ in range(100):
        opt.zero_grad()
        cross_entropy(model(x), data[1]).backward()
        opt.step()
    return Landscape.of(model, lambda out, y: cross_entropy(narrow(out), y), data)


NARROWS = {
    "float()": lambda out: out.float(),
    "to(float32)": lambda out: out.to(torch.float32),
    "to(dtype=...)": lambda out: out.to(dtype=torch.float32),
    "type": lambda out: out.type(torch.float32),
    "type_as": lambda out: out.type_as(torch.zeros(1)),
}


@pytest.mark.parametrize("narrow", NARROWS.values(), ids=NARROWS.keys())
def test_a_loss_that_narrows_to_float32_is_proved_without_that(narrow):
    net, wide = trained(narrow), trained(lambda out: out)
    assert net.loss(net.w0).dtype == torch.float32, "the loss itself is the user's"
    v = random(net.d)
    torch.testing.assert_close(net.hvp(net.w0, v), wide.hvp(wide.w0, v), rtol=1e-4, atol=1e-5)
    assert measures.top_eigenvalues(net, net.w0)[0].item() == pytest.approx(
        measures.top_eigenvalues(wide, wide.w0)[0].item(), rel=2e-3
    )


class Forgets(nn.Module):
    def forward(self, x):
        return Flat.apply(x)


def test_a_wrong_double_backward_is_refused_under_a_narrow_loss_too():
    net = trained(lambda out: out.float(), Forgets())
    v = random(net.d)
    found = net.hvp(net.w0, v)  # by differences of gradients, which are right
    torch.testing.assert_close(found, trained(lambda out: out, nn.Tanh()).hvp(net.w0, v), rtol=1e-2, atol=1e-3)
    with pytest.raises(ValueError, match="is not the derivative"):
        hessian_frobenius_penalty(net.model, net.loss_fn, (net.x, net.y), probes=1)
