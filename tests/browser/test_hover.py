"""A citation shows its reference, an equation's number the equation, a symbol or a term what the notation page says."""

import re

import pytest
from playwright.sync_api import TimeoutError

from tests.browser.gestures import until

CHAPTER = "book/toys/sam_saddle_detail.html"


ACTS = {
    "pointer": lambda target: target.hover(force=True),
    "finger": lambda target: target.tap(force=True),
    "Tab": lambda target: (target.blur(), target.focus()),
}


def rest(page, target, act="pointer"):
    """Come to it, and give what it shows: once more where a toy that mounts late moved the page meanwhile."""
    box = page.locator(".flatlab-hover:popover-open")

    def shown():
        page.mouse.move(0, 0)
        ACTS[act](target)
        try:
            box.wait_for(timeout=3_000)
        except TimeoutError:
            return False
        return True

    until(page.locator("body"), shown, seconds=30)
    return box


def test_a_citation_shows_its_reference(open_page):
    page = open_page(CHAPTER)
    link = page.locator('article a[href^="#footcite-"]').first
    reference = page.locator(link.get_attribute("href")).inner_text()
    title = max(re.split(r"[.“”]", reference), key=len).strip()
    assert title in rest(page, link).inner_text()


@pytest.mark.parametrize("key", ["Tab", "pointer"])
def test_the_number_of_an_equation_shows_the_equation_set(open_page, key):
    page = open_page(CHAPTER, equations=True)
    link = page.locator('article a[href^="#equation-"]:not(.headerlink)').first
    page.wait_for_function("window.MathJax?.startup?.promise")
    box = rest(page, link, key)
    until(page.locator("body"), lambda: box.locator("mjx-math, mjx-mrow, mjx-mi").count() > 0)
    assert "#" not in box.inner_text()


def letter(page, character):
    """The first set letter of this kind in the text of a page, by its place in Unicode."""
    page.evaluate("flatlabFormulas().then(() => MathJax.startup.document.lazyTypesetAll()).then(() => null)")
    found = page.locator(f"article section mjx-mi:has(> mjx-c.mjx-c{ord(character):X}) >> visible=true").first
    found.wait_for(timeout=30_000)
    return found


SYMBOLS = [
    ("sam_saddle_detail", "𝜌", "radius of SAM’s ascent step"),
    ("sam_saddle", "𝐴", "half-width of SAM’s cycle"),
    ("nonuniform_minima", "𝛼", "covariance of a minibatch drawn without replacement"),  # below its hat
]


@pytest.mark.parametrize(("chapter", "character", "line"), SYMBOLS)
def test_a_letter_of_a_formula_shows_what_the_notation_page_says(open_page, chapter, character, line):
    page = open_page(f"book/toys/{chapter}.html", equations=True)
    assert line in rest(page, letter(page, character)).inner_text()


def test_a_letter_that_means_something_else_in_this_chapter_shows_nothing(open_page):
    page = open_page("book/toys/hessian_penalty.html", equations=True)
    letter(page, "𝐴").hover(force=True)
    page.wait_for_function("globalThis.flatlabNotation?.symbols.A.length > 0")
    page.wait_for_timeout(600)  # longer than a pointer has to rest
    assert page.locator(".flatlab-hover:popover-open").count() == 0


def test_a_finger_gets_what_a_pointer_gets(open_page):
    page = open_page(CHAPTER, equations=True, has_touch=True, viewport={"width": 360, "height": 740})
    box = rest(page, letter(page, "𝜌"), "finger")
    assert "radius of SAM’s ascent step" in box.inner_text()
    term = page.locator("article a.flatlab-term").first
    term.tap()
    until(page.locator("body"), lambda: "radius of SAM’s ascent step" not in box.inner_text())
    assert page.url.endswith(CHAPTER), "the first touch shows, the second follows"


def test_a_term_shows_its_meaning_to_the_keyboard_and_leads_there(open_page):
    page = open_page("book/toys/sam_saddle.html")
    box = rest(page, page.locator("article a.flatlab-term").first, "Tab")
    told = box.inner_text().strip()
    page.keyboard.press("Enter")
    page.wait_for_url("**/notation.html#term-*")
    name = page.evaluate("decodeURIComponent(location.hash.slice(1))")
    assert told and told == page.locator(f"dt#{name} + dd").inner_text().strip()


def test_each_page_lists_its_symbols_for_those_who_do_not_point(open_page):
    page = open_page("book/toys/sam_saddle.html")
    block = page.locator("details.flatlab-symbols")
    block.locator("summary").press("Enter")
    told = block.inner_text()
    assert "radius of SAM’s ascent step" in told and "relative flatness of that layer" not in told


def test_escape_puts_it_away_and_nothing_is_left(open_page):
    page = open_page(CHAPTER)
    box = rest(page, page.locator('article a[href^="#footcite-"]').first)
    page.keyboard.press("Escape")
    until(page.locator("body"), lambda: box.count() == 0)
    assert page.locator("[aria-describedby=flatlab-hover]").count() == 0
