"""Every explorable of the chapter, driven as a reader drives it; checked are the numbers on the page."""

import json
import math
import re
from pathlib import Path

import pytest
import torch

from flatlab import rules
from flatlab.descent import trajectory
from tests.browser.gestures import drawn, mapped, press, slide, tick, until
from toy_problems import Lucchi

CHAPTER = "book/toys/sam_saddle.html"
RECORDS = Path(__file__).parents[2] / "book" / "results" / "lucchi_success_rate"


def words(frame):
    return frame.locator(".flatlab-status").inner_text()


def shown(frame, name):
    return float(frame.locator(f'.flatlab-control:has(input[data-name="{name}"]) output').inner_text())


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


def test_saddle_says_what_became_of_the_three_runs(open_page, explorable):
    frame = explorable(open_page(), "SamSaddle")
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


def test_saddle_presets_show_what_they_name(open_page, explorable):
    frame = explorable(open_page(), "SamSaddle")
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


def test_saddle_basin_follows_every_control(open_page, explorable):
    frame = explorable(open_page(), "SamSaddle")
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


def test_saddle_start_is_dragged_by_mouse(open_page, explorable):
    page = open_page()
    frame = explorable(page, "SamSaddle")
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


def test_saddle_start_cannot_leave_the_plane(open_page, explorable):
    page = open_page()
    frame = explorable(page, "SamSaddle")
    page.mouse.move(*layer_point(frame, *start(frame)))
    page.mouse.down()
    page.mouse.move(*layer_point(frame, 2.6, -2.4), steps=4)
    page.mouse.up()
    assert start(frame) == (2, -2)


def test_saddle_start_moves_by_arrow_keys(open_page, explorable):
    page = open_page()
    frame = explorable(page, "SamSaddle")
    x, y = start(frame)
    frame.locator(".flatlab-knob").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowLeft")
    assert start(frame) == pytest.approx((x + 0.02 - 0.25, y - 0.02))


def test_saddle_start_is_dragged_by_touch_and_the_page_still_scrolls(open_page, explorable):
    page = open_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    frame = explorable(page, "SamSaddle")
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


def test_saddle_state_travels_by_address(open_page, explorable):
    page = open_page(f"{CHAPTER}?SamSaddle.lr=0.3&SamSaddle.rho=0.5&SamSaddle.x=1.9&SamSaddle.y=-1.9")
    frame = explorable(page, "SamSaddle")
    assert (shown(frame, "lr"), shown(frame, "rho"), start(frame)) == (0.3, 0.5, (1.9, -1.9))
    assert "SAM diverged at step" in words(frame)
    slide(frame, "rho", 0.6)
    until(frame, lambda: "SamSaddle.rho=0.3" in page.url and "SamSaddle.lr=0.3" in page.url)
    frame.get_by_role("button", name="Reset").click()
    until(frame, lambda: "SamSaddle" not in page.url)
    assert shown(frame, "lr") == 0.1


@pytest.mark.parametrize(
    "address, expected",
    [
        ("SamSaddle.lr=-5&SamSaddle.x=99", {"lr": 0.001, "x": 2.0}),
        ("SamSaddle.lr=nonsense&SamSaddle.method=Adam", {"lr": 0.1, "x": -0.6}),
    ],
)
def test_a_bad_address_is_brought_into_range(open_page, explorable, address, expected):
    frame = explorable(open_page(f"{CHAPTER}?{address}"), "SamSaddle")
    assert shown(frame, "lr") == expected["lr"] and start(frame)[0] == expected["x"]
    assert "After 300 steps" in words(frame)


def cells(frame, method):
    return [cell.inner_text() for cell in frame.locator(f'tr[data-method="{method}"] td').all()]


def test_bounds_are_those_of_table_1(open_page, explorable):
    frame = explorable(open_page(), "RiskBound")
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


def test_bounds_keep_mu_below_L_and_gammas_in_order(open_page, explorable):
    frame = explorable(open_page(), "RiskBound")
    slide(frame, "mu", 1.0)
    assert shown(frame, "mu") == 10 and shown(frame, "L") >= 10
    slide(frame, "L", 0.2)
    assert shown(frame, "mu") <= shown(frame, "L")
    slide(frame, "gamma0", 1.0)
    assert shown(frame, "gamma1") >= shown(frame, "gamma0") == 0.99


def test_success_rates_are_those_of_the_record(open_page, explorable):
    frame = explorable(open_page(), "SuccessRates")
    (path,) = RECORDS.glob("*.json")
    record = json.loads(path.read_text())
    config, result = record["config"], record["result"]
    slide(frame, "rho", 1 / 3)  # the second of four
    slide(frame, "radius", 1.0)
    slide(frame, "steps", 0.0)
    rho, radius, steps = shown(frame, "rho"), shown(frame, "radius"), shown(frame, "steps")
    assert (rho, radius, steps) == (config["rhos"][1], config["radii"][-1], config["steps"][0])
    at = shown(frame, "at")
    k = min(range(100), key=lambda j: abs(math.log(result["learning_rates"][j] / at)))
    for curve in result["curves"]:
        if curve.get("rho", rho) == rho:
            success, saddle = curve["success"][k][0][-1] / 1e4, curve["saddle"][k][0][-1] / 1e4
            assert cells(frame, curve["method"])[:2] == [f"{success:.1%}", f"{saddle:.1%}"]


def test_success_rates_against_time_draw_other_axes(open_page, explorable):
    frame = explorable(open_page(), "SuccessRates")
    chart = frame.locator(".flatlab-plot")
    assert "learning rate × steps" not in chart.inner_text()
    tick(frame, "learning rate × steps")
    assert "learning rate × steps" in chart.inner_text()
