"""The pages themselves: from disk without a network, light and dark, narrow and wide, on paper."""

from pathlib import Path

import pytest

from tests.browser.gestures import set_equations, until

SITE = Path(__file__).parents[2] / "_build" / "html"
CHAPTER = "book/toys/sam_saddle.html"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in (SITE / "book").rglob("*.html"))
NAMES = ["SamSaddle", "SuccessRates", "figure"]


@pytest.mark.parametrize("name", NAMES)
def test_everything_works_from_disk_with_the_network_off(open_page, explorable, name):
    page = open_page(base=SITE.as_uri(), offline=True)
    frame = explorable(page, name)
    assert frame.locator(".flatlab-placeholder").count() == 0
    assert frame.locator("svg.main-svg").count() > 0, "plotly has drawn"


def test_equations_are_set_without_the_network(open_page):
    page = open_page(base=SITE.as_uri(), offline=True)
    set_equations(page)
    assert page.locator("mjx-container").count() > 40
    assert page.locator("mjx-merror").count() == 0
    assert "$" not in page.locator("article p").first.inner_text()


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("width", [320, 360, 1280])
def test_no_page_is_wider_than_the_screen(open_page, explorable, path, width):
    page = open_page(path, equations=True, viewport={"width": width, "height": 800})
    set_equations(page)
    if path == CHAPTER:
        for name in NAMES:
            explorable(page, name)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    parts = "[...document.querySelectorAll('div.claims *')].map((part) => part.getBoundingClientRect().right)"
    assert all(right <= width for right in page.evaluate(parts)), "every claim reads without scrolling sideways"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_of_the_explorables_stands_out(open_page, explorable, scheme):
    page = open_page(color_scheme=scheme)
    frame = explorable(page, "SamSaddle")
    ratio = frame.evaluate("""(el) => {
      const rgb = (s) => s.match(/[\\d.]+/g).slice(0, 3).map(Number);
      const light = (c) => c.map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((a, v, k) => a + v * [0.2126, 0.7152, 0.0722][k], 0);
      const ink = getComputedStyle(el.querySelector("svg.main-svg text")).fill;
      let ground = el;
      while (ground && getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
      const [a, b] = [light(rgb(ink)), light(rgb(getComputedStyle(ground).backgroundColor))].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05);
    }""")
    assert ratio > 7


SILENT_WORKERS = "Worker.prototype.postMessage = () => {}"  # the first basin map is never finished


@pytest.mark.parametrize("script", ["", SILENT_WORKERS], ids=["drawn", "still computing"])
def test_the_theme_switch_redraws_the_explorable(open_page, explorable, script):
    page = open_page(color_scheme="light", script=script)
    frame = explorable(page, "SamSaddle")
    colour = "(el) => getComputedStyle(el.querySelector('svg.main-svg text')).fill"
    before = frame.evaluate(colour)
    page.locator(".theme-switch-button >> visible=true").first.click()
    until(frame, lambda: frame.evaluate(colour) != before)


def test_paper_gets_every_equation_and_every_explorable(open_page):
    page = open_page(equations=True, viewport={"width": 800, "height": 300})
    page.evaluate("flatlabFormulas().then(() => null)")
    lazy, waiting = page.locator("mjx-lazy"), page.locator(".flatlab-waiting")
    assert lazy.count() > 5 and waiting.count() > 0, "nobody has come near them"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    until(page.locator("body"), lambda: lazy.count() + waiting.count() == 0)


def test_every_control_of_the_chapter_has_a_name(open_page, explorable):
    page = open_page()
    for name in NAMES:
        explorable(page, name)
    unnamed = page.evaluate("""() => [...document.querySelectorAll(".flatlab input, .flatlab button")].filter((el) =>
      !(el.labels?.length || el.getAttribute("aria-label") || el.innerText)).map((el) => el.outerHTML)""")
    assert unnamed == []


def test_the_colab_button_points_at_the_chapters_notebook(open_page):
    page = open_page()
    href = page.locator('a[href*="colab.research.google.com"]').first.get_attribute("href")
    path = href.split("/blob/gh-pages/")[1]
    assert path == "notebooks/book/toys/sam_saddle.ipynb" and (SITE / path).exists()
