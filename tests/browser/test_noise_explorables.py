"""The explorables of the chapter on the shape of gradient noise: parity with Python, and what stands on the page."""

import math
import re

import numpy as np
import pytest
import torch

from flatlab import rules
from tests.browser.gestures import drawn, press, slide
from toy_problems import DiagonalNetwork
from toy_problems.diagonal_network import SparseRegression

CHAPTER = "book/toys/noise_structure.html"


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
    got, lengths = call(["diagonal_network"], ["DiagonalNetwork", "step"], STEPS, argument)
    for batch, length in zip(batches, lengths, strict=True):
        w, expected = setting.step(method, options, net, w, batch)
        assert length == pytest.approx(expected.item(), rel=100 * tolerance, abs=tolerance)
    np.testing.assert_allclose(np.concatenate(got), w, rtol=tolerance, atol=tolerance)


def test_the_races_losses_are_pythons(call):
    net, w = problem()
    u, v = w.chunk(2)
    body = f"""{NET}
      return net.loss(argument.u, 1, argument.other, [0, 3, 5]);"""
    argument = {"x": net.x.tolist(), "y": net.y.tolist(), "u": u.tolist(), "other": (-v * v).tolist()}
    got = call(["diagonal_network"], ["DiagonalNetwork"], body, argument)
    assert got == pytest.approx(net.loss(w, torch.tensor([0, 3, 5])).item(), rel=1e-12)


def test_the_ellipses_worst_points_are_those_of_the_rules(call):
    body = """return argument.map((s) => ({all: module.compare(s), around: module.deviations(s), g: module.grad(s.w)}));"""
    generator = torch.Generator().manual_seed(0)
    cases = [
        {"w": {"x": x, "y": y}, "rho": 0.4, "damping": d, "along": 0.2 + a, "across": 0.1 + b, "angle": 180 * t}
        for x, y, d, a, b, t in torch.rand(100, 6, dtype=torch.float64, generator=generator).add(0.01).tolist()
    ]
    for case, got in zip(cases, call(["ellipse"], ["compare", "deviations", "grad"], body, cases), strict=True):
        w = torch.tensor([case["w"]["x"], case["w"]["y"]], dtype=torch.float64)
        g = torch.tensor([got["g"]["x"], got["g"]["y"]], dtype=torch.float64)
        torch.testing.assert_close(g, w * torch.tensor([1.0, 3.0], dtype=torch.float64), rtol=1e-12, atol=0)
        samples = g + torch.tensor([[p["x"], p["y"]] for p in got["around"]], dtype=torch.float64)
        c = torch.cov(samples.mT, correction=0) + case["damping"] * torch.eye(2, dtype=torch.float64)
        stretch = torch.linalg.det(c) ** 0.25

        def far(v, w=w, g=g):
            """The gradient at w, and elsewhere the way there: a rule then returns its ascent."""
            return torch.where((v == w).all(), g, v - w)

        sam = rules.sam(w, far, case["rho"])
        gcm = rules.sam_gcm(w, far, lambda v, s=samples: s, case["rho"] * stretch, damping=case["damping"], relative=False)
        turned = case["rho"] / stretch * c @ g / (g @ c @ g).sqrt()
        for name, expected in (("SAM", sam), ("SAMGCM", gcm), ("turned", turned)):
            e = got["all"][name]["e"]
            np.testing.assert_allclose([e["x"], e["y"]], expected, rtol=1e-12, atol=1e-12)


def test_the_noise_is_as_the_sliders_say(call):
    body = "return module.covariance(module.deviations({along: 1.5, across: 0.5, angle: 90}));"
    got = call(["ellipse"], ["covariance", "deviations"], body)
    assert (got["xx"], got["xy"], got["yy"]) == pytest.approx((0.25, 0, 2.25), abs=1e-12)


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


def shown(frame, name):
    return float(frame.locator(f'.flatlab-control:has(input[data-name="{name}"]) output').inner_text().rstrip("°"))


def test_the_race_shows_the_papers_order_and_how_far_samgcm_climbs(open_page, explorable):
    frame = explorable(open_page(CHAPTER), "SparseRace")
    said = settled(frame)
    assert "SAMGCM has the lowest test loss" in said and "ρ/√δ is 0.500" in said
    test = {method: float(value(frame, method, "test")) for method in ("SGD", "SAM", "SAMGCM")}
    assert test["SGD"] > 3 * test["SAM"] > 6 * test["SAMGCM"]
    assert float(value(frame, "SAM", "length")) == 0.3 and 0.2 < float(value(frame, "SAMGCM", "length")) < 0.5
    assert float(value(frame, "SGD", "l1")) > 2 * 3 > 5 > float(value(frame, "SAMGCM", "l1"))


def test_the_race_presets_and_sliders_change_the_verdict(open_page, explorable):
    frame = explorable(open_page(CHAPTER), "SparseRace")
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


def test_the_race_state_travels_by_address_and_is_brought_into_range(open_page, explorable):
    frame = explorable(open_page(f"{CHAPTER}?SparseRace.samples=20&SparseRace.damping=-3"), "SparseRace")
    settled(frame)
    assert (shown(frame, "samples"), shown(frame, "damping")) == (20, 1e-8)


def test_a_dragged_point_moves_the_ellipse_and_noise_along_the_step_is_less(open_page, explorable):
    page = open_page(CHAPTER)
    frame = explorable(page, "NoiseEllipsoid")
    least, plain, most = (float(value(frame, method, "noise")) for method in ("SAMGCM", "SAM", "turned"))
    assert least < plain < most
    assert float(value(frame, "SAM", "length")) == 0.4
    before = value(frame, "SAMGCM", "rise")
    box = frame.locator(".flatlab-layer").bounding_box()
    knob = frame.locator(".flatlab-knob").bounding_box()
    page.mouse.move(knob["x"] + knob["width"] / 2, knob["y"] + knob["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"], steps=4)
    page.mouse.up()
    drawn(frame)
    label = frame.locator(".flatlab-knob").get_attribute("aria-label")
    x, y = map(float, re.search(r"x (-?[\d.]+), y (-?[\d.]+)\.", label).groups())
    assert (x, y) == pytest.approx((1, 1), abs=0.02) and value(frame, "SAMGCM", "rise") != before
    step = 0.4 / math.hypot(x, 3 * y)
    rise = (step * x + 0.5 * step**2 * x) * x + (3 * step * 3 * y + 0.5 * 3 * (3 * step) ** 2 * y) * y
    assert float(value(frame, "SAM", "rise")) == pytest.approx(rise, rel=0.01)


def test_equal_noise_makes_samgcm_sam(open_page, explorable):
    frame = explorable(open_page(CHAPTER), "NoiseEllipsoid")
    press(frame, "Equal noise: SAM again")
    assert "the same gradient noise as along SAM’s" in frame.locator(".flatlab-status").inner_text()
    for key in ("length", "noise", "rise"):
        assert value(frame, "SAM", key) == value(frame, "SAMGCM", key) == value(frame, "turned", key)
    slide(frame, "rho", 0.0)
    assert value(frame, "SAM", "length") == "0" and "no ascent" in frame.locator(".flatlab-status").inner_text()
