"""LSAM against its integral, m-SAM against the loop over micro-batches."""

import math

import pytest
import torch

from flatlab import rules
from flatlab.landscape import Landscape

DOUBLE = torch.float64
HESSIAN = torch.tensor([[3.0, 1.0, 0.0], [1.0, 2.0, -0.5], [0.0, -0.5, 1.0]], dtype=DOUBLE)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


class Regression(Landscape):
    """Squared errors of a linear model: `l_i(w) = (x_i . w - y_i)^2`."""

    def __init__(self, n=12, d=4):
        self.n, self.d = n, d
        self.x = torch.randn(n, d, generator=seeded(0), dtype=DOUBLE)
        self.y = torch.randn(n, generator=seeded(1), dtype=DOUBLE)

    def losses(self, w, batch=None):
        x, y = (self.x, self.y) if batch is None else (self.x[batch], self.y[batch])
        return (w @ x.mT - y) ** 2


@pytest.mark.parametrize("d", [1, 2, 3, 50])
def test_points_of_the_ball_are_uniform_in_it(d):
    """`(|u| / rho)^d` is uniform on (0, 1), the mean is 0 and the covariance `rho^2 / (d + 2)` times the identity."""
    count, rho = 40_000, 0.7
    u = rules.ball(torch.zeros(count, d, dtype=DOUBLE), rho, seeded(2))
    share = (u.norm(dim=-1) / rho) ** d
    gap = (share.sort().values - torch.linspace(0, 1, count)).abs().max()
    assert share.max() <= 1 and gap < 1.95 / math.sqrt(count)
    assert u.mean(0).abs().max() < 5 * rho / math.sqrt((d + 2) * count)
    covariance = rho**2 / (d + 2) * torch.eye(d, dtype=DOUBLE)
    torch.testing.assert_close(u.T @ u / count, covariance, rtol=0, atol=0.02 * rho**2)


def test_a_generator_makes_the_draws_repeatable_and_every_row_draws_for_itself():
    w = torch.zeros(5, 3)
    assert torch.equal(rules.ball(w, 1.0, seeded(3)), rules.ball(w, 1.0, seeded(3)))
    assert len(rules.ball(w, 1.0, seeded(3)).unique(dim=0)) == 5


def test_the_mean_loss_in_the_ball_of_a_quadratic_is_its_trace_formula():
    w, rho = torch.tensor([0.4, -1.0, 2.0], dtype=DOUBLE), 0.5

    def loss(v):
        return 0.5 * ((v @ HESSIAN) * v).sum(-1)

    found = loss(w + rules.ball(w.expand(200_000, 3), rho, seeded(4)))
    expected = loss(w) + rho**2 / (2 * (3 + 2)) * HESSIAN.trace()
    error = found.std() / math.sqrt(len(found))
    assert abs(found.mean() - expected) < 4 * error and error < 0.003


def test_lsam_is_the_mean_of_the_gradients_at_its_draws():
    w = torch.randn(3, dtype=DOUBLE, generator=seeded(5))
    met = []

    def grad(v):
        met.append(v)
        return v @ HESSIAN + 0.3 * v**3

    got = rules.lsam(w, grad, 0.3, 5, generator=seeded(6))
    assert len(met) == 5 and all(0 < (v - w).norm() < 0.3 for v in met)
    torch.testing.assert_close(got, torch.stack([v @ HESSIAN + 0.3 * v**3 for v in met]).mean(0), rtol=1e-13, atol=0)


def test_antithetic_draws_have_no_error_at_all_on_a_quadratic():
    w = torch.randn(100, 3, dtype=DOUBLE, generator=seeded(7))
    plain = rules.lsam(w, lambda v: v @ HESSIAN, 0.5, 4, generator=seeded(8)) - w @ HESSIAN
    paired = rules.lsam(w, lambda v: v @ HESSIAN, 0.5, 4, antithetic=True, generator=seeded(8)) - w @ HESSIAN
    assert paired.abs().max() < 1e-14 < 0.05 < plain.norm(dim=-1).mean()


def test_antithetic_draws_have_less_variance_at_the_same_cost_on_a_smooth_loss():
    """The even part of the error remains: here a cubic gradient, at a small radius."""
    w = torch.randn(3, dtype=DOUBLE, generator=seeded(9)).expand(4000, 3)

    def spread(**options):
        return rules.lsam(w, lambda v: v @ HESSIAN + 0.3 * v**3, 0.2, 4, generator=seeded(10), **options).var(0).sum()

    assert spread(antithetic=True) < 0.02 * spread()


@pytest.mark.parametrize("k, antithetic", [(0, False), (-1, False), (1.5, False), (3, True), (1, True)])
def test_a_number_of_draws_that_cannot_be_made_is_named(k, antithetic):
    with pytest.raises(ValueError, match=f"k must be a whole number >= 1.*got {k}"):
        rules.lsam(torch.ones(2), lambda v: v, 0.1, k, antithetic=antithetic)


def test_every_row_of_lsam_and_m_sam_may_have_its_own_rho():
    w, field = torch.randn(3, 4, dtype=DOUBLE, generator=seeded(11)), Regression()
    radii = torch.tensor([[0.0], [0.1], [2.0]], dtype=DOUBLE)
    assert torch.equal(rules.lsam(w, field.grad, radii, 2)[0], field.grad(w)[0])
    grads = rules.micro_gradients(field, 3)
    one_by_one = torch.stack([rules.m_sam(v, grads, float(r)) for v, r in zip(w, radii, strict=True)])
    torch.testing.assert_close(rules.m_sam(w, grads, radii), one_by_one, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
@pytest.mark.parametrize("m", [1, 3, 4, 12])
def test_m_sam_is_the_loop_over_its_micro_batches(m, lead):
    field, w = Regression(), torch.randn(*lead, 4, dtype=DOUBLE, generator=seeded(12))
    parts = torch.arange(12).split(m)
    expected = sum(rules.sam(w, lambda v, part=part: field.grad(v, part), 0.3) for part in parts) / len(parts)
    got = rules.m_sam(w, rules.micro_gradients(field, m), 0.3)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-13)
    if m == 12:
        assert torch.equal(got, rules.sam(w, field.grad, 0.3))


def test_m_sam_with_rho_zero_is_the_plain_gradient():
    field, w = Regression(), torch.randn(4, dtype=DOUBLE, generator=seeded(13))
    got = rules.m_sam(w, rules.micro_gradients(field, 3), 0.0)
    torch.testing.assert_close(got, field.grad(w), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
@pytest.mark.parametrize("m", [1, 2, 4])
@pytest.mark.parametrize("shared", [True, False], ids=["one point", "a point each"])
def test_micro_batches_are_those_of_the_batch_that_is_given(lead, m, shared):
    field, batch = Regression(), torch.tensor([7, 2, 9, 4])
    parts = batch.split(m)
    w = torch.randn(*lead, 1 if shared else len(parts), 4, dtype=DOUBLE, generator=seeded(14))
    got = rules.micro_gradients(field, m, batch)(w)
    points = w.expand(*lead, len(parts), 4).unbind(-2)
    expected = torch.stack([field.grad(v, part) for v, part in zip(points, parts, strict=True)], -2)
    torch.testing.assert_close(got, expected, rtol=1e-13, atol=1e-14)


def test_a_network_takes_per_sample_perturbations_in_one_pass():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)).double()
    x, y = torch.randn(6, 4, dtype=DOUBLE), torch.randint(2, (6,))
    calls = []
    field = Landscape.of(net, torch.nn.functional.cross_entropy, (x, y))
    net.register_forward_hook(lambda *_: calls.append(1))
    got = rules.m_sam(field.w0, rules.micro_gradients(field, 1), 0.2)
    assert len(calls) == 2
    one = [rules.sam(field.w0, lambda v, i=i: field.grad(v, torch.tensor([i])), 0.2) for i in range(6)]
    torch.testing.assert_close(got, torch.stack(one).mean(0), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("m", [0, -1, 5, 24, 1.5])
def test_a_micro_batch_that_does_not_divide_the_batch_is_refused(m):
    with pytest.raises(ValueError, match=f"m must be a whole number >= 1 that divides the 12 samples, got {m}"):
        rules.micro_gradients(Regression(), m)


@pytest.mark.parametrize("moving", [1, 2, 3])
def test_a_ball_in_some_coordinates_has_their_number_for_its_dimension(moving):
    """The mean distance from the centre of a ball in m dimensions is m / (m + 1) of its radius."""
    rho = torch.tensor([0.5] * moving + [0.0] * (4 - moving), dtype=DOUBLE)
    u = rules.ball(torch.zeros(20_000, 4, dtype=DOUBLE), rho, seeded(1))
    assert not u[:, moving:].any()
    assert u.norm(dim=1).mean().item() == pytest.approx(0.5 * moving / (moving + 1), rel=0.02)
