"""What a chapter owes its reader: the toy first, sentences that move it, a guess, what to believe in the end, no length."""

import re
from pathlib import Path

import pytest
import yaml

from tests.browser.gestures import set_equations, until

ROOT = Path(__file__).parents[2]
(PART,) = (p for p in yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"] if p.get("caption") == "Toys")
SECOND = {ROOT / f"{c['file']}.md": [ROOT / f"{s['file']}.md" for s in c["sections"]] for c in PART["chapters"]}
"""The pages under each chapter of a toy."""
TOYS = list(SECOND)
EVERY = pytest.mark.parametrize("path", TOYS, ids=lambda path: path.stem)
MOST = 3500
"""Visible words of a chapter's main text, without those that its explorables write once they are drawn."""
WORDS = """() => {
  const text = document.querySelector('.bd-article').cloneNode(true);
  for (const apart of text.querySelectorAll('.claims, details, script, style, .math, .toggle-details, [data-explorable]')) {
    apart.remove();
  }
  return text.textContent.trim().split(/\\s+/).length;
}"""


@EVERY
def test_the_toy_comes_before_the_text(path):
    """Title, at most three sentences, and the first cell shows the toy above the bar of its code."""
    text = path.read_text().split("\n# ", 1)[1]
    title, first = text.split("\n", 1)
    before, cell = first.split("```{code-cell} python\n", 1)
    assert len(re.findall(r"[.?!](?:\s|$)", before)) <= 3, title
    assert cell.startswith(":tags: [hide-input, toy]\n"), title


@EVERY
def test_sentences_hold_the_toy(path):
    """At least eight handles of all three kinds, and one guess."""
    handles = re.findall(r"\{live\}`[^`<]+<\w+(\.|:| says)", path.read_text())
    assert len(handles) >= 8 and set(handles) == {".", ":", " says"}
    assert path.read_text().count(":::{guess}") == 1


@EVERY
def test_a_chapter_ends_with_what_to_believe(path):
    """Three to five sentences, each a step away from its evidence."""
    (end,) = re.findall(r"^## What to believe now\n\n(.*?)\n\n##? ", path.read_text(), re.M | re.S)
    items = re.split(r"^- ", end, flags=re.M)[1:]
    assert 3 <= len(items) <= 5 and sum("](" in item or "{claim}`" in item for item in items) >= len(items) - 1


@EVERY
def test_results_are_not_printed(path):
    """They are tables and figures, in the chapter and on its second page; `print` is for the reader's own tries."""
    pages = [path, *SECOND[path]]
    code = re.compile(r"^```\{code-cell\} python\n(.*?)^```", re.M | re.S)
    cells = [cell for page in pages for cell in code.findall(page.read_text())]
    assert not [cell for cell in cells if re.search(r"^\s*print\(|print_\w+\(", cell, re.M)]


@EVERY
def test_a_chapter_is_read_in_a_quarter_of_an_hour(open_page, path):
    page = open_page(str(path.relative_to(ROOT).with_suffix(".html")))
    assert page.evaluate(WORDS) <= MOST


CUT = """() => [...document.querySelectorAll("div.math, .bd-article table, .cell_output > img")].filter((el) => {
  const box = el.closest("div.math, .flatlab-scrolls, .pst-scrollable-table-container, .cell_output") ?? el;
  const shown = !el.closest("details:not([open])") && el.getBoundingClientRect().width > 0;
  return shown && box.scrollWidth > box.clientWidth + 1 && !(box.matches("[data-more]") && box.tabIndex === 0);
}).map((el) => el.id || el.textContent.slice(0, 60))"""
ORDER = """() => [...document.querySelectorAll(".provenance")].filter((line) => {
  const after = line.closest(".cell")?.nextElementSibling;
  return after?.matches("p") && after.firstChild?.nodeName === "EM";
}).map((line) => line.textContent.slice(0, 60))"""


@EVERY
@pytest.mark.parametrize("width", [1280, 360])
def test_what_is_wider_than_the_page_scrolls_and_shows_that_it_does(open_page, path, width):
    for page_path in (path, *SECOND[path]):
        at = str(page_path.relative_to(ROOT).with_suffix(".html"))
        page = open_page(at, equations=True, viewport={"width": width, "height": 900})
        set_equations(page)
        until(page.locator("body"), lambda page=page: not page.evaluate(CUT))
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@EVERY
def test_a_caption_stands_before_its_record_line(open_page, path):
    for page_path in (path, *SECOND[path]):
        page = open_page(str(page_path.relative_to(ROOT).with_suffix(".html")))
        assert not page.evaluate(ORDER)


@EVERY
def test_the_toy_is_in_the_first_screen(open_page, path):
    """At 1280 by 900 the picture is whole; on a phone it is whole in the first screen and a half."""
    for width, height, screens in ((1280, 900, 1), (360, 740, 1.5)):
        page = open_page(str(path.relative_to(ROOT).with_suffix(".html")), viewport={"width": width, "height": height})
        frame = page.locator("[data-explorable]").first
        frame.locator(".flatlab-toolbar").wait_for(state="attached")
        picture = frame.locator(".flatlab-map, .flatlab-curves, .flatlab-plot").first.bounding_box()
        assert picture["y"] + picture["height"] <= screens * height, (width, picture)
