"""JavaScript computes what Python computes on the two minima: steps, exact shares, thresholds."""

import numpy as np
import pytest
import torch

from toy_problems import NonuniformMinima
from toy_problems.nonuniform_minima import METHODS, linearized, slope, step
from toy_problems.nonuniform_minima.random_product import (
    crossing_rate,
    exit_shares,
    lyapunov_exponent,
    second_moment_radius,
)

TWIN = "toy_problems/nonuniform_minima/landscape.mjs"
F = NonuniformMinima()


@pytest.mark.parametrize("method", METHODS)
def test_a_step_agrees_to_1e_12_on_random_points(call, method):
    generator = torch.Generator().manual_seed(0)
    x, v = 4 * torch.rand(2, 500, 1, dtype=torch.float64, generator=generator) - 1
    x[0], x[1], x[2] = 0.0, 1.0, 1.0  # critical points
    v[:2] = 0.0
    picks = torch.randint(2, (500, 1), generator=generator)
    body = """const {points, method} = argument;
      return points.map(([x, v, pick]) => {
        const p = {x, v};
        module.STEPS[method](p, module.CURVATURES[pick], 0.6, 7, 0.01);
        return [p.x, p.v];
      });"""
    points = torch.cat([x, v, picks.double()], 1).tolist()
    found = call(TWIN, ["STEPS", "CURVATURES"], body, {"points": points, "method": method})
    got = torch.tensor(found, dtype=torch.float64)
    grad = F.grad if method == "GD" else lambda z: slope(z, F.curvatures[picks])
    expected = torch.cat(step(method, x, v, grad, 0.6, 7), 1)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_the_intervals_agree(call):
    ends = call(TWIN, ["INNER", "OUTER"], "return [module.INNER, module.OUTER];")
    np.testing.assert_allclose(ends, [F.inner, F.outer], rtol=1e-12)


@pytest.mark.parametrize("lr, start", [(0.54, 0.3), (0.6, 1e-4), (0.9, 1e-6)])
def test_the_exact_shares_agree(call, lr, start):
    factors, (low, high) = (1 - 0.2 * lr, 1 - 3.8 * lr), (end - 1 for end in F.outer)
    body = "return module.leftShares('SGD', argument);"
    got = call(
        TWIN,
        ["leftShares"],
        body,
        {"lr": lr, "distance": start, "rho": 0.01, "steps": 300},
    )
    np.testing.assert_allclose(got, exit_shares(factors, start, low, high, 300), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", ["SGD", "Momentum", "Nesterov"])
def test_the_thresholds_on_the_page_are_those_of_the_linear_theory(call, method):
    limits = call(TWIN, ["THRESHOLDS"], "return module.THRESHOLDS[argument];", method)
    radius = crossing_rate(lambda r: second_moment_radius(linearized(method, r)), 1.0, 0.1, 0.9)
    assert limits["meanSquare"] == pytest.approx(radius, abs=1e-5)
    here, beside = (lyapunov_exponent(linearized(method, limits["almostSure"] + d), 500, 1000) for d in (0, 0.01))
    slack = 4 * here.stderr / ((beside.value - here.value) / 0.01)  # of the exponent, in units of the learning rate
    assert abs(here.value) <= max(4 * here.stderr, 1e-9) and slack < 0.005
