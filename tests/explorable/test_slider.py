"""A slider stops at round numbers and comes back; the field beside it takes any number of the range, and no other."""

from itertools import pairwise

import pytest

from tests.browser.gestures import drawn, shown
from tests.explorable.test_contract import state
from tests.rooms import explorables
from toy_problems import BallInD, RiskBound

STOPS = "flatlab/explorable/stops.mjs"
RANGES = [
    (cls.__name__, name, allowed)
    for cls in explorables()
    for name, allowed in cls().ranges().items()
    if cls.__name__ != "SuccessRates"
]


def digits(value):
    """How many digits a number has without the zeros around them."""
    return len(f"{value:.10e}".partition("e")[0].replace(".", "").strip("-0"))


def test_stops_by_ratio_are_round_dense_and_hold_the_ends_and_the_number_it_began_with(call):
    ranges = [{**allowed, "also": allowed["initial"]} for *_, allowed in RANGES if allowed["min"] > 0]
    body = "return argument.map((r) => module.stopsOf(r, {log: true, also: r.also}));"
    for given, stops in zip(ranges, call(STOPS, ["stopsOf"], body, ranges), strict=True):
        assert stops == sorted(set(stops)) and stops[0] == given["min"] and stops[-1] == given["max"]
        assert given["initial"] in stops
        assert all(digits(v) <= 2 or v in (given["min"], given["max"], given["initial"]) for v in stops)
        assert all(b - a <= max(0.11 * b, given["whole"]) for a, b in pairwise(stops)), "no leap"


def test_even_stops_are_multiples_of_a_round_step(call):
    body = "return argument.map(([r, more]) => module.stopsOf(r, more));"
    asked = [
        [{"min": 0, "max": 0.5}, {"step": 0.005, "also": 0.2}],
        [{"min": 0.25, "max": 8}, {"step": 0.25, "also": 4}],
        [{"min": 1, "max": 6, "whole": True}, {"also": 2}],
        [{"min": -2, "max": 2}, {"also": -0.333}],
        [{"min": 0.05, "max": 0.99}, {"also": 0.5}],
    ]
    half, quarters, whole, free, odd = call(STOPS, ["stopsOf"], body, asked)
    assert half == [k / 200 for k in range(101)]
    assert quarters == [k / 4 for k in range(1, 33)]
    assert whole == [1, 2, 3, 4, 5, 6]
    assert set(free) == {k / 50 for k in range(-100, 101)} | {-0.333}
    assert odd[:2] == [0.05, 0.055] and odd[-1] == 0.99 and len(odd) == 189


@pytest.fixture
def frame(stand):
    return stand(RiskBound(mu=0.37), reduced_motion="reduce")


def test_a_double_click_goes_back_to_the_number_of_the_book(frame):
    control = frame.locator('input[type="range"][data-name="mu"]')
    control.press("End")
    assert shown(frame, "mu") == 10
    control.dblclick(position={"x": 5, "y": 8})
    assert shown(frame, "mu") == 0.37
    before = control.evaluate("(x) => x.value")
    control.press("ArrowRight")
    assert shown(frame, "mu") == 0.38
    control.press("ArrowLeft")
    assert control.evaluate("(x) => x.value") == before and shown(frame, "mu") == 0.37


def test_the_field_takes_what_is_allowed_and_puts_the_rest_right(frame):
    field = frame.get_by_role("spinbutton", name="smoothness L")
    field.fill("12.345")
    assert state(frame, RiskBound())["L"] == 10, "the address follows once the hand rests"
    drawn(frame)
    frame.page.wait_for_function("new URLSearchParams(location.search).get('RiskBound.L') === '12.345'")
    assert frame.locator('input[type="range"][data-name="L"]').get_attribute("aria-valuetext") == "12.345"
    for typed, right in (("1e9", 100), ("-3", 0.01), ("", 0.01)):
        field.fill(typed)
        field.press("Enter")
        field.blur()
        assert shown(frame, "L") == right
    field.press("ArrowUp")
    assert shown(frame, "L") == 0.011
    field.press("ArrowDown")
    field.press("ArrowDown")
    assert shown(frame, "L") == 0.01


def test_the_field_of_a_whole_number_keeps_it_whole(stand):
    frame = stand(BallInD(), reduced_motion="reduce")
    field = frame.get_by_role("spinbutton", name="draws k")
    field.fill("2.7")
    field.blur()
    assert shown(frame, "k") == 3
