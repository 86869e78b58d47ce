"""An explorable in the frame of another page: alone, light, in the state that was copied."""

import gzip
import re

import pytest
from playwright.sync_api import expect

from tests.browser.gestures import press, shown, until
from tests.browser.served import SITE

NAMES = sorted(path.stem for path in (SITE / "embed").glob("*.html"))
COPIES = "navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }"


def test_the_copied_frame_shows_the_same_state_on_a_blank_page(open_page, explorable, site, tmp_path, visit):
    page = open_page("book/toys/sam_saddle.html?SamSaddle.rho=0.37", script=COPIES)
    frame = explorable(page, "SamSaddle")
    press(frame, "Copy as iframe")
    until(frame, lambda: page.evaluate("window.copied"))
    copied = page.evaluate("window.copied")
    assert f"{site}/embed/SamSaddle.html?SamSaddle.rho=0.37" in copied
    (tmp_path / "blank.html").write_text(f'<!doctype html><title>A slide</title><link rel="icon" href="data:,">{copied}')
    blank = visit(tmp_path.as_uri(), "blank.html", allowed=[site])
    inside = blank.frame_locator("iframe").locator('[data-explorable="SamSaddle"]')
    inside.locator(".flatlab-toolbar").wait_for(timeout=20_000)
    assert shown(inside, "rho") == 0.37
    assert inside.get_by_role("button", name="Copy as iframe").count() == 0
    assert blank.frame_locator("iframe").locator("html").evaluate("(el) => el.scrollWidth <= el.clientWidth")


def test_an_embed_page_leads_to_its_chapter_in_the_present_state(open_page, explorable):
    page = open_page("embed/SamSaddle.html?SamSaddle.rho=0.37")
    frame = explorable(page, "SamSaddle")
    with page.context.expect_page() as opened:
        frame.get_by_role("link", name=re.compile("Flatlab")).click()
    assert opened.value.url.endswith("book/toys/sam_saddle.html?SamSaddle.rho=0.37")


@pytest.mark.parametrize("name", NAMES)
def test_an_embed_page_is_drawn_and_weighs_less_than_250_kilobytes_without_plotly(open_page, explorable, site, name):
    page = open_page(f"embed/{name}.html")
    explorable(page, name)
    expect(page.locator(".flatlab-placeholder")).to_have_count(0)
    fetched = page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
    files = {SITE / url.removeprefix(f"{site}/") for url in fetched if url.startswith(site) and "plotly" not in url}
    weights = {file.name: len(gzip.compress(file.read_bytes())) for file in files | {SITE / "embed" / f"{name}.html"}}
    assert 5_000 < sum(weights.values()) < 250_000, weights
