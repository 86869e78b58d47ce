"""The explorable of the ball: its formulas, its draws, and driven as a reader drives it."""

import math
import re

import numpy as np
import pytest

from tests.browser.gestures import press, shown, slide
from tests.browser.readings import cells, words
from toy_problems import BallInD

MODULE = "toy_problems/ball_in_d/ball_in_d.mjs"


def test_the_ball_in_d_is_the_formula_and_the_draws_agree_with_it(call):
    names = ["ball", "drawn", "coordinateDensity", "lengthDensity"]
    for d in (1, 3, 200, 272474):
        s = {"d": d, "rho": 0.3, "k": 4, "stiff": 7, "curvature": 5.0}
        b, m = call(MODULE, names, "return module.ball(argument);", s), min(7, d)
        assert b["coordinate"] == pytest.approx(0.3 / math.sqrt(d + 2), rel=1e-12)
        assert b["length"] == pytest.approx(0.3 * d / (d + 1), rel=1e-12)
        assert b["lsam"] == pytest.approx(5 * 0.3 * math.sqrt(m / (4 * (d + 2))), rel=1e-12)
        assert b["lsamLoss"] == pytest.approx(0.3**2 / (2 * (d + 2)) * 5 * m, rel=1e-12)
        if d <= 1000:
            sample = call(MODULE, names, "return module.drawn(argument);", s)
            assert np.mean(sample["lengths"]) == pytest.approx(d / (d + 1), abs=0.06)
            assert math.sqrt(np.mean(np.square(sample["firsts"]))) == pytest.approx(1 / math.sqrt(d + 2), rel=0.2)
            assert sample["lsam"] == pytest.approx(b["lsam"] / 1.5, rel=0.25)
    # On [0, 1], over its integral, the density of a coordinate has the mean square 1 / (d + 2).
    x = (np.arange(20_000) + 0.5) / 20_000
    density = np.array(
        call(
            MODULE,
            names,
            "return argument.map((x) => module.coordinateDensity(40, x));",
            x.tolist(),
        )
    )
    assert (x * x * density).sum() / density.sum() == pytest.approx(1 / 42, rel=1e-6)


def test_ball_says_what_is_computed_and_what_is_drawn(stand):
    frame = stand(BallInD())
    press(frame, "A hundred weights")
    assert "160 draws made here and now" in words(frame)
    for row in ("length", "coordinate", "lsam"):
        computed, drawn = cells(frame, row)
        assert drawn == pytest.approx(computed, rel=0.15)
    press(frame, "ResNet-20")
    assert shown(frame, "d") == 272474
    assert cells(frame, "coordinate") == pytest.approx([0.05 / math.sqrt(272476)], rel=5e-3)
    assert re.search(r"Averaging moves the gradient 0\.61% as far as SAM can\. Computed, not drawn", words(frame))


def test_ball_follows_every_control(stand):
    frame = stand(BallInD())
    press(frame, "A disc")
    (before, _), (length, _) = cells(frame, "lsam"), cells(frame, "length")
    slide(frame, "k", 0.2)
    assert shown(frame, "k") == 4 and cells(frame, "lsam")[0] == pytest.approx(before / 2, rel=5e-3)
    slide(frame, "rho", 1.0)
    assert cells(frame, "length")[0] == pytest.approx(20 * length, rel=5e-3)
    slide(frame, "curvature", 1.0)
    assert shown(frame, "curvature") == 1000 and cells(frame, "sam") == [1000]
    slide(frame, "d", 1.0)
    assert shown(frame, "d") == 1_000_000 and cells(frame, "lsam")[0] == pytest.approx(1000 * math.sqrt(2 / 4e6), rel=5e-3)
    slide(frame, "stiff", 1.0)
    assert shown(frame, "stiff") == 1000
    assert cells(frame, "lsam")[0] == pytest.approx(1000 * math.sqrt(1000 / 4e6), rel=5e-3)
