"""Properties over drawn sizes, spectra, data types and arguments."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from measured_problems import Quadratic, random
from torch import nn
from torch.nn.functional import mse_loss

from flatlab import measures
from flatlab.landscape import Landscape
from flatlab.measures.noise import minibatch_factor

few = settings(max_examples=12, deadline=None, derandomize=True)
eigenvalues = st.lists(st.floats(0.1, 10), min_size=1, max_size=8)


@few
@given(eigenvalues, st.integers(0, 2**31))
def test_the_spectrum_of_any_bowl_is_found(spectrum, seed):
    bowl, w = Quadratic(spectrum, seed=seed % 100), random(len(spectrum), seed=seed)
    top = measures.top_eigenvalues(bowl, w, k=len(spectrum))
    torch.testing.assert_close(top, torch.tensor(sorted(spectrum, reverse=True), dtype=torch.float64))
    trace = measures.hessian_trace(bowl, w, samples=10, seed=seed)
    assert trace.value == pytest.approx(sum(spectrum)) and trace.stderr == 0.0  # d <= deflate
    density = measures.hessian_density(bowl, w, probes=3, seed=seed)
    torch.testing.assert_close(density.weights.sum(1), torch.ones(3, dtype=torch.float64))
    assert density.values.shape == (3, len(spectrum))


@pytest.mark.slow
@few
@given(
    st.integers(1, 7),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([torch.float32, torch.float64]),
    st.booleans(),
)
def test_every_measure_of_any_linear_network_is_finite_and_of_the_right_kind(n, inputs, outputs, dtype, bias):
    torch.manual_seed(n)
    x, y = torch.randn(n, inputs, dtype=dtype), torch.randn(n, outputs, dtype=dtype)
    net = Landscape.of(nn.Linear(inputs, outputs, bias=bias).to(dtype), mse_loss, (x, y))
    for name in set(measures.__all__) - {"Estimate", "SpectralDensity", "hessian_density", "top_eigenvalues"}:
        extra = {"rho": 0.1} if name.startswith("local") else {"v": net.w0} if name == "noise_energy" else {}
        found = getattr(measures, name)(net, net.w0, **extra)
        assert math.isfinite(float(found)) and isinstance(found, float | measures.Estimate)
        if isinstance(found, measures.Estimate):
            assert found.stderr >= 0 and isinstance(found.value, float) and isinstance(found.samples, int)
    assert measures.top_eigenvalues(net, net.w0).dtype == dtype
    assert measures.gradient_noise(net, net.w0, batch_size=n) == 0.0


@few
@given(st.integers(2, 1000), st.data())
def test_noise_falls_with_the_batch_from_one_to_zero(n, data):
    b = data.draw(st.integers(1, n - 1))
    assert 0 <= minibatch_factor(n, b + 1) < minibatch_factor(n, b) <= 1 == minibatch_factor(n, 1)


@few
@given(st.floats(max_value=-1e-9) | st.just(math.nan) | st.just(math.inf))
def test_a_radius_that_is_none_is_refused(bad):
    bowl, w = Quadratic([1.0]), torch.ones(1, dtype=torch.float64)
    for f in (measures.sam_sharpness, measures.local_average, measures.local_oscillation, measures.average_sharpness):
        with pytest.raises(ValueError, match="must be finite and >= 0"):
            f(bowl, w, bad)


@few
@given(eigenvalues, st.floats(0.01, 3))
def test_sharpness_measures_scale_with_the_loss(spectrum, scale):
    w = random(len(spectrum), seed=1)
    one, many = Quadratic(spectrum), Quadratic([scale * x for x in spectrum])
    for name, extra in (("sam_sharpness", {}), ("average_sharpness", {"samples": 5}), ("relative_flatness", {})):
        f = getattr(measures, name)
        assert float(f(many, w, **extra)) == pytest.approx(scale * float(f(one, w, **extra)), rel=1e-6, abs=1e-12)
