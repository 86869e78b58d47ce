"""The explorable of Table 1: its bounds are the paper's formulas."""

import pytest

from tests.browser.gestures import shown, slide
from tests.browser.readings import words
from toy_problems import RiskBound


def cells(frame, method):
    return [cell.inner_text() for cell in frame.locator(f'tr[data-method="{method}"] td').all()]


def test_bounds_are_those_of_table_1(stand):
    frame = stand(RiskBound())
    slide(frame, "rho", 0.4)
    mu, L, G, rho, C, g0, g1, n = (shown(frame, k) for k in ("mu", "L", "G", "rho", "C", "gamma0", "gamma1", "n"))
    assert (mu, L, G, rho, n) == (0.1, 10, 1, 0.2, 50_000)
    gain, shrink = 1 + mu * rho / G, (1 + C * L * rho / G) ** 2
    sgd = (2 / (mu + L), 2 * G**2 * (mu + L) / (n * mu * L), G**2 * L / (4 * mu))
    expected = {
        "SGD": sgd,
        "SAM": (sgd[0] * gain / shrink, sgd[1] / gain, sgd[2] / gain),
        "StableSAM": (sgd[0] * gain / (g1 * shrink), g1 * sgd[1] / gain, g1**2 / g0 * sgd[2] / gain),
    }
    for method, (limit, generalization, slope) in expected.items():
        numbers = [float(text) for text in cells(frame, method)]
        assert numbers == pytest.approx([limit, generalization, slope * limit, generalization + slope * limit], rel=6e-3)
    most = G / rho * (1 - g0) / g0
    assert f"at least {most + mu / g0:.3g}" in words(frame) and f"at most {most:.3g}" in words(frame)


def test_bounds_keep_mu_below_L_and_gammas_in_order(stand):
    frame = stand(RiskBound())
    slide(frame, "mu", 1.0)
    assert shown(frame, "mu") == 10 and shown(frame, "L") >= 10
    slide(frame, "L", 0.2)
    assert shown(frame, "mu") <= shown(frame, "L")
    slide(frame, "gamma0", 1.0)
    assert shown(frame, "gamma1") >= shown(frame, "gamma0") == 0.99
