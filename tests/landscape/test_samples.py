"""Data of any form are taken, or refused in one line."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from flatlab import measures
from flatlab.landscape import Landscape

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 5


def model(inputs=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, 5))


@pytest.mark.parametrize("data", [
    (X.numpy(), Y.numpy()), (X.tolist(), Y.tolist()), [X, Y.tolist()], TensorDataset(X, Y),
    DataLoader(TensorDataset(X, Y), 8), DataLoader(TensorDataset(X, Y), 20), DataLoader(TensorDataset(X, Y), 33),
])  # fmt: skip
def test_arrays_lists_data_sets_and_loaders_are_the_tensors_they_hold(data):
    net, plain = Landscape.of(model(), cross_entropy, data), Landscape.of(model(), cross_entropy, (X, Y))
    assert net.n == 40
    torch.testing.assert_close(net.grad(net.w0), plain.grad(plain.w0))


class Joined(nn.Module):
    def __init__(self, dictionary=False):
        super().__init__()
        self.inner, self.dictionary = model(8), dictionary

    def forward(self, left, right, scale=1.0):
        return self.inner(torch.cat([left, right], 1) * scale)


class OfOne(Joined):
    def forward(self, pair):
        left, right = pair if isinstance(pair, tuple) else pair.values()
        return super().forward(left, right)


@pytest.mark.parametrize("make, x", [
    (Joined, (X, X)), (Joined, {"left": X, "right": X, "scale": 1.0}), (OfOne, (X, X)), (OfOne, {"a": X, "b": X}),
])  # fmt: skip
def test_several_inputs_go_where_the_models_forward_wants_them(make, x):
    net = Landscape.of(make(), cross_entropy, (x, Y))
    whole = Landscape.of(model(8), cross_entropy, (torch.cat([X, X], 1), Y))
    v = torch.ones(net.d)
    torch.testing.assert_close(net.hvp(net.w0, v), whole.hvp(whole.w0, v))
    torch.testing.assert_close(net.per_sample_grads(net.w0), whole.per_sample_grads(whole.w0))
    torch.testing.assert_close(net.loss(net.w0, torch.tensor([3, 5])), whole.loss(whole.w0, torch.tensor([3, 5])))
    assert measures.fisher_rao(net, net.w0) == pytest.approx(measures.fisher_rao(whole, whole.w0))
    assert measures.relative_flatness(net, net.w0) == pytest.approx(measures.relative_flatness(whole, whole.w0))


@dataclass
class Output:
    logits: torch.Tensor
    hidden: torch.Tensor


class Returns(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.inner, self.form = model(), form

    def forward(self, x):
        hidden = self.inner[:2](x)
        return self.form(self.inner[2](input=hidden), hidden)


FORMS = {
    "tuple": (lambda z, h: (z, h), lambda out: out[0]),
    "dict": (lambda z, h: {"logits": z, "hidden": h}, lambda out: out["logits"]),
    "dataclass": (Output, lambda out: out.logits),
}


@pytest.mark.parametrize("form", FORMS)
def test_outputs_of_any_form_have_every_measure(form):
    build, logits = FORMS[form]
    net = Landscape.of(Returns(build), lambda out, y: cross_entropy(logits(out), y), (X, Y))
    plain = Landscape.of(model(), cross_entropy, (X, Y))
    v = torch.ones(net.d)
    for name, extra in {"gradient_noise": (), "fisher_rao": (), "noise_energy": (v,), "relative_flatness": ()}.items():
        measure = getattr(measures, name)
        assert measure(net, net.w0, *extra) == pytest.approx(measure(plain, plain.w0, *extra), rel=1e-4), name
    torch.testing.assert_close(net.losses(net.w0), plain.losses(plain.w0))


BAD = [
    (lambda: (X, Y[:-1]), "x has 40 samples and y has 39; they must be equal"),
    (lambda: (X[:0], Y[:0]), "data holds no samples"),
    (lambda: (X.index_fill(0, torch.tensor([3]), float("nan")), Y), "x has a nan, the first in sample 3"),
    (lambda: ((X * 255).byte(), Y), r"does not run on these data: .* \(x is uint8"),
    (lambda: ({"ids": X, "mask": X}, Y), "does not run on these data: TypeError"),
    (lambda: ((X, X[:7]), Y), "the parts of x have different numbers of samples"),
    (lambda: (X, torch.tensor(3)), "y is a single number"),
    (lambda: X, "data must be a pair"),
    (lambda: [(X, Y)] * 3, "data must be a pair"),
    (lambda: DataLoader(X, 8), "a batch must be a pair"),
    (lambda: DataLoader([(torch.ones(k), 0) for k in (4, 5)]), "the batches of data cannot be joined"),
    (lambda: (X, ["cat"] * 40), "data must be tensors, arrays or lists of numbers|y holds no tensor"),
    (lambda: (X, object()), "data must be tensors, arrays or lists of numbers"),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_what_are_no_samples_is_said_in_one_line(number):
    data, message = BAD[number]
    taken = model()
    Landscape.of(taken, cross_entropy, (X, Y))  # a model that ran on other data is looked at again
    with pytest.raises(ValueError, match=message) as error:
        Landscape.of(taken, cross_entropy, data())
    assert "\n" not in str(error.value)


def test_a_model_without_weights_and_a_loss_that_is_no_number_are_refused():
    with pytest.raises(ValueError, match="Flatten has no parameters"):
        Landscape.of(nn.Flatten(), cross_entropy, (X, Y))
    net = Landscape.of(model(), nn.CrossEntropyLoss(reduction="none"), (X, Y))
    for f in (net.loss, net.grad, net.losses, lambda w: measures.hessian_trace(net, w)):
        with pytest.raises(ValueError, match="loss_fn must average to one number"):
            f(net.w0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_is_measured_in_single_precision(dtype):
    half = model().to(dtype)
    net, plain = (
        Landscape.of(half, cross_entropy, (X.to(dtype), Y)),
        Landscape.of(half.float(), cross_entropy, (X.to(dtype).float(), Y)),
    )
    assert net.w0.dtype == torch.float32
    for name in ("average_sharpness", "sam_sharpness", "top_eigenvalues", "relative_flatness"):
        measure = getattr(measures, name)
        assert float(measure(net, net.w0)) == pytest.approx(float(measure(plain, plain.w0)), rel=1e-4), name
        assert float(measure(net, net.w0.to(dtype))) == pytest.approx(float(measure(plain, plain.w0)), rel=1e-4), name


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(4, 8).bfloat16(), nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x):
        return self.b(self.norm(self.a(x.bfloat16()).float()))


def test_a_model_of_several_precisions_gets_each_weight_in_its_own():
    torch.manual_seed(0)
    mixed = Mixed()
    net = Landscape.of(mixed, cross_entropy, (X, Y))
    cross_entropy(mixed(X), Y).backward()
    torch.testing.assert_close(net.grad(net.w0), torch.cat([p.grad.float().reshape(-1) for p in mixed.parameters()]))


def test_weights_of_another_precision_are_named():
    net = Landscape.of(model(), cross_entropy, (X, Y))
    for f in (net.loss, net.grad, lambda w: measures.hessian_trace(net, w), lambda w: measures.fisher_rao(net, w)):
        with pytest.raises(
            ValueError, match="w is torch.float64 on cpu, and the weights of this network are torch.float32"
        ):
            f(net.w0.double())


def test_a_choice_of_parameters_leaves_the_rest_at_its_values():
    whole = model()
    full = Landscape.of(whole, cross_entropy, (X, Y))
    for params in (whole[2].parameters(), ["2.weight", "2.bias"], [whole[2].bias, whole[2].weight]):
        net = Landscape.of(whole, cross_entropy, (X, Y), params=params)
        assert net.d == 45 and torch.equal(net.w0, full.w0[-45:])
        torch.testing.assert_close(net.grad(net.w0), full.grad(full.w0)[-45:])
        torch.testing.assert_close(net.per_sample_grads(net.w0), full.per_sample_grads(full.w0)[:, -45:])
    block = torch.func.hessian(full.loss)(full.w0)[-45:, -45:]
    assert measures.hessian_trace(net, net.w0, exact=False, samples=200).value == pytest.approx(
        block.trace().item(), rel=0.05
    )
    assert measures.gradient_noise(net, net.w0) == pytest.approx(
        torch.cov(full.per_sample_grads(full.w0)[:, -45:].T, correction=0).trace().item(), rel=1e-4
    )
    assert measures.relative_flatness(net, net.w0) == pytest.approx(measures.relative_flatness(full, full.w0), rel=1e-5)
    for bad, said in (([], "at least one"), (["nobody"], "got 'nobody'"), ([torch.ones(3)], r"one of shape \(3,\)")):
        with pytest.raises(ValueError, match=said):
            Landscape.of(whole, cross_entropy, (X, Y), params=bad)


def test_a_proof_stands_under_autocast():
    net, plain = (Landscape.of(model(), cross_entropy, (X, Y)) for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        top = measures.top_eigenvalues(net, net.w0)
    torch.testing.assert_close(top, measures.top_eigenvalues(plain, plain.w0))


def test_measures_run_in_inference_mode_and_on_data_made_in_it():
    with torch.inference_mode():
        made = X + 0
    net, plain = Landscape.of(model(), cross_entropy, (made, Y)), Landscape.of(model(), cross_entropy, (X, Y))
    expected = measures.top_eigenvalues(plain, plain.w0)
    torch.testing.assert_close(measures.top_eigenvalues(net, net.w0), expected)
    with torch.inference_mode():
        torch.testing.assert_close(measures.top_eigenvalues(net, net.w0), expected)
        assert float(measures.hessian_trace(net, net.w0, samples=2)) == float(
            measures.hessian_trace(plain, plain.w0, samples=2)
        )


def test_numpy_numbers_of_a_generator_are_left_where_they_were():
    state = np.random.get_state
    before, here = state()[1].tolist(), torch.get_rng_state()
    Landscape.of(model(), cross_entropy, (X, Y))
    assert state()[1].tolist() == before and torch.equal(torch.get_rng_state(), here)
