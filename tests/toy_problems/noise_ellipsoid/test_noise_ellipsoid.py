"""The explorable of the noise ellipsoid: its worst points are the rules', and what stands on the page."""

import math
import re

import numpy as np
import pytest
import torch

from flatlab import rules
from tests.browser.gestures import drawn, press, slide
from toy_problems import NoiseEllipsoid

MODULE = "toy_problems/noise_ellipsoid/ellipse.mjs"


def test_the_ellipses_worst_points_are_those_of_the_rules(call):
    body = """return argument.map((s) => ({all: module.compare(s), around: module.deviations(s), g: module.grad(s.w)}));"""
    generator = torch.Generator().manual_seed(0)
    cases = [
        {"w": {"x": x, "y": y}, "rho": 0.4, "damping": d, "along": 0.2 + a, "across": 0.1 + b, "angle": 180 * t}
        for x, y, d, a, b, t in torch.rand(100, 6, dtype=torch.float64, generator=generator).add(0.01).tolist()
    ]
    for case, got in zip(cases, call(MODULE, ["compare", "deviations", "grad"], body, cases), strict=True):
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
    got = call(MODULE, ["covariance", "deviations"], body)
    assert (got["xx"], got["xy"], got["yy"]) == pytest.approx((0.25, 0, 2.25), abs=1e-12)


def value(frame, method, key):
    return frame.locator(f'tr[data-method="{method}"] td[data-value="{key}"]').inner_text()


def test_a_dragged_point_moves_the_ellipse_and_noise_along_the_step_is_less(stand):
    frame = stand(NoiseEllipsoid())
    page = frame.page
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


def test_equal_noise_makes_samgcm_sam(stand):
    frame = stand(NoiseEllipsoid())
    press(frame, "Equal noise: SAM again")
    assert "the same gradient noise as along SAM’s" in frame.locator(".flatlab-status").inner_text()
    for key in ("length", "noise", "rise"):
        assert value(frame, "SAM", key) == value(frame, "SAMGCM", key) == value(frame, "turned", key)
    slide(frame, "rho", 0.0)
    assert value(frame, "SAM", "length") == "0" and "no ascent" in frame.locator(".flatlab-status").inner_text()
