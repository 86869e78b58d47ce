"""Averages and maxima of the one-dimensional losses against a dense search, and what the LSAM paper says of them."""

import math

import pytest
import torch
from scipy.optimize import brentq

from toy_problems.one_dimensional import CURVES, Rough, Table, Valley

TABLE = Table(-3.0, 0.5, [0.9, 0.4, 0.7, 0.1, 0.1, 0.8, 0.3, 0.2, 0.6, 0.5, 0.0, 0.4, 1.0])
ALL = {**CURVES, "table": TABLE}


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("rho", [0.013, 0.2, 0.9])
def test_average_and_maximum_agree_with_a_dense_search(name, rho):
    curve, w = ALL[name], column(-2.0, -0.93, -0.2, 0.0, 0.31, 0.6, 1.7)
    cells = 80_000
    u = rho * ((torch.arange(cells, dtype=torch.float64) + 0.5) * 2 / cells - 1)
    values = curve.value(w + u)
    torch.testing.assert_close(curve.average(w, rho), values.mean(1), rtol=0, atol=2e-5)
    exact, found = curve.maximum(w, rho), values.amax(1)
    assert (exact >= found - 1e-12).all()
    torch.testing.assert_close(exact, found, rtol=0, atol=2e-3)
    swing = (values - values.mean(1, keepdim=True)).abs().mean(1)
    torch.testing.assert_close(curve.oscillation(w, rho), swing, rtol=0, atol=4e-3)


@pytest.mark.parametrize("name", ALL)
def test_a_ball_of_radius_0_leaves_the_loss(name):
    curve, w = ALL[name], column(-0.9, 0.0, 0.6)
    for row in (curve.average(w, 0.0), curve.maximum(w, 0.0)):
        torch.testing.assert_close(row, curve.loss(w))
    assert curve.oscillation(w, 0.0).max() == 0


def test_the_bias_is_a_sixth_of_the_curvature_where_the_loss_is_smooth():
    """L + rho^2 / (2 (d + 2)) Tr H with d = 1."""
    curve, w = CURVES["wells"], column(0.6)
    curvature = (curve.value(w + 1e-3) - 2 * curve.value(w) + curve.value(w - 1e-3)).item() / 1e-6
    bias = [(curve.average(w, rho) - curve.loss(w)).item() for rho in (0.001, 0.01)]
    assert bias[1] == pytest.approx(1e-4 * curvature / 6, rel=1e-3)
    assert math.log10(bias[1] / bias[0]) == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.8])
def test_the_bias_of_a_rough_loss_falls_with_its_exponent(alpha):
    curve, w = Rough(alpha, terms=40), column(-2.0)
    bias = [(curve.loss(w) - curve.average(w, 4 * 2.0**-k)).item() for k in (12, 24)]
    assert math.log2(bias[0] / bias[1]) / 12 == pytest.approx(alpha, abs=0.02)


def test_equation_21_fails_at_the_kink():
    """|average - loss| = rho / 2 on the left, oscillation = rho / 4 on the right."""
    for rho in (0.01, 0.5, 1.0):
        left = (Valley().average(column(0.0), rho) - Valley().loss(column(0.0))).abs()
        assert left.item() == pytest.approx(rho / 2)
        assert Valley().oscillation(column(0.0), rho).item() == pytest.approx(rho / 4, rel=1e-4)


def test_the_average_never_returns_to_the_foot_of_a_step():
    step, foot = CURVES["step"], column(0.0)
    assert step.loss(foot).item() == pytest.approx(0.2)
    assert step.average(foot, 1e-6).item() == pytest.approx(0.35, abs=1e-6)
    assert step.average(column(-1e-3), 1e-6).item() == pytest.approx(step.loss(column(-1e-3)).item())


def test_the_maximum_leaves_the_narrow_well_before_the_average():
    wells = CURVES["wells"]
    assert [wells.minimizers(rho)["maximum"] > 0 for rho in (0.06, 0.1, 0.2)] == [False, True, True]
    assert [wells.minimizers(rho)["average"] > 0 for rho in (0.06, 0.1, 0.2)] == [False, False, True]


@pytest.mark.parametrize(("which", "by_formula", "in_the_toy"), [("average", 0.145, 0.153), ("maximum", 0.075, 0.078)])
def test_the_radii_at_which_they_leave_are_those_of_the_exercise(which, by_formula, in_the_toy):
    """Each well by itself: `0.9 - depth * sech^2`, whose average over the ball is a tanh; and the two wells together."""
    shares = {"average": lambda r: math.tanh(r) / r, "maximum": lambda r: math.cosh(r) ** -2}
    apart = lambda rho: 0.85 * shares[which](rho / 0.12) - 0.6 * shares[which](rho / 0.6)  # noqa: E731
    assert brentq(apart, 0.03, 0.4) == pytest.approx(by_formula, abs=5e-4)
    x = torch.linspace(-1.2, 1.2, 24_001, dtype=torch.float64)[:, None]

    def difference(rho):
        values = getattr(CURVES["wells"], which)(x, rho)
        return (values[x[:, 0] > 0].min() - values[x[:, 0] < 0].min()).item()

    assert brentq(difference, 0.05, 0.3) == pytest.approx(in_the_toy, abs=5e-4)


def test_a_needle_drives_the_maximum_away_and_not_the_average():
    least = CURVES["needle"].minimizers(0.35)
    assert abs(least["average"] - 0.6) < 0.02 and least["maximum"] < -1


def test_a_wide_ball_puts_the_average_on_a_peak():
    rough = CURVES["rough"]
    assert rough.minimizers(1.0)["average"] == 0
    assert rough.loss(column(0.0)) > rough.average(column(0.0), 0.1) + 0.05


def test_the_mirrored_needle_is_averaged_out_as_well():
    """A hole of half-width s and depth h changes the average by h s / (2 rho): narrow minima vanish like their volume."""
    c, height, thin = CURVES["needle"].needle
    plain = type(CURVES["needle"])(CURVES["needle"].top, CURVES["needle"].wells)
    difference = CURVES["needle"].average(column(c), 0.2) - plain.average(column(c), 0.2)
    assert difference.item() == pytest.approx(height * thin / (2 * 0.2))


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: Valley().average(column(0.0), -1.0), "rho must be finite and >= 0, got -1.0"),
        (lambda: Rough(alpha=1.5), "alpha must lie between 0 and 1"),
        (lambda: Table(0.0, 0.1, [1.0]), "a table needs 2 values and a step > 0, got 1"),
        (lambda: Valley().loss(torch.zeros(2)), "2"),
    ],
)
def test_bad_input_is_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()
