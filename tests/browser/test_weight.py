"""What a reader has to fetch, in bytes: `make bench PART=site` tells the times."""

import gzip

import pytest

from tests.browser.served import SITE

CHAPTERS = ["book/toys/sam_saddle.html", "book/scale/stability.html"]
PAGES = ["book/index.html", *CHAPTERS]
LATER = ("/mathjax/", "plotly", "uqr")
"""Fetched by scripts that themselves wait until the page is read: no paint waits for them."""


@pytest.fixture
def weighed(open_page, site):
    """`weighed(path, **context)` gives a page that has loaded, and the compressed size of each file that it has fetched."""

    def loaded(path, **options):
        page, sizes = open_page("book/notation.html", equations=True, **options), {}
        page.wait_for_load_state("networkidle")
        page.on("response", lambda r: r.url.startswith(site) and sizes.update({r.url: len(gzip.compress(r.body()))}))
        page.goto(f"{site}/{path}", wait_until="networkidle")
        return page, sizes

    return loaded


@pytest.mark.parametrize("path", PAGES)
def test_first_paint_weighs_less_than_300_kilobytes(weighed, path):
    _, sizes = weighed(path)
    first = {url: size for url, size in sizes.items() if not any(late in url for late in LATER)}
    assert 100_000 < sum(first.values()) < 300_000, sorted(first.items(), key=lambda item: -item[1])[:5]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_with_its_toy_live_weighs_less_than_850_kilobytes(weighed, explorable, path):
    page, sizes = weighed(path)
    explorable(page, page.locator("[data-explorable]").first.get_attribute("data-explorable"))
    assert [url.rpartition("/")[2] for url in sizes if "/_static/plotly" in url] == ["plotly-axes.min.js"]
    assert sum(sizes.values()) < 850_000, sorted(sizes.items(), key=lambda item: -item[1])[:5]


def test_mathjax_is_fetched_once_the_first_toy_is_drawn_where_no_formula_is_near(weighed, explorable):
    """Its start takes as long as drawing the toy, which the reader waits for."""
    page, _ = weighed("book/index.html")
    explorable(page, "SamSaddle")
    page.wait_for_function("globalThis.MathJax?.startup?.promise")
    measured = "performance.getEntriesByName('flatlab:basin')[0]"
    fetched = "performance.getEntriesByType('resource').find(({ name }) => name.endsWith('/mathjax/startup.js'))"
    assert page.evaluate(f"{fetched}.startTime >= {measured}.startTime")


def test_plotly_is_fetched_only_when_an_explorable_comes_near(weighed, explorable):
    page, sizes = weighed("book/toys/sam_saddle_detail.html", viewport={"width": 360, "height": 60})
    assert not any("/_static/plotly" in url for url in sizes), "the first explorable is far below this screen"
    explorable(page, "RiskBound")
    assert any("/_static/plotly" in url for url in sizes)


@pytest.mark.parametrize("path", PAGES)
def test_what_explorables_have_in_common_stands_in_a_page_once(open_page, path):
    names = "[...document.querySelectorAll('[data-flatlab]')].map((part) => part.dataset.flatlab)"
    found = open_page(path).evaluate(names)
    assert len(found) > 3 and len(found) == len(set(found))


def test_the_book_weighs_less_than_14_megabytes():
    """The pages of its records apart, which grow with the evidence."""
    files = [file for file in SITE.rglob("*") if file.is_file() and file.relative_to(SITE).parts[0] != "records"]
    assert 5e6 < sum(file.stat().st_size for file in files) < 14e6
