"""The ledger's page in a browser, from a row to its evidence; the pages of records; the summaries in the chapters."""

import gzip
import random
import re
from pathlib import Path

import pytest

from book import evidence, ledger
from tests.browser.served import SITE

PAGE = "book/ledger.html"
ROWS = {row["id"]: row for row in ledger.claims()}
CHAPTERS = [
    file for file in sorted((Path(__file__).parents[2] / "book").glob("*/*.md")) if "```{claims}" in file.read_text()
]


def shown(page):
    return page.evaluate("[...document.querySelectorAll('.ledger tbody tr')].filter((r) => !r.hidden).map((r) => r.id)")


def anchors(**wanted):
    return [evidence.anchor(i) for i, row in ROWS.items() if all(row[k] == v for k, v in wanted.items())]


def test_from_a_row_to_the_records_behind_it_is_one_click(open_page):
    """Twenty rows drawn at random: each leads to the record itself, or to exactly those that its function read."""
    page = open_page(PAGE)
    for claim in random.Random(17).sample([claim for claim in ledger.functions() if evidence.read_for(claim)], 20):
        read = {r["key"] for r in evidence.read_for(claim)}
        page.goto(page.url.split("#")[0].split("?")[0] + f"#{evidence.anchor(claim)}")
        row = page.locator(f"[id='{evidence.anchor(claim)}']")
        row.get_by_role("link", name=re.compile("record")).first.click()
        page.locator("body.plain").wait_for()
        if len(read) == 1:
            assert page.locator("h1").inner_text().endswith(f"/{read.pop()}")
            assert page.locator("pre").last.inner_text() == evidence.read_for(claim)[0]["command"]
        else:
            assert set(page.locator("tbody a").all_inner_texts()) == read, claim
        page.go_back()


def test_an_address_opens_its_row_and_filters_are_in_it(open_page):
    page = open_page(f"{PAGE}#stable-sam--theorem-10")
    row = page.locator("#stable-sam--theorem-10")
    assert row.locator("details").get_attribute("open") is not None and row.get_by_text("Evidence").is_visible()
    page.locator("[name=paper]").select_option("anonymous2025lsam")
    page.locator("[name=kind]").select_option("theory")
    assert shown(page) == anchors(paper="anonymous2025lsam", kind="theory")
    page.locator(".ledger [name=q]").press_sequentially("mcdiarmid")
    found = shown(page)
    assert "lsam--theorem-4-2-mcdiarmid" in found and set(found) < set(anchors(paper="anonymous2025lsam", kind="theory"))
    page.reload()
    assert shown(page) == found, "the address keeps the filters"
    page.evaluate("location.hash = '#fa--hutchinson'")
    page.locator("#fa--hutchinson details[open]").wait_for()
    assert len(shown(page)) == len(ROWS), "a row that the filters hide is shown by its address"


def test_a_click_on_a_bar_filters_and_an_order_sorts(open_page):
    page = open_page(PAGE)
    assert shown(page) == [evidence.anchor(i) for i in ROWS]
    page.locator(".bar a[data-paper='petzka2021relative'][data-verdict='held']").click()
    held = anchors(paper="petzka2021relative", verdict="held")
    assert shown(page) == held and f"{len(held)} of {len(ROWS)}" in page.get_by_role("status").inner_text()
    page.go_back()
    page.wait_for_function("![...document.querySelectorAll('.ledger tbody tr')].some((row) => row.hidden)")
    page.go_forward()
    page.wait_for_function(
        "(n) => [...document.querySelectorAll('.ledger tbody tr')].filter((r) => !r.hidden).length === n", arg=len(held)
    )
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("![...document.querySelectorAll('.ledger tbody tr')].some((row) => row.hidden)")
    page.locator("[name=sort]").select_option("verdict")
    order = {evidence.anchor(i): list(ledger.VERDICTS).index(row["verdict"]) for i, row in ROWS.items()}
    assert [order[i] for i in shown(page)] == sorted(order.values())


def test_a_row_opens_by_keyboard(open_page):
    page = open_page(f"{PAGE}?paper=anonymous2025fa")
    first = page.locator(".ledger tbody tr:not([hidden]) summary").first
    first.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("location.hash === '#fa--summary-converges-flatter'")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('tr').id") == "fa--summary-converges-flatter"


def test_without_scripts_it_is_a_whole_table(open_page):
    page = open_page(PAGE, java_script_enabled=False)
    assert page.locator(".ledger tbody tr").count() == len(ROWS)
    assert not page.locator(".filters").is_visible()
    row = page.locator("#fa--hutchinson")
    row.locator("summary").click()
    assert row.get_by_text("We found").is_visible()


@pytest.mark.parametrize(
    "path", [PAGE, "records/train/index.html", f"records/claims/{evidence.anchor('fa/table-1-time')}.html"]
)
def test_it_fits_a_phone(open_page, path):
    page = open_page(path, viewport={"width": 360, "height": 780})
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    rights = page.evaluate("[...document.querySelectorAll('.ledger td')].map((cell) => cell.getBoundingClientRect().right)")
    assert all(right <= 360 for right in rights)


def test_it_is_light():
    """The ledger below 250 kB as it travels, without MathJax; the page of a record below 8 kB."""
    text = (SITE / PAGE).read_text()
    assert len(gzip.compress(text.encode())) < 250_000 and not re.search(r"<script[^>]*(mathjax|formulas)", text)
    heavy = [p for p in (SITE / "records").glob("[!c]*/*.html") if p.name != "index.html" and p.stat().st_size >= 8192]
    assert not heavy


def test_every_record_has_its_page():
    there = {p.relative_to(SITE).as_posix() for p in (SITE / "records").rglob("*.html")}
    for experiment in {p.parent.name for p in ledger.BOOK.glob("results/*/*.json")}:
        assert {evidence.page(r) for r in evidence.every(experiment)} <= there


def test_every_claim_stands_in_the_ledger_with_its_verdict_and_all_verdicts_are_defined():
    text = (SITE / PAGE).read_text()
    found = dict(re.findall(r'<tr id="([^"]+)" data-paper="\w+" data-verdict="([^"]+)"', text))
    assert found == {evidence.anchor(i): row["verdict"] for i, row in ROWS.items()}
    meanings = text.split('class="meanings"')[1].split("</dl>")[0]
    assert all(f">{verdict}</span>" in meanings for verdict in ledger.VERDICTS)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda file: file.stem)
def test_a_chapters_summary_is_one_screen_and_leads_into_the_ledger(open_page, chapter):
    page = open_page(f"book/{chapter.parent.name}/{chapter.stem}.html")
    summary = page.locator("div.claims")
    assert summary.bounding_box()["height"] <= 900 and summary.locator("li").count() == 5
    summary.get_by_role("link", name=re.compile("^All ")).click()
    page.locator(".ledger .filters").wait_for()
    assert {ROWS[i.replace("--", "/")]["paper"] for i in shown(page)} == {
        re.search(r"\{claims\} (\w+)", chapter.read_text())[1]
    }


def test_a_figure_leads_to_its_record(open_page):
    page = open_page()
    link = page.locator(".provenance a").first
    key = link.inner_text().split("/")[1]
    link.click()
    page.locator("body.plain").wait_for()
    assert page.locator("h1").inner_text().endswith(key) and page.locator("h2", has_text="Provenance").count() == 1
