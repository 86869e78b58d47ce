"""A citation shows its reference, the number of an equation the equation, a symbol its line of the notation page."""

import re

import pytest

from tests.browser.gestures import until

CHAPTER = "book/toys/sam_saddle_detail.html"


def rest(page, selector):
    """Rest the pointer on the first of these, and give what it shows."""
    page.locator(selector).first.hover()
    box = page.locator(".flatlab-hover:popover-open")
    box.wait_for(timeout=10_000)
    return box


def test_a_citation_shows_its_reference(open_page):
    page = open_page(CHAPTER)
    link = page.locator('article a[href^="#footcite-"]').first
    reference = page.locator(link.get_attribute("href")).inner_text()
    title = max(re.split(r"[.“”]", reference), key=len).strip()
    assert title in rest(page, 'article a[href^="#footcite-"]').inner_text()


@pytest.mark.parametrize("key", ["Tab", "pointer"])
def test_the_number_of_an_equation_shows_the_equation_set(open_page, key):
    page = open_page(CHAPTER, equations=True)
    link = 'article a[href^="#equation-"]:not(.headerlink)'
    page.wait_for_function("window.MathJax?.startup?.promise")
    if key == "Tab":
        page.locator(link).first.focus()
        box = page.locator(".flatlab-hover:popover-open")
    else:
        box = rest(page, link)
    until(page.locator("body"), lambda: box.locator("mjx-math, mjx-mrow, mjx-mi").count() > 0)
    assert "#" not in box.inner_text()


def test_a_symbol_shows_what_the_notation_page_says(open_page):
    box = rest(open_page(CHAPTER), r'article [data-symbol="\\rho"]')
    assert "radius of SAM’s ascent step" in box.inner_text()


def test_escape_puts_it_away_and_nothing_is_left(open_page):
    page = open_page(CHAPTER)
    box = rest(page, 'article a[href^="#footcite-"]')
    page.keyboard.press("Escape")
    until(page.locator("body"), lambda: box.count() == 0)
    assert page.locator("[aria-describedby=flatlab-hover]").count() == 0
