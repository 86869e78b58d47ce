"""The penalties against the full Hessian and the exact covariance, their gradients by finite differences."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout, mse_loss

from flatlab.penalties import gradient_noise_penalty, hessian_frobenius_penalty

DOUBLE = torch.float64


def tiny(*middle):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), *(middle or (nn.Tanh(),)), nn.Linear(3, 2)).double()


def batch(n=6):
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, 2, generator=g, dtype=DOUBLE), torch.randint(2, (n,), generator=g)


def flat(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def put(model, w):
    nn.utils.vector_to_parameters(w, list(model.parameters()))


def loss_at(model, data):
    def loss(w):
        parts = w.split([p.numel() for p in model.parameters()])
        named = {name: v.view(p.shape) for (name, p), v in zip(model.named_parameters(), parts, strict=True)}
        return cross_entropy(torch.func.functional_call(model, named, (data[0],)), data[1])

    return loss


def trace_of_square(model, data):
    h = torch.autograd.functional.hessian(loss_at(model, data), flat(model))
    return (h * h).sum()


def noise(model, data, w=None):
    """`(n, d)`: the gradients, one at a time."""
    x, y = data
    w = flat(model) if w is None else w
    gradient = torch.func.grad
    return torch.stack([gradient(loss_at(model, (x[i : i + 1], y[i : i + 1])))(w) for i in range(len(x))])


def numerical_gradient(f, model, h=1e-5):
    w, out = flat(model), []
    for e in torch.eye(len(w), dtype=DOUBLE):
        values = []
        for sign in (1, -1):
            put(model, w + sign * h * e)
            values.append(float(f().detach()))
        out.append((values[0] - values[1]) / (2 * h))
    put(model, w)
    return torch.tensor(out, dtype=DOUBLE)


def gradient_of(penalty, model):
    model.zero_grad()
    penalty.backward()
    return torch.cat([p.grad.reshape(-1) for p in model.parameters()])


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
def test_fa_is_the_squared_frobenius_norm_of_the_hessian_over_the_batch_size(distribution):
    model, data = tiny(), batch()
    generator = torch.Generator().manual_seed(2)
    options = {"probes": 50, "distribution": distribution, "generator": generator}
    draws = [hessian_frobenius_penalty(model, cross_entropy, data, **options) for _ in range(80)]
    found = torch.stack(draws).detach()
    error = found.std() / math.sqrt(len(found))
    expected = trace_of_square(model, data) / 6
    assert abs(found.mean() - expected) < 4 * error and error < 0.05 * expected


def test_fa_is_exact_where_the_hessian_is_diagonal_and_probes_are_signs():
    weight = nn.Linear(4, 1, bias=False).double()
    x, y = torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=DOUBLE)), torch.zeros(4, 1, dtype=DOUBLE)
    penalty = hessian_frobenius_penalty(weight, mse_loss, (x, y), probes=1)
    assert penalty.item() == pytest.approx(sum((2 * k**2 / 4) ** 2 for k in (1, 2, 3, 4)) / 4, rel=1e-12)


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
def test_the_gradient_of_fa_is_that_of_its_estimate(distribution):
    model, data = tiny(), batch()

    def penalty():
        g = torch.Generator().manual_seed(3)
        return hessian_frobenius_penalty(model, cross_entropy, data, probes=3, distribution=distribution, generator=g)

    torch.testing.assert_close(gradient_of(penalty(), model), numerical_gradient(penalty, model), rtol=1e-6, atol=1e-9)


class Lean(torch.autograd.Function):
    """`z^2` with the right slope, whose own derivative is 95% of what it should be."""

    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z.square()

    @staticmethod
    def backward(ctx, g):
        (z,) = ctx.saved_tensors
        return g * (1.9 * z + 0.1 * z.detach())


def test_where_memory_runs_out_in_the_proof_it_is_not_repeated_in_another_precision():
    model, calls = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), []

    def loss_fn(outputs, y):
        calls.append(outputs.dtype)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        hessian_frobenius_penalty(model, loss_fn, (torch.randn(6, 3), torch.arange(6) % 2))
    assert calls == [torch.float64]


def test_a_hessian_that_is_five_percent_off_is_refused_in_single_precision_too():
    """The proof runs in float64, where differences are sharp, whatever the model runs in."""

    class Model(nn.Linear):
        def forward(self, x):
            return Lean.apply(super().forward(x))

    torch.manual_seed(0)
    model, x = Model(2, 1, bias=False), torch.randn(6, 2)
    with pytest.raises(ValueError, match="the Hessian product of this model is not the derivative of its gradient"):
        hessian_frobenius_penalty(model, lambda out, y: out.mean(), (x, torch.zeros(6)))


def test_the_probes_of_fa_are_signs_and_both_as_likely():
    from flatlab.penalties import _probe

    v = _probe(torch.empty(101, 37), 5, "rademacher", torch.Generator().manual_seed(4))
    assert v.shape == (5, 101, 37) and torch.equal(v.abs(), torch.ones_like(v))
    assert abs(v.mean()) < 4 / math.sqrt(v.numel())
    assert not torch.equal(v[0], v[1])


def test_the_gaussian_probes_of_fa_are_no_signs():
    from flatlab.penalties import _probe

    v = _probe(torch.empty(101, 37), 5, "gaussian", torch.Generator().manual_seed(4))
    assert v.shape == (5, 101, 37) and abs(v.mean()) < 4 / math.sqrt(v.numel())
    moments = [v.square().mean().item(), v.pow(4).mean().item()]
    assert moments == pytest.approx([1.0, 3.0], rel=0.1)  # of signs both are 1


@pytest.mark.parametrize("numbers", [1, 7, 8, 9, 64])
def test_a_probe_of_signs_takes_a_byte_for_eight(numbers):
    weight, (x, y) = nn.Linear(numbers, 1, bias=False), batch()
    x = x[:, :1].float().expand(-1, numbers)
    ours, other = (torch.Generator().manual_seed(6) for _ in range(2))
    hessian_frobenius_penalty(weight, mse_loss, (x, y[:, None].float()), probes=1, generator=ours)
    torch.randint(256, (math.ceil(numbers / 8),), dtype=torch.uint8, generator=other)
    assert torch.equal(ours.get_state(), other.get_state())


def test_fa_comes_every_mth_step_and_is_zero_between():
    model, data = tiny(), batch()
    values = [hessian_frobenius_penalty(model, cross_entropy, data, step=step, every=3) for step in range(6)]
    assert [v.item() > 0 for v in values] == [True, False, False] * 2


def test_fa_switches_dropout_off_and_leaves_modes_and_norm_statistics():
    class Functional(nn.Module):
        def forward(self, x):
            return dropout(x, 0.5, self.training)

    model, data = tiny(nn.BatchNorm1d(3), nn.Tanh(), nn.Dropout(0.5), Functional()), batch()
    twin = tiny(nn.BatchNorm1d(3), nn.Tanh())  # trains by the batch, as the penalty shall
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    values = []
    for net in (model, twin):
        g = torch.Generator().manual_seed(5)
        values.append(hessian_frobenius_penalty(net, cross_entropy, data, generator=g))
    assert torch.equal(*values) and torch.equal(state, torch.get_rng_state())
    assert all(m.training for m in model.modules()) and model[1].track_running_stats
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("penalty", [hessian_frobenius_penalty, gradient_noise_penalty])
def test_the_mode_of_the_model_comes_back_when_the_loss_raises(penalty):
    model = tiny(nn.InstanceNorm1d(3, track_running_stats=True), nn.Dropout())

    def broken(out, y):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        penalty(model, broken, batch())
    assert all(m.training for m in model.modules()) and model[1].track_running_stats


@pytest.mark.parametrize("penalty", [hessian_frobenius_penalty, gradient_noise_penalty])
def test_two_lines_put_it_into_a_training_loop_of_any_optimizer(penalty):
    for base in (torch.optim.SGD, torch.optim.AdamW):
        model, (x, y) = tiny(nn.Dropout(0.3), nn.Tanh()), batch()
        opt = base(model.parameters(), lr=0.05)
        for _ in range(3):
            opt.zero_grad()
            loss = cross_entropy(model(x), y)
            loss = loss + 0.1 * penalty(model, cross_entropy, (x, y))
            loss.backward()
            opt.step()
        assert all(torch.isfinite(p).all() for p in model.parameters())


def test_descending_along_each_penalty_alone_lowers_it():
    for penalty in (lambda m: trace_of_square(m, batch()), lambda m: noise(m, batch()).var(0).sum()):
        model = tiny()
        before = float(penalty(model))
        opt = torch.optim.SGD(model.parameters(), lr=0.02)
        for _ in range(20):
            opt.zero_grad()
            hessian_frobenius_penalty(model, cross_entropy, batch()).backward()
            gradient_noise_penalty(model, cross_entropy, batch()).backward()
            opt.step()
        assert float(penalty(model)) < 0.95 * before


def test_cov_is_the_trace_of_the_covariance_of_the_gradients():
    model, data = tiny(), batch()
    expected = noise(model, data).var(0, correction=0).sum()
    torch.testing.assert_close(gradient_noise_penalty(model, cross_entropy, data).detach(), expected)


@pytest.mark.parametrize("b", [1, 2, 3, 6])
def test_with_its_factor_cov_is_exactly_the_variance_of_a_minibatch_gradient(b):
    """Over all minibatches without replacement: no approximation."""
    model, data = tiny(), batch()
    gs = noise(model, data)
    means = torch.stack([gs[list(pick)].mean(0) for pick in itertools.combinations(range(6), b)])
    expected = (means - gs.mean(0)).square().sum(-1).mean()
    found = gradient_noise_penalty(model, cross_entropy, data, batch_size=b)
    torch.testing.assert_close(found.detach(), expected, rtol=1e-10, atol=1e-15)


def test_population_sets_the_size_of_the_whole_in_the_factor():
    model, data = tiny(), batch()
    plain = gradient_noise_penalty(model, cross_entropy, data)
    scaled = gradient_noise_penalty(model, cross_entropy, data, batch_size=10, population=50)
    torch.testing.assert_close(scaled, plain * (50 - 10) / (10 * 49))


def test_a_batch_of_one_sample_has_no_noise_and_a_population_is_no_smaller_than_the_data():
    model, data = nn.Linear(3, 2), (torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))
    one = tuple(t[:1] for t in data)
    assert gradient_noise_penalty(model, cross_entropy, one, batch_size=1).item() == 0.0
    with pytest.raises(ValueError, match="population must be at least the 4 samples of the data, got 2"):
        gradient_noise_penalty(model, cross_entropy, data, batch_size=2, population=2)


def test_the_gradient_of_cov_is_right():
    model, data = tiny(), batch()

    def penalty():
        return gradient_noise_penalty(model, cross_entropy, data, batch_size=2)

    torch.testing.assert_close(gradient_of(penalty(), model), numerical_gradient(penalty, model), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("penalty", [hessian_frobenius_penalty, gradient_noise_penalty])
def test_frozen_parameters_have_no_part_in_it(penalty):
    model, data = tiny(), batch()
    model[0].requires_grad_(False)
    value = penalty(model, cross_entropy, data)
    value.backward()
    assert model[0].weight.grad is None and model[2].weight.grad.abs().sum() > 0
    model[2].requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to train"):
        penalty(model, cross_entropy, data)


def test_a_loss_without_curvature_has_no_fa():
    model, (x, y) = nn.Linear(2, 1), batch()
    penalty = hessian_frobenius_penalty(model, lambda out, y: out.mean(), (x.float(), y))
    assert penalty.item() == 0


def test_without_gradients_a_penalty_is_a_number():
    model, data = tiny(), batch()
    with torch.no_grad():
        assert not hessian_frobenius_penalty(model, cross_entropy, data).requires_grad
        assert not gradient_noise_penalty(model, cross_entropy, data).requires_grad


def test_a_norm_layer_that_couples_samples_has_no_cov():
    model = tiny(nn.BatchNorm1d(3))
    with pytest.raises(ValueError, match=r"layer '1' \(BatchNorm1d\) is in train mode"):
        gradient_noise_penalty(model, cross_entropy, batch())
    model[1].eval()
    assert gradient_noise_penalty(model, cross_entropy, batch()) > 0


def test_what_makes_no_penalty_is_named():
    model, (x, y) = tiny(), batch()
    for name in ("probes", "every"):
        with pytest.raises(ValueError, match=f"{name} must be a whole number >= 1, got 0"):
            hessian_frobenius_penalty(model, cross_entropy, (x, y), **{name: 0})
    with pytest.raises(ValueError, match="distribution must be 'rademacher' or 'gaussian', got 'normal'"):
        hessian_frobenius_penalty(model, cross_entropy, (x, y), distribution="normal")
    with pytest.raises(ValueError, match="batch_size must be between 1 and the 6 samples, got 7"):
        gradient_noise_penalty(model, cross_entropy, (x, y), batch_size=7)
    for penalty in (hessian_frobenius_penalty, gradient_noise_penalty):
        with pytest.raises(ValueError, match="x has 6 samples and y has 5"):
            penalty(model, cross_entropy, (x, y[:5]))


class Pair(nn.Module):
    """Two inputs by name, and a statistic by hand that every pass moves."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 3)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, left, right):
        with torch.no_grad():
            self.seen += 1
        return torch.tanh(self.inner(torch.cat([left, right], 1)))


@pytest.mark.parametrize("penalty", [hessian_frobenius_penalty, gradient_noise_penalty])
def test_several_inputs_are_passed_on_and_buffers_of_any_kind_stay(penalty):
    torch.manual_seed(0)
    model, x, y = Pair().double(), torch.randn(6, 4, dtype=torch.float64), torch.arange(6) % 3
    plain = nn.Sequential(model.inner, nn.Tanh())
    found = []
    for net, data in ((model, {"left": x[:, :2], "right": x[:, 2:]}), (model, (x[:, :2], x[:, 2:])), (plain, x)):
        torch.manual_seed(1)
        found.append(penalty(net, nn.functional.cross_entropy, (data, y)).item())
    assert found[0] == pytest.approx(found[2]) and found[1] == pytest.approx(found[2])
    assert model.seen == 0
