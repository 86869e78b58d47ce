"""The explorable of the valley, driven as a reader drives it; checked are the numbers on the page."""

import re

import pytest

from tests.browser.gestures import drawn, press, slide
from toy_problems import FactorizationValley

NORMS = re.compile(
    r"‖w‖ after (?P<steps>\d+) steps: SGD (?P<sgd>[\d.]+), SAM (?P<sam>[\d.]+), COV (?P<cov>[\d.]+); "
    r"the least on the valley is (?P<least>[\d.]+)\. COV is at w₁w₂ = (?P<product>−?[\d.]+); "
    r"the penalized loss has its minimum at (?P<rest>−?[\d.]+), the loss itself at (?P<valley>−?[\d.]+)\."
)


def norms(frame):
    drawn(frame)
    said = NORMS.match(frame.locator(".flatlab-status").inner_text())
    assert said, frame.locator(".flatlab-status").inner_text()
    return {name: float(value.replace("−", "-")) for name, value in said.groupdict().items()}


def test_the_valley_shows_what_the_records_show(stand):
    frame = stand(FactorizationValley())
    now = norms(frame)
    assert now["steps"] == 10_000 and now["least"] == pytest.approx(1.416, abs=0.015)
    assert now["sgd"] == pytest.approx(2.96, abs=0.02)
    assert now["sam"] == pytest.approx(now["least"], rel=0.03) and now["cov"] == pytest.approx(now["least"], rel=0.02)
    press(frame, "Figure 2")
    now = norms(frame)
    assert now["cov"] < now["least"] < now["sgd"] and abs(now["product"]) < 0.6 * abs(now["valley"])
    press(frame, "Without the factor")
    now = norms(frame)
    assert now["product"] == pytest.approx(now["rest"], abs=0.02) and now["rest"] < now["valley"] - 0.03
    press(frame, "Small batches")
    now = norms(frame)
    assert max(now["sgd"], now["sam"], now["cov"]) < 1.62, "all three have moved along the valley"
    assert len({now["sgd"], now["sam"], now["cov"]}) == 3


def test_every_control_of_the_valley_answers_and_its_start_is_dragged(stand):
    frame = stand(FactorizationValley())
    before = norms(frame)
    slide(frame, "rho", 0)
    now = norms(frame)
    assert now["sam"] == now["sgd"] == before["sgd"]
    slide(frame, "lam", 0)
    assert (
        frame.locator(".flatlab-status")
        .inner_text()
        .endswith("Their lines coincide: with ρ = 0 SAM is SGD, with λ = 0 COV is SGD.")
    )
    now = norms(frame)
    assert now["cov"] == now["sgd"] and now["rest"] == now["valley"]
    slide(frame, "lr", 0)
    assert norms(frame)["sgd"] != now["sgd"]
    slide(frame, "steps", 0)
    assert norms(frame)["steps"] == 100
    slide(frame, "batch", 1)
    assert norms(frame)["valley"] == before["valley"], "the data stay"
    frame.get_by_label("−0.01, as in the paper").check()
    assert norms(frame)["valley"] == pytest.approx(-0.01, abs=0.02)
    frame.get_by_role("button", name="Reset").click()
    assert norms(frame) == before
    frame.get_by_label("without it").check()
    frame.locator(".flatlab-status", has_text="COV diverged at step").wait_for(timeout=20_000)
    frame.get_by_role("button", name="Reset").click()
    before = norms(frame)["sgd"]
    frame.locator(".flatlab-layer").scroll_into_view_if_needed()
    box = frame.locator(".flatlab-layer").bounding_box()
    frame.page.mouse.move(box["x"] + 0.93 * box["width"], box["y"] + 0.485 * box["height"])
    frame.page.mouse.down()
    frame.page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.3 * box["height"], steps=4)
    frame.page.mouse.up()
    moved = norms(frame)["sgd"]
    assert moved < before - 0.5
    label = frame.locator(".flatlab-knob").get_attribute("aria-label")
    assert re.search(r"x 0\.[45]\d*, y 0\.[34]", label), label
    frame.locator(".flatlab-knob").press("Shift+ArrowRight")
    assert norms(frame)["sgd"] != moved
