"""A sharp and a flat valley: closed forms, and what the penalty on tr(H^2) does there that one would not expect."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

from flatlab import measures
from flatlab.landscape import Landscape
from toy_problems import Ravines

F = Ravines()
PLANE = torch.cartesian_prod(*[torch.linspace(-2, 2, 9, dtype=torch.float64)] * 2)


class Differentiated(Landscape):
    """The same loss written anew, left to automatic differentiation."""

    d = 2

    def losses(self, w, batch=None):
        x, y = w.unbind(-1)
        sharp = 1.15 * torch.exp(-(((x + 0.9) / 0.2) ** 2 + (y / 0.7) ** 2) / 2)
        flat = torch.exp(-(((x - 0.9) / 0.6) ** 2 + (y / 0.9) ** 2) / 2)
        return (0.05 * (x * x + y * y) - sharp - flat)[..., None]


AUTO = Differentiated()


def test_the_closed_forms_agree_with_automatic_differentiation():
    v = PLANE.flip(0) + 0.3
    torch.testing.assert_close(F.loss(PLANE), AUTO.loss(PLANE))
    torch.testing.assert_close(F.grad(PLANE), AUTO.grad(PLANE))
    torch.testing.assert_close(F.hvp(PLANE, v), AUTO.hvp(PLANE, v))
    square = lambda w: torch.func.hessian(AUTO.loss)(w).square().sum()  # noqa: E731
    torch.testing.assert_close(F.hessian_frobenius(PLANE), torch.func.vmap(square)(PLANE))
    torch.testing.assert_close(F.hessian_frobenius_grad(PLANE), torch.func.vmap(torch.func.grad(square))(PLANE))
    w = PLANE[20]
    assert measures.hessian_frobenius(F, w).value == pytest.approx(F.hessian_frobenius(w).item(), rel=1e-12)
    torch.testing.assert_close(F.penalized(PLANE, 0.3), F.loss(PLANE) + 0.3 * F.hessian_frobenius(PLANE))
    slope = torch.func.vmap(torch.func.grad(lambda u: AUTO.loss(u) + 0.3 * square(u)))(PLANE)
    torch.testing.assert_close(F.penalized_grad(PLANE, 0.3), slope)


def rest(start, weight):
    """The minimum that scipy finds from `start`."""
    found = minimize(
        lambda w: F.penalized(torch.from_numpy(w), weight).item(),
        np.array(start),
        jac=lambda w: F.penalized_grad(torch.from_numpy(w), weight).numpy(),
        method="BFGS",
        options={"gtol": 1e-9},
    )
    return torch.from_numpy(found.x)


SHARP, FLAT = (-0.9, 0.05), (0.9, 0.05)


def test_the_sharp_minimum_is_the_lower_one_until_the_penalty_exchanges_them():
    heights = {w: [F.penalized(rest(s, w), w).item() for s in (SHARP, FLAT)] for w in (0.0, 1e-4, 3e-4)}
    assert heights[0.0][0] < heights[0.0][1] - 0.15
    assert heights[1e-4][0] < heights[1e-4][1] and heights[3e-4][0] > heights[3e-4][1]


def threshold(s, a):
    """Beyond this weight -a exp(-x^2 / 2 s^2) plus its squared second derivative has its minima off 0."""
    return s**4 / (6 * a)


def test_a_valley_splits_where_the_fourth_derivative_says():
    """L'' + 2 w L'' L'''' = 0 at the bottom, with L'''' = -3 a / s^4: at the weight s^4 / (6 a)."""
    s, a = 0.4, 1.3
    x = torch.linspace(-0.3, 0.3, 2001, dtype=torch.float64)

    def surface(w):
        u = x / s
        e = a * torch.exp(-u * u / 2)
        return -e + w * (e * (1 - u * u) / s**2) ** 2

    middle = len(x) // 2
    for factor, minimum in ((0.97, True), (1.03, False)):
        f = surface(factor * threshold(s, a))
        assert bool(f[middle] < f[middle + 40]) == minimum
        assert bool(f[middle] == f.min()) == minimum


def test_the_sharp_minimum_of_the_toy_splits_on_its_slopes():
    """Past the splitting the bottom of the valley is a ridge of the penalized loss, with minima to both sides."""
    weight = 1e-3
    left, right = rest((-1.1, 0.0), weight), rest((-0.7, 0.0), weight)
    assert left[0] < -1.0 and right[0] > -0.8
    middle = torch.tensor([-0.9, 0.0], dtype=torch.float64)
    assert F.penalized(middle, weight) > max(F.penalized(left, weight), F.penalized(right, weight)) + 0.2
    for w in (left, right):
        assert F.hessian_frobenius(w) < 0.15 * F.hessian_frobenius(rest(SHARP, 0.0)), "it is flat there"
        assert F.grad(w).norm() > 2, "and steep: no minimum of the loss"
    # Half as strong a weight as the bottom's own threshold keeps the minimum, twice as strong splits it.
    assert rest((-0.9, 0.0), 0.5 * threshold(0.2, 1.15))[0].item() == pytest.approx(-0.89, abs=0.01)
    assert abs(rest(SHARP, 2 * threshold(0.2, 1.15))[0].item() + 0.9) > 0.08


def test_a_flat_point_of_the_penalized_loss_may_bend_down():
    """tr(H^2) counts a negative curvature like a positive one, and knows nothing of the slope."""
    w = rest((-1.9, 0.3), 0.5)
    assert F.hessian_frobenius(w) < 0.05 and F.penalized_grad(w, 0.5).norm() < 1e-6
    assert torch.linalg.eigvalsh(F.hessian(w))[0] < -0.02 and F.grad(w).norm() > 0.1
    assert F.loss(w) > 0.1 > F.loss(rest(SHARP, 0.0)) + 1


def ends(weight, starts):
    """In which valley the gradient flow of the penalized loss ends, by scipy's solver: share in the sharp one."""

    def flow(t, w):
        return -F.penalized_grad(torch.from_numpy(w), weight).numpy()

    last = torch.stack([torch.from_numpy(solve_ivp(flow, (0, 60), s, method="LSODA", rtol=1e-6).y[:, -1]) for s in starts])
    q = (((last[:, None] - F.middles) / F.widths) ** 2).sum(-1)
    return (q[:, 0] <= 4).double().mean().item()


@pytest.mark.slow
def test_the_penalty_that_exchanges_the_minima_hardly_moves_the_basins():
    side = torch.linspace(-1.9, 1.9, 9, dtype=torch.float64)
    starts = torch.cartesian_prod(side, torch.tensor([0.4, 1.5], dtype=torch.float64)).numpy()
    plain, fa = ends(0.0, starts), ends(4e-4, starts)
    assert plain == pytest.approx(0.4, abs=0.06)
    assert fa == plain, "who went to the sharp valley still does"


def test_the_exponent_of_the_slope_at_the_split_is_one_half():
    """Just past its threshold a split minimum moves off like the square root of the excess: a pitchfork."""
    s, a = 0.3, 1.0

    def off(excess):
        weight = threshold(s, a) * (1 + excess)
        x = torch.linspace(0, s, 200_001, dtype=torch.float64)
        u = x / s
        e = a * torch.exp(-u * u / 2)
        return x[(-e + weight * (e * (1 - u * u) / s**2) ** 2).argmin()].item()

    assert math.log(off(0.02) / off(0.005)) / math.log(4) == pytest.approx(0.5, abs=0.03)


def test_points_of_another_dimension_are_refused():
    with pytest.raises(ValueError, match=r"Ravines takes points of shape \(..., 2\), got \(3,\)"):
        F.loss(torch.zeros(3))
