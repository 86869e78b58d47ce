"""What holds of a rule on every input: shapes, dtypes, and the symmetries that each method has or lacks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flatlab import rules

ROTATION_FREE = ["gd", "sam", "usam", "stable_sam"]
ALL = [*ROTATION_FREE, "asam", "stable_asam"]
seeds = st.integers(0, 2**31 - 1)


def options(name, rho=0.3):
    return {} if name == "gd" else {"rho": rho}


def problem(seed, d):
    """A random loss with a curved Hessian, as its gradient, and a random point."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(d, d, dtype=torch.float64, generator=generator)
    w = torch.randn(d, dtype=torch.float64, generator=generator)
    return (lambda v: v @ (a + a.T) + v * (v * v).sum(-1, keepdim=True)), w, generator


@pytest.mark.parametrize("name", ALL)
@given(lead=st.lists(st.integers(0, 3), max_size=3), d=st.integers(1, 6), seed=seeds, double=st.booleans())
@settings(max_examples=25, deadline=None)
def test_shape_and_dtype_are_those_of_the_point(name, lead, d, seed, double):
    dtype = torch.float64 if double else torch.float32
    w = torch.randn(*lead, d, generator=torch.Generator().manual_seed(seed)).to(dtype)
    out = getattr(rules, name)(w, lambda v: v**3 - v, **options(name))
    assert out.shape == w.shape and out.dtype == dtype
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("name", ROTATION_FREE)
@given(seed=seeds, d=st.integers(2, 6))
@settings(max_examples=25, deadline=None)
def test_a_rotated_loss_gives_the_rotated_direction(name, seed, d):
    grad, w, generator = problem(seed, d)
    q, _ = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64, generator=generator))
    rule = getattr(rules, name)
    turned = rule(w @ q, lambda v: grad(v @ q.T) @ q, **options(name))
    torch.testing.assert_close(turned, rule(w, grad, **options(name)) @ q, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["gd", "sam", "stable_sam", "asam", "stable_asam"])
@given(seed=seeds, factor=st.floats(1e-3, 1e3))
@settings(max_examples=25, deadline=None)
def test_a_loss_times_c_gives_the_direction_times_c(name, seed, factor):
    """The ascent step depends on the gradient's direction alone. USAM is the exception: see the next test."""
    grad, w, _ = problem(seed, 4)
    rule = getattr(rules, name)
    scaled = rule(w, lambda v: factor * grad(v), **options(name))
    torch.testing.assert_close(scaled, factor * rule(w, grad, **options(name)), rtol=1e-9, atol=1e-12)


def test_usam_climbs_farther_on_a_steeper_loss():
    grad, w, _ = problem(0, 4)
    doubled = rules.usam(w, lambda v: 2 * grad(v), rho=0.3)
    assert not torch.allclose(doubled, 2 * rules.usam(w, grad, rho=0.3), rtol=0.05)
    torch.testing.assert_close(doubled, 2 * rules.usam(w, grad, rho=0.6))


@given(seed=seeds, d=st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_asam_does_not_see_how_weights_are_scaled(seed, d):
    """With eta = 0, L(D w) at D^-1 w: the same ascent point, so D times the gradient there."""
    grad, w, generator = problem(seed, d)
    scale = 10 ** (2 * torch.rand(d, dtype=torch.float64, generator=generator) - 1)
    rescaled = rules.asam(w / scale, lambda v: scale * grad(scale * v), rho=0.3, eta=0.0)
    torch.testing.assert_close(rescaled, scale * rules.asam(w, grad, rho=0.3, eta=0.0), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ALL[1:])
@given(rho=st.floats(max_value=-1e-12, allow_nan=False) | st.just(float("inf")) | st.just(float("nan")))
@settings(max_examples=25, deadline=None)
def test_no_bad_rho_gets_through(name, rho):
    with pytest.raises(ValueError, match="rho must be finite and >= 0"):
        getattr(rules, name)(torch.ones(3), lambda v: v, rho=rho)
