"""One body puts every measure through every problem, against full Hessians and per-sample gradients."""

import inspect
import math

import pytest
import torch
from measured_problems import PROBLEMS, LinearModel, Problem, linear_network, linear_toy, random, two_layers
from torch.nn.functional import cross_entropy

from flatlab import measures
from flatlab.landscape import Landscape
from flatlab.measures import Estimate
from flatlab.rules import unit

SMALL = 1e-3  # a radius at which third and higher orders are far below the sampling error


def mean_size_in_ball(d):
    """E|u_1| for u uniform in the unit ball of dimension d."""
    return d / (d + 1) * math.exp(math.lgamma(d / 2) - math.lgamma((d + 1) / 2)) / math.sqrt(math.pi)


def covariance(p):
    return torch.cov(p.gradients.T, correction=0).reshape(p.d, p.d)


def nonuniformity(p):
    sigma = (p.hessians @ p.hessians).mean(0) - p.hessian @ p.hessian
    return max(0.0, torch.linalg.eigvalsh(sigma)[-1].item()) ** 0.5


def trace(p):
    return p.hessian.trace().item()


def one_step(p):
    loss = p.landscape.loss
    return (loss(p.w + 0.1 * unit(p.gradient)) - loss(p.w)).item()


def direction(p):
    return torch.linspace(-1, 1, p.d, dtype=torch.float64)


# name: (the call, the true value)
MEASURES = {
    "sam_sharpness": (lambda f, p: f(p.landscape, p.w, rho=0.1), one_step),
    "average_sharpness": (
        lambda f, p: f(p.landscape, p.w, sigma=SMALL, samples=400),
        lambda p: SMALL**2 / 2 * trace(p),
    ),
    "hessian_trace": (
        lambda f, p: f(p.landscape, p.w, samples=400, deflate=0, exact=False, layerwise=False),
        trace,
    ),
    "hessian_frobenius": (
        lambda f, p: f(p.landscape, p.w, samples=400, deflate=0),
        lambda p: p.hessian.square().sum().item(),
    ),
    "top_eigenvalues": (
        lambda f, p: f(p.landscape, p.w).item(),
        lambda p: torch.linalg.eigvalsh(p.hessian)[-1].item(),
    ),
    "hessian_density": (
        lambda f, p: f(p.landscape, p.w, probes=50).trace(torch.exp),
        lambda p: torch.linalg.eigvalsh(p.hessian).exp().sum().item(),
    ),
    "gradient_noise": (lambda f, p: f(p.landscape, p.w), lambda p: covariance(p).trace().item()),
    "noise_energy": (
        lambda f, p: f(p.landscape, p.w, direction(p)),
        lambda p: (direction(p) @ covariance(p) @ direction(p)).item(),
    ),
    "hessian_nonuniformity": (lambda f, p: f(p.landscape, p.w), nonuniformity),
    "relative_flatness": (lambda f, p: f(p.landscape, p.w), lambda p: p.kappa()),
    "feature_robustness": (
        lambda f, p: f(p.landscape, p.w, delta=SMALL, samples=200),
        lambda p: SMALL**2 / (2 * (p.shape or (1, p.d))[1]) * p.kappa(),
    ),
    "fisher_rao": (lambda f, p: f(p.landscape, p.w), lambda p: (p.gradients @ p.w).square().mean().sqrt().item()),
    "pac_bayes": (
        lambda f, p: f(p.landscape, p.w, target=SMALL**2, samples=60),
        lambda p: trace(p) / (2 * SMALL**2),
    ),
    "weight_norm": (lambda f, p: f(p.landscape, p.w), lambda p: p.w.norm().item()),
    "local_average": (
        lambda f, p: f(p.landscape, p.w, rho=SMALL, samples=400, antithetic=True),
        lambda p: p.landscape.loss(p.w).item() + SMALL**2 / (2 * (p.d + 2)) * trace(p),
    ),
    "local_oscillation": (
        lambda f, p: f(p.landscape, p.w, rho=SMALL),
        lambda p: SMALL * p.gradient.norm().item() * mean_size_in_ball(p.d),
    ),
}


def test_every_exported_measure_is_in_the_table():
    assert set(MEASURES) == set(measures.__all__) - {"Estimate", "SpectralDensity"}


QUICK = ("two-layer tanh network",)
PARAMS = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in PROBLEMS]


@pytest.fixture(scope="module", params=PARAMS)
def problem(request):
    return PROBLEMS[request.param]()


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_is_what_derivatives_say(problem, name):
    call, truth = MEASURES[name]
    found, expected = call(getattr(measures, name), problem), truth(problem)
    if isinstance(found, Estimate):
        assert math.isfinite(found.stderr) and found.samples > 1
        assert abs(found.value - expected) <= 4 * found.stderr + 2e-6 * abs(expected)
    else:
        assert isinstance(found, float)
        # A root of a difference that may be 0: rounding of 1e-16 in the squares is 1e-8 in it.
        floor = 1e-7 if name == "hessian_nonuniformity" else 1e-12
        assert found == pytest.approx(expected, rel=1e-6, abs=floor)


@pytest.mark.parametrize("logistic", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("name", MEASURES)
def test_a_toy_and_its_network_have_the_same_measure(name, logistic):
    call, measure = MEASURES[name][0], getattr(measures, name)
    toy, net = call(measure, linear_toy(logistic)), call(measure, linear_network(logistic))
    # The same seed draws the same probes; a loss minus a loss keeps nine digits at this radius.
    assert float(net) == pytest.approx(float(toy), rel=1e-6, abs=1e-13)


@pytest.mark.parametrize("name", MEASURES)
def test_a_seed_fixes_the_value_and_the_weights_stay(name):
    problem = linear_network(True)
    before = [p.detach().clone() for p in problem.landscape.model.parameters()]
    call, measure = MEASURES[name][0], getattr(measures, name)
    assert float(call(measure, problem)) == float(call(measure, problem))
    assert all(torch.equal(a, b) for a, b in zip(before, problem.landscape.model.parameters(), strict=True))


POWERS = dict.fromkeys(MEASURES, 1) | {"weight_norm": 0, "pac_bayes": 0}
POWERS |= {"hessian_frobenius": 2, "gradient_noise": 2, "noise_energy": 2}


class Times(LinearModel):
    """A linear model's loss, times `factor`."""

    def __init__(self, factor):
        self.factor = factor
        super().__init__(random(20, 70, seed=1), random(20, seed=2), logistic=False)

    def losses(self, w, batch=None):
        return self.factor * super().losses(w, batch)

    def grad(self, w, batch=None):
        return self.factor * super().grad(w, batch)

    def hvp(self, w, v, batch=None):
        return self.factor * super().hvp(w, v, batch)


def toy_times(factor):
    return Problem(Times(factor), random(70, seed=3))


def network_times(factor):
    data = random(10, 4, seed=4), torch.arange(10) % 3
    net = Landscape.of(two_layers(), lambda a, b: factor * cross_entropy(a, b), data)
    return Problem(net, net.w0, 25, (3, 5))


LAYERWISE = ["gradient_noise", "noise_energy", "fisher_rao", "relative_flatness"]
SIZED = [(name, toy_times) for name in MEASURES] + [(name, network_times) for name in LAYERWISE]


@pytest.mark.parametrize(("name", "make"), SIZED)
def test_a_loss_of_any_size_has_the_measure_that_its_unit_says(name, make):
    """No threshold within is a number of its own: a power of two changes no digit of the loss, nor of the measure."""
    call, measure = MEASURES[name][0], getattr(measures, name)
    if name == "pac_bayes":
        call = lambda f, p: f(p.landscape, p.w, target=SMALL * p.landscape.loss(p.w).item())  # noqa: E731
    if name == "hessian_density":
        call = lambda f, p: f(p.landscape, p.w, probes=5).trace(lambda x: x)  # noqa: E731
    few = {"samples": 5} if "samples" in inspect.signature(measure).parameters else {}
    one, *others = (
        float(call(lambda *a, **options: measure(*a, **options | few), make(factor))) for factor in (1.0, 2.0**-60, 2.0**60)
    )
    assert one > 0
    for sign, other in zip((-1, 1), others, strict=True):
        assert other / 2.0 ** (sign * 60 * POWERS[name]) == pytest.approx(one, rel=1e-6)


class Watched(LinearModel):
    """Keeps how many terms are asked for at a time."""

    def __init__(self):
        self.counts = []
        super().__init__(random(12, 4, seed=1), random(12, seed=2), logistic=False)

    def losses(self, w, batch=None):
        self.counts += [] if batch is None else [len(batch)]
        return super().losses(w, batch)

    def per_sample_grads(self, w, batch=None):
        self.counts.append(12 if batch is None else len(batch))
        return super().per_sample_grads(w, batch)


CHUNKED = [name for name in MEASURES if "chunk" in inspect.signature(getattr(measures, name)).parameters]


@pytest.mark.parametrize("chunk", [1, 5, 12, 100])
@pytest.mark.parametrize("name", CHUNKED)
def test_a_chunk_bounds_the_terms_at_a_time_and_changes_no_value(name, chunk):
    call, measure, seen = MEASURES[name][0], getattr(measures, name), Watched()
    found = call(lambda *a: measure(*a, chunk=chunk), Problem(seen, random(4, seed=3)))
    assert found == pytest.approx(call(measure, linear_toy(False)), rel=1e-12)
    if name in ("gradient_noise", "noise_energy", "fisher_rao"):
        assert max(seen.counts) == min(chunk, 12)


EXACT = ["sam_sharpness", "top_eigenvalues", "gradient_noise", "hessian_nonuniformity", "relative_flatness"]
EXACT += ["fisher_rao", "weight_norm"]


@pytest.mark.parametrize("name", EXACT)
def test_float32_agrees_with_float64(name):
    call, measure = MEASURES[name][0], getattr(measures, name)
    single, double = linear_toy(True), linear_toy(True)
    single.landscape.x, single.landscape.y = single.landscape.x.float(), single.landscape.y.float()
    single.w = single.w.float()
    assert call(measure, single) == pytest.approx(call(measure, double), rel=1e-4)
