"""Sentences that hold an explorable: what is written is checked, and in the browser they answer, both ways."""

import re
import sys
from pathlib import Path

import pytest
import traitlets

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "book" / "_ext"))
import colab  # noqa: E402
import live  # noqa: E402

PAGES = sorted(page for page in (ROOT / "book").rglob("*.md") if "{live}`" in page.read_text())
HANDLES = {page: re.findall(r"\{live\}`([^`]+)`", page.read_text()) for page in PAGES}


def test_a_handle_says_what_it_holds():
    assert live.handle("0.2 <SamSaddle.rho>") == ("0.2", {"data-live": "SamSaddle", "data-number": "rho"})
    words, told = live.handle("a small rate <SamSaddle: lr=0.004, steps=50, method=GD>")
    assert (words, told["data-state"]) == ("a small rate", "lr=0.004; steps=50; method=GD")
    told = live.handle("SAM alone <RunCurves: setting=constant, weight decay 0, hidden=SGD, nudged|SGD, part=half>")[1]
    assert told["data-state"] == "setting=constant, weight decay 0; hidden=SGD, nudged|SGD; part=half", "commas in values"
    assert live.handle("one point <PairedRuns: resolve=1, base=SAM>")[1]["data-state"] == "resolve=1.0; base=SAM"
    assert live.handle("nothing yet <SamSaddle says runs>")[1] == {"data-live": "SamSaddle", "data-says": "runs"}


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ("0.2", ValueError, "write .live."),
        ("0.2 <Nobody.rho>", LookupError, "no explorable Nobody"),
        ("0.2 <SamSaddle.radii>", LookupError, "SamSaddle has no radii"),
        ("far <SamSaddle: rho=7>", traitlets.TraitError, "between 0.0 and 0.5"),
        ("far <SamSaddle: radii=7>", traitlets.TraitError, "has no 'radii'"),
        ("far <RunCurves: metric=beauty>", traitlets.TraitError, "metric"),
        ("far <PairedRuns: resolve=0.21>", traitlets.TraitError, "resolve"),
    ],
)
def test_a_wrong_handle_stops_the_build(wrong, error, message):
    with pytest.raises(error, match=message):
        live.handle(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_number_is_written_as_the_explorable_begins(page):
    """A number that can be dragged is the one that the picture shows when the page opens."""
    for text in HANDLES[page]:
        words, told = live.handle(text)
        if name := told.get("data-number"):
            given = re.search(rf"\b{told['data-live']}(?:\.of)?\((?:[^()]*\b)?{name}=([\d.e-]+)", page.read_text())
            begins = float(given[1]) if given else live.explorable(told["data-live"]).class_traits()[name].default_value
            assert float(words.replace(",", "")) == begins, text


def test_a_notebook_reads_as_written():
    guess = ":::{guess} SamSaddle: lr=0.1\n:right: 2\nWhich?\n- this\n- that\n\nThat one.\n:::\n"
    plain = colab.plain_markdown(f"{guess}\nAt {{live}}`0.2 <SamSaddle.rho>` now.\n", "")
    assert "At 0.2 now." in plain and "**Guess first.** Which?\n- this\n- that" in plain
    assert "<details><summary>What is so</summary>\n\nThat one.\n\n</details>" in plain


def test_a_curve_to_draw_becomes_words_in_a_notebook():
    guess = ":::{guess} SamSaddle: lr=0.1\n:draw: toy_problems.lucchi:caught\nDraw its line,\nplease.\n\nIt is so.\n:::\n"
    plain = colab.plain_markdown(guess, "")
    assert plain.startswith(
        "**Guess first.** Draw its line,\nplease.\n\n<details><summary>What is so</summary>\n\nIt is so."
    )


def frame_of(page, handle):
    """The explorable of a handle, in sight: one that is far away is not drawn yet."""
    frame = page.locator(f'[data-explorable="{handle.get_attribute("data-live")}"]').first
    frame.scroll_into_view_if_needed()
    return frame


@pytest.mark.parametrize("path", PAGES, ids=lambda page: page.stem)
def test_phrases_numbers_and_results_answer_both_ways(open_page, path):
    page = open_page(str(path.relative_to(ROOT).with_suffix(".html")), reduced_motion="reduce")
    for phrase in page.locator(".flatlab-live[data-state]").all():
        frame_of(page, phrase).locator(".flatlab-toolbar").wait_for(state="attached")
        phrase.click()
        page.wait_for_function("(span) => span.ariaPressed === 'true'", arg=phrase.element_handle())
        told = dict(part.split("=") for part in phrase.get_attribute("data-state").split("; "))
        state = page.evaluate(f"flatlabMounted.find((m) => m.name === '{phrase.get_attribute('data-live')}').model.state")
        assert {k: state[k] if isinstance(state[k], str) else float(state[k]) for k in told} == {
            k: v if isinstance(state[k], str) else float(v) for k, v in told.items()
        }
        if hidden := told.get("hidden"):  # any text would be kept
            assert set(hidden.split("|")) <= set(state["runs"]["lines"])
    for number in page.locator(".flatlab-live[data-number]").all():
        frame = frame_of(page, number)
        slider = frame.locator(f'input[data-name="{number.get_attribute("data-number")}"]')
        slider.wait_for(state="attached")
        before = slider.evaluate("(input) => input.value")
        number.press("ArrowRight" if before != slider.get_attribute("max") else "ArrowLeft")
        assert slider.evaluate("(input) => input.value") != before, "the sentence moves the slider"
        told = number.text_content()
        slider.press("End" if before != slider.get_attribute("max") else "Home")
        page.wait_for_function("([span, told]) => span.textContent !== told", arg=[number.element_handle(), told])
    for result in page.locator(".flatlab-live[data-says]").all():
        source = frame_of(page, result).locator(f'[data-says="{result.get_attribute("data-says")}"]')
        told = "([span, source]) => span.textContent === source.textContent"
        page.wait_for_function(told, arg=[result.element_handle(), source.element_handle()])


def test_a_number_whose_line_is_taken_away_is_not_told_any_more(open_page):
    page = open_page("book/scale/stability.html")
    told = page.locator('.flatlab-live[data-says="SAM"]')
    told.scroll_into_view_if_needed()
    box = page.locator('[data-explorable="RunCurves"]').first.get_by_label("SAM", exact=True)
    box.uncheck()
    page.wait_for_function("(span) => span.textContent === 'not shown'", arg=told.element_handle())
    box.check()
    page.wait_for_function("(span) => /^0\\.\\d+ ± 0\\.\\d+$/.test(span.textContent)", arg=told.element_handle())


def test_a_guess_is_answered_and_shown(open_page):
    page = open_page("book/toys/noise_structure.html", reduced_motion="reduce")
    fields = page.locator(".flatlab-guess")
    assert not fields.locator("details").evaluate("(d) => d.open")
    fields.locator("input").first.check()
    assert fields.locator("summary").text_content() == "Not so" and fields.locator("details").evaluate("(d) => d.open")
    page.wait_for_function("new URLSearchParams(location.search).get('NoiseEllipsoid.angle') === '105'")
    fields.get_by_role("button", name="See it in the picture").click()
    toy = "document.querySelector('[data-explorable=\"NoiseEllipsoid\"]').getBoundingClientRect()"
    page.wait_for_function(f"{toy}.top < innerHeight && {toy}.bottom > 0")
    assert fields.locator('[data-was="true"]').count() == fields.locator('[data-was="false"]').count() == 1


@pytest.mark.parametrize(("path", "asked"), [("sam_saddle", "SamSaddle.rho"), ("nonuniform_minima", "EscapeSwarm.method")])
def test_a_guess_is_drawn_and_shown(open_page, path, asked):
    """By the keyboard here; `tests/explorable/test_sketch.py` has the pointer. The toy then stands as the answer says."""
    page = open_page(f"book/toys/{path}.html", reduced_motion="reduce")
    fields = page.locator(".flatlab-guess")
    points = fields.get_by_role("slider")
    points.first.wait_for()
    assert 8 <= points.count() <= 9 and fields.locator(".flatlab-truth").count() == 0
    points.first.focus()
    for key in ("ArrowUp", "ArrowRight", "PageDown"):
        page.keyboard.press(key)
    fields.get_by_role("button", name="Show").click()
    fields.locator(".flatlab-truth").wait_for(state="attached")
    assert "Your curve is off by" in fields.locator(".flatlab-verdict").text_content()
    page.wait_for_function(f"new URLSearchParams(location.search).has('{asked}')")
