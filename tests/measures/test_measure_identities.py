"""The papers' identities, each against a number worked out by hand or by enumeration."""

import itertools
import math

import pytest
import torch
from measured_problems import PROBLEMS, Problem, Quadratic, random, two_layers
from torch import nn
from torch.func import hessian
from torch.nn.functional import cross_entropy, mse_loss

from flatlab.landscape import Landscape
from flatlab.measures import (
    average_sharpness,
    feature_robustness,
    fisher_rao,
    gradient_noise,
    hessian_density,
    hessian_frobenius,
    hessian_nonuniformity,
    hessian_trace,
    local_average,
    local_oscillation,
    noise_energy,
    pac_bayes,
    relative_flatness,
    sam_sharpness,
    top_eigenvalues,
)
from flatlab.measures.ball import in_ball
from flatlab.measures.spectrum import largest_eigenvalues

SPECTRUM = [5.0, 2.0, 1.0, 0.5, -0.3, 0.1]


@pytest.fixture
def bowl():
    return Quadratic(SPECTRUM)


@pytest.fixture
def point():
    return random(6, seed=7)


# --- averages over perturbations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("antithetic", [False, True])
def test_the_local_average_of_a_quadratic_adds_rho2_trace_over_2_d_plus_2(bowl, point, antithetic):
    rho = 1.5
    found = local_average(bowl, point, rho, samples=20_000, antithetic=antithetic)
    expected = bowl.loss(point).item() + rho**2 / (2 * (6 + 2)) * sum(SPECTRUM)
    assert abs(found.value - expected) < 3 * found.stderr
    assert found.stderr < 0.05


def test_antithetic_pairs_remove_the_gradients_share_of_the_variance(bowl, point):
    plain, paired = (local_average(bowl, point, 0.1, 500, antithetic=a) for a in (False, True))
    assert paired.stderr < plain.stderr / 5


def test_points_fill_the_ball_uniformly():
    radii = in_ball(20_000, torch.zeros(3), 2.0, torch.Generator().manual_seed(0)).norm(dim=1) / 2
    for quantile in (0.1, 0.5, 0.9):  # the volume within r is r^3
        assert (radii <= quantile ** (1 / 3)).double().mean().item() == pytest.approx(quantile, abs=0.015)


def test_the_local_oscillation_of_a_parabola_is_its_closed_form():
    parabola, rho = Quadratic([3.0]), 0.7
    swing = local_oscillation(parabola, torch.zeros(1, dtype=torch.float64), rho, samples=20_000)
    expected = 3.0 * rho**2 * 2 / (9 * math.sqrt(3))  # E|u^2 - rho^2 / 3| by integration, times 3 / 2
    assert abs(swing.value - expected) < 3 * swing.stderr


def test_average_sharpness_of_a_quadratic_is_half_sigma2_trace(bowl, point):
    found = average_sharpness(bowl, point, sigma=0.8, samples=4000)
    assert abs(found.value - 0.32 * sum(SPECTRUM)) < 3 * found.stderr
    scaled = average_sharpness(bowl, point, sigma=0.8, samples=4000, adaptive=True)
    assert abs(scaled.value - 0.32 * (bowl.matrix.diagonal() * point**2).sum().item()) < 3 * scaled.stderr


def test_pac_bayes_is_trace_over_twice_the_target_and_sigma_a_standard_deviation(bowl, point):
    found = pac_bayes(bowl, point, target=0.25, samples=500)
    assert abs(found.value - sum(SPECTRUM) / 0.5) < 3 * found.stderr + 1e-3 * found.value
    assert found.stderr < 0.05 * found.value
    rise = average_sharpness(bowl, point, sigma=found.value**-0.5, samples=4000, seed=9)
    assert abs(rise.value - 0.25) < 4 * rise.stderr


class Steep(Landscape):
    """`w^8`, whose losses in a ball around 0 are far from symmetric about their mean."""

    d = 1

    def losses(self, w, batch=None):
        return w**8


BOWL, BOTTOM = Quadratic([3.0, 1.0]), torch.zeros(2, dtype=torch.float64)
ESTIMATES = {
    "pac_bayes": lambda seed: pac_bayes(BOWL, BOTTOM, target=0.25, samples=10, tol=1e-3, seed=seed),
    "local_oscillation": lambda seed: local_oscillation(Steep(), BOTTOM[:1], 1.0, samples=200, seed=seed),
    "local_average": lambda seed: local_average(Steep(), BOTTOM[:1], 1.0, samples=50, seed=seed),
    "average_sharpness": lambda seed: average_sharpness(BOWL, BOTTOM, sigma=0.8, samples=50, seed=seed),
    "hessian_trace": lambda seed: hessian_trace(BOWL, BOTTOM, samples=50, probes="gaussian", seed=seed),
}


@pytest.mark.parametrize("measure", ESTIMATES.values(), ids=ESTIMATES)
def test_the_standard_error_is_the_spread_of_the_value_over_seeds(measure):
    found = [measure(seed) for seed in range(80)]
    spread = torch.tensor([e.value for e in found]).std().item()
    told = sum(e.stderr for e in found) / len(found)
    assert told == pytest.approx(spread, rel=0.25)  # over 80 seeds the spread is known to 8%


# --- sharpness -----------------------------------------------------------------------------------------------------


def test_projected_ascent_from_a_minimum_finds_the_top_eigenvalue():
    bowl, rho = Quadratic([5.0, 2.0, 1.0]), 0.3
    bottom = torch.zeros(3, dtype=torch.float64)
    assert sam_sharpness(bowl, bottom, rho) == 0.0
    assert sam_sharpness(bowl, bottom, rho, steps=60, restarts=2) == pytest.approx(rho**2 / 2 * 5.0, rel=1e-3)


def test_more_ascent_never_falls_below_one_step_nor_rises_above_the_bound(bowl, point):
    rho, one = 0.5, sam_sharpness(bowl, point, 0.5)
    many = sam_sharpness(bowl, point, rho, steps=20)
    bound = rho * bowl.grad(point).norm().item() + rho**2 / 2 * max(SPECTRUM)
    assert one <= many <= bound


def test_adaptive_sharpness_ignores_the_scale_of_the_weights():
    class Scaled(Landscape):
        d = 3

        def __init__(self, scale):
            self.scale = scale

        def losses(self, w, batch=None):
            return ((w * self.scale - torch.tensor([0.5, -1.0, 2.0])) ** 2).sum(-1, keepdim=True)

    w, scale = random(3, seed=1), torch.tensor([0.1, 3.0, 20.0], dtype=torch.float64)
    for steps in (1, 5):
        plain, rescaled = (
            sam_sharpness(Scaled(s), w / s, 0.2, steps=steps, adaptive=True, eta=0.0)
            for s in (torch.ones(3, dtype=torch.float64), scale)
        )
        assert rescaled == pytest.approx(plain, rel=1e-9)


# --- curvature -----------------------------------------------------------------------------------------------------


def test_the_mean_of_hv_squared_over_all_signs_is_the_trace_of_h_squared(bowl, point):
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=6)), dtype=torch.float64)
    squares = bowl.hvp(point, signs).square().sum(1)
    assert squares.mean().item() == pytest.approx(sum(x * x for x in SPECTRUM))
    for probes in ("rademacher", "gaussian"):
        found = hessian_frobenius(bowl, point, samples=2000, probes=probes, deflate=0)
        assert abs(found.value - sum(x * x for x in SPECTRUM)) < 3 * found.stderr


def test_deflation_is_unbiased_and_sharpens_a_spectrum_with_outliers():
    # One Lanczos space holds what is far from the bulk; the remainder has the bulk's spread only.
    spectrum = [100.0, 60.0, 30.0] + torch.linspace(-1, 1, 37).tolist()
    bowl, w = Quadratic(spectrum), torch.zeros(40, dtype=torch.float64)
    plain = hessian_trace(bowl, w, samples=200, deflate=0)
    sharp = [hessian_trace(bowl, w, samples=200, deflate=10, seed=s) for s in range(20)]
    assert sharp[0].stderr < plain.stderr / 5
    scores = [(e.value - 190.0) / e.stderr for e in sharp]
    assert abs(sum(scores) / len(scores)) < 3 / math.sqrt(len(scores))


def test_top_eigenvalues_and_vectors_of_a_known_spectrum():
    spectrum = torch.linspace(-3, 2, 97).tolist() + [4.0, 5.0, 7.0]
    bowl, w = Quadratic(spectrum), random(100, seed=3)
    values, vectors = top_eigenvalues(bowl, w, k=3, tol=1e-8, vectors=True)
    torch.testing.assert_close(values, torch.tensor([7.0, 5.0, 4.0], dtype=torch.float64), rtol=1e-6, atol=0)
    torch.testing.assert_close(vectors @ bowl.matrix, values[:, None] * vectors, rtol=0, atol=1e-3)
    assert top_eigenvalues(bowl, w, tol=0.01).item() == pytest.approx(7.0, abs=0.07)


def test_repeated_eigenvalues_are_found_where_the_krylov_space_closes():
    diagonal = torch.tensor([3.0] * 4 + [1.0] * 96, dtype=torch.float64)
    values, _ = largest_eigenvalues(lambda v: diagonal * v, diagonal, k=6)
    assert values[0] == pytest.approx(3.0) and values[-1] >= 1.0 - 1e-9
    flat, _ = largest_eigenvalues(torch.zeros_like, diagonal, k=2)
    assert flat.tolist() == [0.0, 0.0]


def test_the_spectral_density_has_the_moments_of_the_spectrum_and_integrates_to_one():
    spectrum = torch.linspace(-1, 3, 80, dtype=torch.float64)
    density = hessian_density(Quadratic(spectrum.tolist()), torch.zeros(80, dtype=torch.float64), steps=20, probes=30)
    for power in (1, 2, 5):
        found = density.trace(lambda x, p=power: x**p)
        assert abs(found.value - (spectrum**power).sum().item()) < 3 * found.stderr
    grid = torch.linspace(-4, 6, 1001, dtype=torch.float64)
    mean, stderr = density.density(grid, width=0.2)
    assert torch.trapezoid(mean, grid).item() == pytest.approx(1.0, abs=1e-6)
    inside = mean[(grid > 0) & (grid < 2)]
    assert (inside - 0.25).abs().max() < 0.1 and (stderr >= 0).all()


def test_the_trace_of_a_relu_network_is_exact_and_of_a_smooth_one_sampled():
    torch.manual_seed(0)
    x, y = random(7, 1, 8, 8, seed=1), torch.arange(7) % 3

    def net(activation):
        layers = nn.Conv2d(1, 2, 3, padding=1), activation, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 3)
        return Landscape.of(nn.Sequential(*layers).double(), cross_entropy, (x, y))

    relu, tanh = net(nn.ReLU()), net(nn.Tanh())
    found = hessian_trace(relu, relu.w0)
    assert found.stderr == 0.0
    assert found.value == pytest.approx(hessian(relu.loss)(relu.w0).trace().item(), rel=1e-10)
    sampled = hessian_trace(tanh, tanh.w0, samples=300)
    assert sampled.stderr > 0
    assert abs(sampled.value - hessian(tanh.loss)(tanh.w0).trace().item()) < 3 * sampled.stderr


# --- gradient noise ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["least squares", "two-layer tanh network"])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
def test_noise_is_the_covariance_of_all_minibatches_without_replacement(name, batch_size):
    problem = PROBLEMS[name]()
    net, w = problem.landscape, problem.w
    batches = itertools.combinations(range(net.n), batch_size)
    means = torch.stack([problem.gradients[list(b)].mean(0) for b in batches])
    covariance = torch.cov(means.T, correction=0)
    v = random(len(w), seed=8)
    assert gradient_noise(net, w, batch_size) == pytest.approx(covariance.trace().item(), rel=1e-9, abs=1e-15)
    assert noise_energy(net, w, v, batch_size) == pytest.approx((v @ covariance @ v).item(), rel=1e-9, abs=1e-15)


def test_noise_energies_along_an_orthonormal_basis_add_up_to_the_noise():
    problem = PROBLEMS["logistic regression"]()
    energies = [noise_energy(problem.landscape, problem.w, e) for e in torch.eye(4, dtype=torch.float64)]
    assert sum(energies) == pytest.approx(gradient_noise(problem.landscape, problem.w))


def test_nonuniformity_takes_the_square_root():
    class Two(Landscape):
        d, n = 1, 2

        def losses(self, w, batch=None):
            c = torch.tensor([1.0, 7.0], dtype=torch.float64)
            return (c if batch is None else c[batch]) * w * w / 2

    assert hessian_nonuniformity(Two(), torch.zeros(1, dtype=torch.float64)) == pytest.approx(3.0)  # not 9


def test_nonuniformity_by_lanczos_is_that_of_the_full_matrix():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 2)).double()
    net = Landscape.of(model, cross_entropy, (random(5, 6, seed=1), torch.arange(5) % 2))
    assert net.d > 64
    hessians = Problem(net, net.w0).hessians
    sigma = (hessians @ hessians).mean(0) - hessians.mean(0) @ hessians.mean(0)
    expected = torch.linalg.eigvalsh(sigma)[-1].item() ** 0.5
    assert hessian_nonuniformity(net, net.w0, tol=1e-8, chunk=2) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_a_well_trained_network_of_saturated_samples_has_a_trace_in_single_precision(seed):
    """Where p is 1 but for 1e-13, the second derivative in the outputs is too small for a float32 eigensolver."""
    generator = torch.Generator().manual_seed(seed)
    net, x = nn.Sequential(nn.Linear(3, 10, bias=False)), torch.randn(200, 3, generator=generator)
    with torch.no_grad():
        net[0].weight.copy_(20 * torch.randn(10, 3, generator=generator))
        y, p = net(x).argmax(1), net(x).double().softmax(1)
    landscape = Landscape.of(net, cross_entropy, (x, y))
    expected = ((1 - p.square().sum(1)) * x.double().square().sum(1)).mean()  # sum_c p_c (1 - p_c) ||x||^2
    assert hessian_trace(landscape, landscape.w0).value == pytest.approx(expected.item(), rel=1e-4)


def test_fisher_rao_of_a_bias_free_relu_network_is_its_layers_times_the_output_form():
    model = two_layers(nn.ReLU, bias=False)
    x, y = random(9, 4, seed=1), torch.arange(9) % 3
    net = Landscape.of(model, cross_entropy, (x, y))
    outputs = model(x).detach().requires_grad_()
    (slope,) = torch.autograd.grad(cross_entropy(outputs, y, reduction="sum"), outputs)
    output_form = (slope * outputs).sum(1).square().mean().sqrt().item()
    assert fisher_rao(net, net.w0) == pytest.approx(2 * output_form)


# --- relative flatness ---------------------------------------------------------------------------------------------


def relu_network():
    model, y = two_layers(nn.ReLU), torch.arange(10) % 3
    return model, (random(10, 4, seed=4), y)


def rescaled(model, factor):
    """The same function with hidden neurons multiplied by `factor`, a number or one a neuron."""
    first, last = model[0], model[2]
    with torch.no_grad():
        first.weight *= torch.as_tensor(factor, dtype=torch.float64).reshape(-1, 1)
        first.bias *= factor
        last.weight /= factor
    return model


def test_relative_flatness_ignores_layerwise_rescaling_of_a_relu_network():
    model, data = relu_network()
    net = Landscape.of(model, cross_entropy, data)
    before = [relative_flatness(net, net.w0, layer) for layer in ("0", "2")]
    trace = hessian_trace(net, net.w0).value
    other = Landscape.of(rescaled(model, 3.0), cross_entropy, data)
    torch.testing.assert_close(other.loss(other.w0), net.loss(net.w0))
    assert [relative_flatness(other, other.w0, layer) for layer in ("0", "2")] == pytest.approx(before, rel=1e-10)
    assert abs(hessian_trace(other, other.w0).value / trace - 1) > 0.5


def test_relative_flatness_ignores_neuronwise_rescaling_once_normalized():
    model, data = relu_network()
    factor = torch.tensor([0.2, 1.0, 3.0, 7.0, 0.5], dtype=torch.float64)
    net = Landscape.of(model, cross_entropy, data)
    plain, normal = relative_flatness(net, net.w0), relative_flatness(net, net.w0, normalize=True)
    other = Landscape.of(rescaled(model, factor), cross_entropy, data)
    assert relative_flatness(other, other.w0, normalize=True) == pytest.approx(normal, rel=1e-10)
    assert abs(relative_flatness(other, other.w0) / plain - 1) > 0.1
    # With the variance in place of the standard deviation it would not be invariant.
    phi, moved = (torch.relu(m[0](data[0])).detach() for m in (two_layers(nn.ReLU), model))
    torch.testing.assert_close(moved.std(0) / phi.std(0), factor)


@pytest.mark.parametrize("outputs", [1, 3])
def test_relative_flatness_is_ridge_for_squared_loss(outputs):
    x, y = random(20, 4, seed=1), random(20, outputs, seed=2)
    net = Landscape.of(nn.Linear(4, outputs).double(), mse_loss, (x, y))
    weight = net.w0[: 4 * outputs]
    c = 2 * x.square().sum(1).mean().item() / outputs  # the mean over samples, and over outputs as mse_loss takes it
    assert relative_flatness(net, net.w0) == pytest.approx(c * weight.square().sum().item())


@pytest.mark.parametrize("loss_fn", [nn.CrossEntropyLoss(), lambda a, b: cross_entropy(a, b), cross_entropy])
@pytest.mark.parametrize(("layer", "start", "shape"), [("0", 0, (5, 4)), ("2", 25, (3, 5))])
def test_relative_flatness_of_any_layer_is_definition_3(loss_fn, layer, start, shape):
    model = two_layers()
    net = Landscape.of(model, loss_fn, (random(10, 4, seed=4), torch.arange(10) % 3))
    expected = Problem(net, net.w0, start, shape).kappa()
    assert relative_flatness(net, net.w0, layer) == pytest.approx(expected, rel=1e-9)
    assert relative_flatness(net, net.w0, layer, chunk=3) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_label_that_is_rare_and_weighs_more_is_seen_by_relative_flatness(dtype):
    """A mean over samples whose weight goes by the label: no closed form, which samples of the other label would allow."""
    weight, y = torch.tensor([1.0, 20.0], dtype=dtype), (torch.arange(200) % 20 == 7).long()
    x, model = random(200, 3, seed=1).to(dtype), nn.Linear(3, 2, bias=False).to(dtype)
    net = Landscape.of(model, lambda z, t: (weight[t] * cross_entropy(z, t, reduction="none")).mean(), (x, y))
    p, matrix = model(x).softmax(1), model.weight.detach()
    hessians = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    traces = torch.einsum("om,nok,km->n", matrix, hessians, matrix)
    expected = (weight[y] * x.square().sum(1) * traces).mean().item()
    assert relative_flatness(net, net.w0) == pytest.approx(expected, rel=1e-4)


def test_relative_flatness_takes_targets_in_a_tuple():
    x, y = random(30, 4, seed=1), torch.arange(30) % 3
    plain = Landscape.of(nn.Linear(4, 3).double(), cross_entropy, (x, y))
    more = Landscape.of(plain.model, lambda z, t: cross_entropy(z, t[0]), (x, (y, random(30, 2, seed=2))))
    assert relative_flatness(more, more.w0) == pytest.approx(relative_flatness(plain, plain.w0), rel=1e-9)


def test_relative_flatness_keeps_its_digits_where_the_softmax_is_saturated():
    model = nn.Linear(4, 3).double()
    x, y = random(30, 4, seed=1), torch.arange(30) % 3
    double = Landscape.of(model, cross_entropy, (x, y))
    w = 40 * double.w0
    single = Landscape.of(nn.Linear(4, 3), cross_entropy, (x.float(), y))
    assert relative_flatness(single, w.float()) == pytest.approx(relative_flatness(double, w), rel=1e-4)


@pytest.mark.parametrize("antithetic", [True, False])
def test_feature_robustness_is_delta2_over_2m_kappa_also_away_from_a_minimum(antithetic):
    net = Landscape.of(nn.Linear(4, 2).double(), mse_loss, (random(20, 4, seed=1), random(20, 2, seed=2)))
    assert net.grad(net.w0).norm() > 0.1
    delta = 0.5
    found = feature_robustness(net, net.w0, delta, samples=600, antithetic=antithetic)
    expected = delta**2 / (2 * 4) * relative_flatness(net, net.w0)
    assert abs(found.value - expected) < 3 * found.stderr + 1e-12


def test_feature_robustness_approaches_delta2_over_2m_kappa_for_cross_entropy():
    problem = PROBLEMS["two-layer tanh network"]()
    delta = 0.01
    found = feature_robustness(problem.landscape, problem.w, delta, samples=500)
    expected = delta**2 / (2 * 5) * relative_flatness(problem.landscape, problem.w)
    assert abs(found.value - expected) < 3 * found.stderr + 1e-3 * expected


def test_a_matrix_of_a_closed_form_landscape_has_the_flatness_of_its_shape():
    bowl, w = Quadratic(SPECTRUM), random(6, seed=2)
    expected = Problem(bowl, w, 0, (2, 3)).kappa()
    assert relative_flatness(bowl, w, shape=(2, 3)) == pytest.approx(expected)
    found = feature_robustness(bowl, w, 0.3, shape=(2, 3), samples=1000)
    assert abs(found.value - 0.09 / 6 * expected) < 3 * found.stderr


def test_the_layer_of_relative_flatness_is_the_one_whose_outputs_are_the_models_though_another_runs_after_it():
    class Muted(nn.Module):
        def __init__(self):
            super().__init__()
            self.main, self.late = nn.Linear(4, 3, bias=False), nn.Linear(4, 3, bias=False)

        def forward(self, x):
            z = self.main(x)
            return z + 0.0 * self.late(x)

    torch.manual_seed(0)
    net = Landscape.of(Muted().double(), cross_entropy, (random(12, 4, seed=1), torch.arange(12) % 3))
    found = relative_flatness(net, net.w0)
    assert found == relative_flatness(net, net.w0, layer="main") != relative_flatness(net, net.w0, layer="late")


@pytest.mark.parametrize("k", [1, 3])
def test_no_larger_eigenvalue_is_missed_where_few_are_not_zero(k):
    """Spectra of this kind, near those of small networks, often settle before the largest one has shown itself."""
    for seed in range(60):
        g = torch.Generator().manual_seed(1000 + seed)
        diagonal = torch.zeros(77)
        diagonal[:6] = torch.rand(6, generator=g)
        values, _ = largest_eigenvalues(lambda v, m=diagonal: m * v, diagonal, k=k, seed=seed)
        true = diagonal.sort(descending=True).values[:k]
        assert (values - true).abs().max() <= 1e-3 * true.max(), seed


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-8])
@pytest.mark.parametrize("k", [1, 2])
def test_lanczos_stops_soon_after_its_values_are_right(k, tol):
    """Against Rayleigh and Ritz on the same Krylov space, whose basis comes from a QR decomposition."""
    diagonal = torch.cat([torch.linspace(0, 1, 198, dtype=torch.float64), torch.tensor([2.0, 3.0], dtype=torch.float64)])
    steps = []
    largest_eigenvalues(lambda v: steps.append(v) or diagonal * v, diagonal, k=k, tol=tol)
    basis = steps[0][:, None]
    for needed in range(1, 60):
        found = torch.linalg.eigvalsh(basis.T @ (diagonal[:, None] * basis)).flip(0)[:k]
        if needed >= k and (diagonal.flip(0)[:k] - found).max() <= tol * 3:
            break
        basis = torch.linalg.qr(torch.cat([basis, diagonal[:, None] * basis[:, -1:]], 1))[0]
    assert needed <= len(steps) <= 2 * needed + 4


def test_lanczos_says_so_where_a_larger_eigenvalue_may_be_hidden():
    """The start has next to nothing of it: what has been found is sharp to many digits, and not the largest."""
    hidden = torch.linspace(0.0, 1.0, 4000, dtype=torch.float64)
    with pytest.warns(RuntimeWarning, match="a larger eigenvalue may have been missed"):
        largest_eigenvalues(lambda v: hidden * v, hidden, tol=0.3, max_steps=4)
