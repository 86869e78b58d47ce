"""A curve that is drawn before it is seen: by pointer and by keyboard, judged, and left in words where no script runs."""

from html import escape

import pytest

from flatlab.explorable import Axis, Line, Sketch
from flatlab.explorable.bundle import bundle
from tests.browser.gestures import until
from toy_problems.lucchi import caught
from toy_problems.nonuniform_minima import arrived

SKETCH = Sketch(
    Axis("time t", 0, 4, "t"),
    Axis("share", 0, 100, unit="%"),
    Line("SAM", (0, 1, 2, 3, 4), (0, 10, 40, 90, 100)),
    Line("SGD", (0, 4), (0, 50)),
)
MODULE = "flatlab/explorable/sketch.mjs"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"every": 3}, "points 3 apart do not end at the last of 5"),
        ({"y": Axis("share", 0, 60)}, "SAM: share must lie between 0 and 60"),
    ],
)
def test_a_curve_that_does_not_fit_is_refused(change, message):
    given = {"x": SKETCH.x, "y": SKETCH.y, "truth": SKETCH.truth}
    with pytest.raises(ValueError, match=message):
        Sketch(**(given | change))


def test_the_truths_come_from_the_toys():
    """StableSAM is caught where SAM is; momentum stands still where SGD passes it."""
    saddle = caught(starts=200)
    assert saddle.places[0] == 0 and saddle.answers[0] == 0 and 8 <= len(saddle.places) <= 9
    assert max(abs(a - b) for a, b in zip(saddle.answers, saddle.given.y, strict=True)) < 3
    runs = arrived(runs=400)
    assert len(runs.places) == 9 and runs.answers[0] < 10 and runs.answers[-1] > 95
    at = runs.truth.x.index(0.6)
    assert 55 < runs.truth.y[at] < 80 < runs.given.y[at]


def test_the_verdict_counts_as_it_says(call):
    body = "return module.verdict(argument.data, argument.drawn);"
    data = {"x": {"symbol": "t"}, "y": {"low": 0, "high": 100, "unit": "%"}, "places": [0, 1, 2], "answers": [0, 10, 40]}
    assert call(MODULE, ["verdict"], body, {"data": data, "drawn": [0, 16, 10]}) == (
        "Your curve is off by 12 points on average, and by most at t = 2: you drew 10%, it is 40%."
    )
    assert call(MODULE, ["verdict"], body, {"data": data, "drawn": [0, 10, 41]}).endswith("on average: it is the true one.")


def test_a_stroke_moves_what_it_passes_and_no_more(call):
    body = "return module.stroke([0, 1, 2, 3], [5, 5, 5, 5], {x: 0.6, y: 0}, {x: 2.1, y: 15});"
    assert call(MODULE, ["stroke"], body) == pytest.approx([5, 4, 15, 5]), "the point beside the pen is at its height"


@pytest.fixture
def field(visit, stage):
    """The question on a page of its own; the element of the guess."""

    def shown(**options):
        folder, address = stage
        asked = f'<div class="flatlab-sketch" data-sketch="{escape(SKETCH.data())}"></div>'
        told = f"<details><summary>What is so</summary>{SKETCH.table()}<p>So it is.</p></details>"
        script = f'<script type="module">{bundle("flatlab/explorable/live.mjs", exports=False)}</script>'
        fields = f'<fieldset class="flatlab-guess">{asked}{told}</fieldset>'
        page = f'<!doctype html><link rel="icon" href="data:,"><title>x</title>{fields}{script}'
        (folder / "sketch.html").write_text(page)
        return visit(address, "sketch.html", **options).locator(".flatlab-guess")

    return shown


def heights(guess):
    return [float(el.get_attribute("aria-valuenow")) for el in guess.get_by_role("slider").all()]


def test_it_is_drawn_by_the_pointer(field):
    guess = field(viewport={"width": 700, "height": 600})
    page, show = guess.page, guess.get_by_role("button")
    assert show.is_disabled() and heights(guess) == [50] * 5
    places = [el.bounding_box() for el in guess.get_by_role("slider").all()]
    middle = lambda box: (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)  # noqa: E731
    page.mouse.move(*middle(places[0]))
    page.mouse.down()
    page.mouse.move(middle(places[2])[0], middle(places[2])[1] - 60, steps=2)
    page.mouse.up()
    first, second, third, *rest = heights(guess)
    assert first == pytest.approx(50, abs=1) and first < second < third and rest == [50, 50]
    show.click()
    until(guess, lambda: guess.locator(".flatlab-truth").count() == 1)
    assert "you drew" in guess.locator(".flatlab-verdict").inner_text()
    assert guess.locator("details").evaluate("(d) => d.open")
    before = heights(guess)
    page.mouse.click(*middle(places[4]))
    assert heights(guess) == before, "what is judged stays"
    show.click()
    until(guess, lambda: guess.locator(".flatlab-truth").count() == 0)


def test_it_is_drawn_by_a_finger_on_a_phone(field):
    guess = field(viewport={"width": 360, "height": 740}, has_touch=True)
    box = guess.get_by_role("slider").nth(3).bounding_box()
    guess.page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 + 40)
    until(guess, lambda: heights(guess)[3] < 40)
    assert guess.page.evaluate("document.documentElement.scrollWidth") <= 360


def test_it_is_drawn_by_the_keyboard_alone(field):
    guess = field()
    page = guess.page
    page.keyboard.press("Tab")
    for k, answer in enumerate(SKETCH.answers):
        if k:
            page.keyboard.press("ArrowRight")
        key = "ArrowUp" if answer > 50 else "ArrowDown"
        for _ in range(abs(answer - 50) // 2):
            page.keyboard.press(key)
    assert heights(guess) == SKETCH.answers
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    until(guess, lambda: "it is the true one" in guess.locator(".flatlab-verdict").inner_text())


def test_without_scripts_the_question_and_the_truth_are_words(field):
    guess = field(java_script_enabled=False)
    assert guess.locator("svg").count() == 0
    assert guess.locator("details").text_content() == "What is sot01234it is0%10%40%90%100%So it is."
