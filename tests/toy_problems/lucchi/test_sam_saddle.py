"""The explorable of Lucchi's saddle, driven as a reader drives it; checked are the numbers on the page."""

import re

import pytest
import torch

from flatlab import rules
from flatlab.descent import trajectory
from tests.browser.gestures import drawn, mapped, press, shown, slide, until
from tests.browser.readings import words
from toy_problems import Lucchi, SamSaddle


def census(frame):
    mapped(frame)
    return {
        item.get_attribute("data-fate"): float(re.search(r"([\d.]+)%", item.inner_text())[1])
        for item in frame.locator(".flatlab-census li[data-fate]").all()
    }


def start(frame):
    label = frame.locator(".flatlab-knob").get_attribute("aria-label")
    return tuple(float(v) for v in re.search(r"x (-?[\d.]+), y (-?[\d.]+)\.", label).groups())


def layer_point(frame, x, y):
    box = frame.locator(".flatlab-layer").bounding_box()
    return box["x"] + (x + 2) / 4 * box["width"], box["y"] + (2 - y) / 4 * box["height"]


def test_saddle_says_what_became_of_the_three_runs(stand):
    frame = stand(SamSaddle())
    said = re.fullmatch(
        r"After 300 steps: GD reached \(1, 1\); SAM circles \(1, 1\) at distance ([\d.]+), within the success radius; "
        r"StableSAM reached \(1, 1\)\.",
        words(frame),
    )
    assert said, words(frame)
    cycle = trajectory(rules.sam, Lucchi().grad, torch.tensor([-0.6, 1.6], dtype=torch.float64), lr=0.1, steps=300, rho=0.2)
    assert float(said[1]) == pytest.approx((cycle[-1] - 1).norm().item(), abs=6e-4)
    shares = census(frame)
    assert sum(shares.values()) == pytest.approx(100, abs=0.3)
    assert shares["upper"] == pytest.approx(shares["lower"]) == pytest.approx(43.2, abs=0.3)
    assert shares["saddle"] == pytest.approx(13.5, abs=0.3)


def test_saddle_presets_show_what_they_name(stand):
    frame = stand(SamSaddle())
    press(frame, "Circling the minimum")
    assert "GD reached (1, 1)" in words(frame) and "SAM circles (1, 1) at distance" in words(frame)
    press(frame, "Both fall into the saddle")
    said = words(frame)
    assert "GD reached" in said and "StableSAM is caught at the saddle" in said
    assert re.search(r"; SAM (is caught at|circles) the saddle", said)
    press(frame, "Only out of time")
    assert re.search(r"GD is at \(.*\), still moving", words(frame))
    assert census(frame)["astray"] > 50
    press(frame, "SAM diverges")
    assert re.search(r"; SAM diverged at step \d+;", words(frame))
    assert census(frame)["diverged"] > 5, "a diverged start has its own colour on the map"


def test_saddle_basin_follows_every_control(stand):
    frame = stand(SamSaddle())
    before = census(frame)
    frame.get_by_label("GD", exact=True).check()
    assert census(frame)["saddle"] == 0 and before["saddle"] > 10, "gradient descent has no trap"
    frame.get_by_label("StableSAM").check()
    assert census(frame)["saddle"] == pytest.approx(13.5, abs=0.4), "renormalization does not open it"
    slide(frame, "rho", 0.0)
    assert shown(frame, "rho") == 0 and census(frame)["saddle"] == 0
    slide(frame, "lr", 0.0)
    assert shown(frame, "lr") == 0.001 and census(frame)["astray"] > 80
    slide(frame, "radius", 1.0)
    assert shown(frame, "radius") == 0.5 and census(frame)["astray"] < 80
    slide(frame, "steps", 1.0)
    assert shown(frame, "steps") == 1000 and "After 1000 steps" in words(frame)


def test_saddle_start_is_dragged_by_mouse(stand):
    frame = stand(SamSaddle())
    page = frame.page
    page.mouse.move(*layer_point(frame, *start(frame)))
    page.mouse.down()
    page.mouse.move(*layer_point(frame, -1.0, 0.5), steps=5)
    page.mouse.move(*layer_point(frame, -1.5, -0.5), steps=5)
    page.mouse.up()
    x, y = start(frame)
    assert (x, y) == pytest.approx((-1.5, -0.5), abs=0.02)
    page.mouse.move(*layer_point(frame, 1.0, 1.0))
    assert start(frame) == (x, y), "after the release the point stays"
    drawn(frame)
    assert "GD reached (−1, −1)" in words(frame)


def test_saddle_start_cannot_leave_the_plane(stand):
    frame = stand(SamSaddle())
    page = frame.page
    page.mouse.move(*layer_point(frame, *start(frame)))
    page.mouse.down()
    page.mouse.move(*layer_point(frame, 2.6, -2.4), steps=4)
    page.mouse.up()
    assert start(frame) == (2, -2)


def test_saddle_start_moves_by_arrow_keys(stand):
    frame = stand(SamSaddle())
    page = frame.page
    x, y = start(frame)
    frame.locator(".flatlab-knob").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowLeft")
    assert start(frame) == pytest.approx((x + 0.02 - 0.25, y - 0.02))


def test_saddle_start_is_dragged_by_touch_and_the_page_still_scrolls(stand):
    frame = stand(SamSaddle(), viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page = frame.page
    touch = page.context.new_cdp_session(page)

    def send(kind, *points):
        touches = [{"x": px, "y": py} for px, py in points]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    frame.locator(".flatlab-layer").scroll_into_view_if_needed()
    send("touchStart", layer_point(frame, *start(frame)))
    for k in range(1, 6):
        send("touchMove", layer_point(frame, -0.6 + 0.2 * k, 1.6 - 0.2 * k))
    send("touchEnd")
    assert start(frame) == pytest.approx((0.4, 0.6), abs=0.06)
    before, here = start(frame), page.evaluate("scrollY")
    send("touchStart", layer_point(frame, -1.5, 0.0))
    for k in range(1, 8):
        x, y = layer_point(frame, -1.5, 0.0)
        send("touchMove", (x, y - 25 * k))
    send("touchEnd")
    until(frame, lambda: page.evaluate("scrollY") > here)
    assert start(frame) == before, "a swipe beside the point scrolls"
