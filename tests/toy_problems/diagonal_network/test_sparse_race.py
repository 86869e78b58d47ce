"""The explorable of sparse regression: its steps are Python's, and what stands on the page."""

import re

import numpy as np
import pytest
import torch

from tests.browser.gestures import drawn, press, shown, slide
from toy_problems import DiagonalNetwork, SparseRace
from toy_problems.diagonal_network import SparseRegression

TWIN = "toy_problems/diagonal_network/landscape.mjs"


def problem(n=20, features=30):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    return DiagonalNetwork(normal(n, features), normal(n)), normal(2 * features)


NET = """const d = argument.x[0].length;
  const net = new module.DiagonalNetwork({x: argument.x.flat(), y: argument.y, d, scale: 0.25});"""

STEPS = f"""{NET}
  const factors = argument.w.map((a) => Float64Array.from(a));
  const lengths = argument.batches.map((rows) => module.step(argument.method, net, factors, rows, argument.settings));
  return [factors.map((a) => Array.from(a)), lengths];"""


@pytest.mark.parametrize(
    "method, options, steps, tolerance",
    [
        ("SGD", {}, 20, 1e-12),
        ("SAM", {"rho": 0.3}, 20, 1e-12),
        ("SAMGCM", {"rho": 0.05, "damping": 0.01}, 20, 1e-12),
        # A damping of 1e-6 leaves the linear system a condition number of about 1e6, and rounding grows by as much.
        ("SAMGCM", {"rho": 5e-4, "damping": 1e-6}, 1, 1e-10),
    ],
)
def test_the_race_steps_as_python_does(call, method, options, steps, tolerance):
    net, w = problem()
    setting = SparseRegression(lr=0.01)
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randperm(20, generator=generator)[:10] for _ in range(steps)]
    settings = {"lr": 0.01, "gcm_rho": options.get("rho")} | options
    argument = {
        "x": net.x.tolist(),
        "y": net.y.tolist(),
        "w": [a.tolist() for a in w.chunk(2)],
        "method": method,
        "batches": [b.tolist() for b in batches],
        "settings": settings,
    }
    got, lengths = call(TWIN, ["DiagonalNetwork", "step"], STEPS, argument)
    for batch, length in zip(batches, lengths, strict=True):
        w, expected = setting.step(method, options, net, w, batch)
        assert length == pytest.approx(expected.item(), rel=100 * tolerance, abs=tolerance)
    np.testing.assert_allclose(np.concatenate(got), w, rtol=tolerance, atol=tolerance)


def settled(frame):
    """Wait for the race that was asked for last."""
    drawn(frame)
    frame.locator(".flatlab-status", has_text="After").or_(frame.locator(".flatlab-status", has_text="Nothing")).wait_for(
        timeout=30_000
    )
    drawn(frame)
    return frame.locator(".flatlab-status").inner_text()


def value(frame, method, key):
    return frame.locator(f'tr[data-method="{method}"] td[data-value="{key}"]').inner_text()


def test_the_race_shows_the_papers_order_and_how_far_samgcm_climbs(stand):
    frame = stand(SparseRace())
    said = settled(frame)
    assert "SAMGCM has the lowest test loss" in said and "ρ/√δ is 0.500" in said
    test = {method: float(value(frame, method, "test")) for method in ("SGD", "SAM", "SAMGCM")}
    assert test["SGD"] > 3 * test["SAM"] > 6 * test["SAMGCM"]
    assert float(value(frame, "SAM", "length")) == 0.3 and 0.2 < float(value(frame, "SAMGCM", "length")) < 0.5
    assert float(value(frame, "SGD", "l1")) > 2 * 3 > 5 > float(value(frame, "SAMGCM", "l1"))


def test_the_race_presets_and_sliders_change_the_verdict(stand):
    frame = stand(SparseRace())
    settled(frame)
    press(frame, "The paper’s text")
    assert re.search(r"SAMGCM diverged in epoch \d+", settled(frame))
    assert "∞" in value(frame, "SAMGCM", "test")
    press(frame, "Ten times the damping")
    assert "SAM has the lowest test loss" in settled(frame), "another damping, another winner"
    slide(frame, "nonzeros", 1.0)
    slide(frame, "features", 0.0)
    settled(frame)
    assert (shown(frame, "nonzeros"), shown(frame, "features")) == (20, 20)
    assert float(value(frame, "SGD", "l1")) == pytest.approx(20, rel=0.1), "more samples than features: all is recovered"
    before = value(frame, "SGD", "test")
    slide(frame, "seed", 0.5)
    settled(frame)
    assert value(frame, "SGD", "test") != before
