"""axe-core finds nothing to object to, light and dark; what no rule of its sees is asked for by hand."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.gestures import set_equations, until
from tests.browser.served import SITE

KINDS = [
    "book/index.html",
    "book/ledger.html",
    "book/scale/cifar.html",
    "book/notation.html",
    "book/own_runs.html",
    "search.html",
]
KINDS += ["embed/SamSaddle.html", "records/diagonal_network/index.html", "records/lucchi_success_rate/c555bee072b9.html"]
TOYS = sorted(path.relative_to(SITE).as_posix() for path in (SITE / "book" / "toys").glob("*.html"))
OPTIONS = {"resultTypes": ["violations"], "preload": False}  # style sheets are there already
STOPS = """() => [...document.querySelectorAll("mjx-container, mjx-container *")].filter((el) => el.tabIndex >= 0).length"""
UNSEEN = """(el) => { el.focus({ focusVisible: true }); const { outlineStyle, boxShadow } = getComputedStyle(el);
  return outlineStyle === "none" && boxShadow === "none"; }"""


def whole(page):
    """Wait until a page stands there as it would for a reader who has been everywhere on it."""
    set_equations(page)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    until(page.locator("body"), lambda: page.locator(".flatlab-waiting").count() == 0, seconds=60)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", KINDS + TOYS)
def test_axe_finds_no_violation(open_page, path, scheme):
    page = open_page(path, equations=True, color_scheme=scheme)
    whole(page)
    found = Axe().run(page, options=OPTIONS).response["violations"]
    assert not found, "\n".join(
        f"{one['id']}: {node['target']} {node['html'][:160]}" for one in found for node in one["nodes"]
    )


def test_formulas_are_no_stops_of_the_tab_key(open_page):
    page = open_page(equations=True)
    set_equations(page)
    assert page.locator("mjx-container").count() > 40
    assert page.evaluate(STOPS) == 0


@pytest.mark.parametrize("path", TOYS)
def test_every_figure_is_described_in_words(path):
    texts = re.findall(r'<img [^>]*alt="([^"]*)"[^>]*_images/', (SITE / path).read_text())
    poor = [text for text in texts if len(text) < 20 or re.search(r"\.png|\\[a-zA-Z(]", text)]
    assert not poor, "neither the name of a file nor raw TeX"


def test_what_is_wider_than_a_phone_scrolls_by_the_keyboard(open_page):
    page = open_page("book/toys/sam_saddle_detail.html", equations=True, viewport={"width": 360, "height": 740})
    whole(page)
    wide = "(el) => el.checkVisibility() && el.scrollWidth > el.clientWidth + 1"
    blocks = [el for el in page.locator("div.math, .flatlab-scrolls, article pre").element_handles() if el.evaluate(wide)]
    assert blocks, "a phone is narrower than some of them"
    until(page.locator("body"), lambda: all(el.evaluate("(el) => el.tabIndex") == 0 for el in blocks))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_focus_is_seen_on_whatever_takes_it(open_page, explorable, scheme):
    page = open_page(color_scheme=scheme)
    explorable(page, "SamSaddle")
    stops = page.locator("article :is(a[href], button, input, select, summary, [tabindex='0']):visible:not(:disabled)")
    assert stops.count() > 30
    unseen = [el.evaluate("(el) => el.outerHTML.slice(0, 120)") for el in stops.element_handles() if el.evaluate(UNSEEN)]
    assert not unseen, "\n".join(unseen)
