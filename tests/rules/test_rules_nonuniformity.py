"""SAMGCM against a dense solve, CSAM against its algorithm written out."""

import pytest
import torch

from flatlab import rules

DOUBLE = torch.float64


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def linear_samples(n=9, d=4):
    """Per-sample gradients of `(x_i . w - y_i)^2 / 2`, and their mean."""
    x, y = torch.randn(n, d, generator=seeded(0), dtype=DOUBLE), torch.randn(n, generator=seeded(1), dtype=DOUBLE)

    def samples(w):
        return (w @ x.mT - y).unsqueeze(-1) * x

    return samples, lambda w: samples(w).mean(-2)


def ascent(w, samples, **options):
    met = []
    rules.sam_gcm(w, lambda v: met.append(v) or v, samples, **options)
    return met[0] - w


def metric(gs, damping, relative=True, diagonal=False):
    """The damped covariance, from numpy's formula with the biased normalization."""
    c = torch.cov(gs.T, correction=0)
    if diagonal:
        c = c.diag().diag()
    scale = c.diagonal().mean() if relative else 1.0
    return c + damping * scale * torch.eye(len(c), dtype=DOUBLE)


@pytest.mark.parametrize("form", ["full", "low_rank", "diagonal"])
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("n, d", [(9, 4), (5, 12)])
def test_the_ascent_is_lemma_1_with_the_inverse_written_out(form, relative, n, d):
    samples, grad = linear_samples(n, d)
    w, rho, damping = torch.randn(d, dtype=DOUBLE, generator=seeded(2)), 0.3, 0.05
    inverse = torch.linalg.inv(metric(samples(w), damping, relative, diagonal=form == "diagonal"))
    g = grad(w)
    expected = rho * inverse @ g / (g @ inverse @ g).sqrt()
    got = ascent(w, samples, rho=rho, form=form, damping=damping, relative=relative)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)
    direction = rules.sam_gcm(w, grad, samples, rho=rho, form=form, damping=damping, relative=relative)
    torch.testing.assert_close(direction, grad(w + expected), rtol=1e-9, atol=1e-12)


def test_woodbury_is_the_dense_solve_also_with_far_more_weights_than_samples():
    gs = torch.randn(6, 300, dtype=DOUBLE, generator=seeded(3))
    w = torch.zeros(300, dtype=DOUBLE)
    for damping in (1e-4, 1e-2, 10.0):
        options = {"rho": 1.0, "damping": damping}
        dense, woodbury = (ascent(w, lambda v: gs, form=form, **options) for form in ("full", "low_rank"))
        torch.testing.assert_close(woodbury, dense, rtol=1e-7, atol=1e-9)


def test_undamped_the_ascent_lies_on_the_ellipsoid_and_maximizes_the_slope_there():
    samples, grad = linear_samples()
    w = torch.randn(4, dtype=DOUBLE, generator=seeded(4))
    eps, c, g = ascent(w, samples, rho=0.3, damping=0.0), metric(samples(w), 0.0), grad(w)
    torch.testing.assert_close(eps @ c @ eps, torch.tensor(0.09, dtype=DOUBLE), rtol=1e-10, atol=0)
    other = torch.randn(1000, 4, dtype=DOUBLE, generator=seeded(5))
    other *= 0.3 / ((other @ c) * other).sum(-1, keepdim=True).sqrt()
    assert (other @ g).max() < eps @ g


@pytest.mark.parametrize("form", ["full", "low_rank", "diagonal"])
def test_relative_damping_keeps_the_shape_of_the_ellipsoid_when_the_loss_is_scaled(form):
    samples, _ = linear_samples(5, 12)
    w = torch.randn(12, dtype=DOUBLE, generator=seeded(6))
    small = ascent(w, samples, rho=0.3, form=form)
    large = ascent(w, lambda v: 100 * samples(v), rho=30.0, form=form)  # rho has the units of the loss
    torch.testing.assert_close(large, small, rtol=1e-9, atol=1e-12)


def test_a_covariance_of_one_size_in_all_directions_gives_sam():
    gs = torch.cat([torch.eye(3, dtype=DOUBLE), -torch.eye(3, dtype=DOUBLE)])
    w = torch.tensor([1.0, 2.0, -2.0], dtype=DOUBLE)
    got = ascent(w, lambda v: v.unsqueeze(-2) + gs, rho=0.6, damping=0.0)
    torch.testing.assert_close(got, 0.6 / (1 / 3) ** 0.5 * w / 3)


@pytest.mark.parametrize("form", ["full", "low_rank", "diagonal"])
def test_a_batch_of_points_is_the_points_one_by_one(form):
    samples, grad = linear_samples()
    w = torch.randn(2, 3, 4, dtype=DOUBLE, generator=seeded(7))
    one_by_one = torch.stack([rules.sam_gcm(v, grad, samples, 0.3, form=form) for v in w.view(-1, 4)]).view_as(w)
    torch.testing.assert_close(rules.sam_gcm(w, grad, samples, 0.3, form=form), one_by_one, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("form", ["full", "low_rank", "diagonal"])
def test_without_noise_or_without_slope_there_is_no_ascent(form):
    w = torch.ones(3, dtype=DOUBLE)
    assert torch.equal(ascent(w, lambda v: torch.ones(5, 3, dtype=DOUBLE), form=form), torch.zeros(3, dtype=DOUBLE))
    gs = torch.randn(4, 3, dtype=DOUBLE, generator=seeded(8))
    assert torch.equal(ascent(w, lambda v: torch.cat([gs, -gs]), form=form), torch.zeros(3, dtype=DOUBLE))


def test_what_makes_no_ellipsoid_is_named():
    samples, grad = linear_samples()
    w = torch.ones(4, dtype=DOUBLE)
    with pytest.raises(ValueError, match="damping must be finite and >= 0, got -1"):
        rules.sam_gcm(w, grad, samples, damping=-1)
    with pytest.raises(ValueError, match="damping must be > 0 with form='low_rank', got 0"):
        rules.sam_gcm(w, grad, samples, form="low_rank", damping=0)
    with pytest.raises(ValueError, match="form must be 'full', 'diagonal' or 'low_rank', got 'dense'"):
        rules.sam_gcm(w, grad, samples, form="dense")
    with pytest.raises(ValueError, match="at least 2 gradients, got 1"):
        rules.sam_gcm(w, grad, lambda v: samples(v)[..., :1, :])
    with pytest.raises(ValueError, match="rho must be finite and >= 0, got -0.1"):
        rules.sam_gcm(w, grad, samples, -0.1)


def cubic(w):
    return w + 0.3 * w**3


def test_csam_is_algorithm_1_written_out_over_many_steps():
    w = torch.randn(3, dtype=DOUBLE, generator=seeded(9))
    v, state, m, ema = w.clone(), None, torch.zeros(3, dtype=DOUBLE), 0.7
    for step in range(20):
        slope = torch.randn(3, dtype=DOUBLE, generator=seeded(step))  # another minibatch

        def grad(u, slope=slope):
            return cubic(u) * slope.abs() + 0.1 * slope

        g1 = grad(v)
        g2 = grad(v + 0.2 * g1 / g1.norm())
        m = ema * m + (1 - ema) * (g2 - g1)
        d = g2 - g1 - m
        v = v - 0.1 * grad(v + 0.4 * d / d.norm())
        direction, state = rules.csam(w, grad, state, 0.2, 0.4, ema)
        w = w - 0.1 * direction
        torch.testing.assert_close(w, v, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(state, m, rtol=1e-12, atol=1e-15)


def test_csam_applies_its_radius_once():
    met = []
    rules.csam(torch.tensor([1.0, 2.0], dtype=DOUBLE), lambda v: met.append(v) or cubic(v), None, 0.1, 0.5, 0.9)
    assert len(met) == 3 and (met[2] - met[0]).norm().item() == pytest.approx(0.5, rel=1e-12)


def test_csam_takes_and_returns_a_batch():
    w, mean = torch.randn(2, 4, 3, dtype=DOUBLE, generator=seeded(10)).unbind()
    direction, new = rules.csam(w, cubic, mean)
    for i in range(4):
        d, m = rules.csam(w[i], cubic, mean[i])
        torch.testing.assert_close(direction[i], d, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(new[i], m, rtol=1e-12, atol=1e-14)


def test_csam_stands_still_at_a_critical_point_and_with_no_radii_is_gradient_descent():
    zero, w = torch.zeros(3, dtype=DOUBLE), torch.ones(3, dtype=DOUBLE)
    assert all(torch.equal(v, zero) for v in rules.csam(zero, cubic))
    direction, mean = rules.csam(w, cubic, None, 0.0, 0.0)
    assert torch.equal(direction, cubic(w)) and torch.equal(mean, zero)


@pytest.mark.parametrize("option, value", [("rho", -1.0), ("rho_cov", float("nan")), ("ema", 0.0), ("ema", 1.0)])
def test_csam_names_a_bad_option_with_its_value(option, value):
    with pytest.raises(ValueError, match=f"{option} must be .*got {value}"):
        rules.csam(torch.ones(2), cubic, **{option: value})
