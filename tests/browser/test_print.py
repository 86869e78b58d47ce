"""The book on paper."""

from urllib.parse import urlsplit

import pytest
from pypdf import PdfReader

from tests.browser.served import SITE
from upkeep.pdf import printed

AS_HTML = "(svg) => Object.assign(document.createElement('div'), { innerHTML: svg }).innerHTML"


def test_paper_has_no_buttons_and_says_where_each_toy_is_live(open_page, explorable):
    page = open_page("book/toys/sam_saddle.html?SamSaddle.rho=0.37")
    frame = explorable(page, "SamSaddle")
    box = "(el) => [el.querySelector('.flatlab-map').clientWidth, el.getBoundingClientRect().width]"
    drawn, wide = frame.evaluate(box)
    page.wait_for_function("globalThis.uqr")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    stands, printed_wide = frame.evaluate(box)
    assert stands == pytest.approx(drawn, abs=1) and printed_wide <= 641 < wide, "as it stands, only smaller"
    line = frame.locator(".flatlab-address")
    assert line.is_visible() and line.inner_text().endswith("/book/toys/sam_saddle.html?SamSaddle.rho=0.37")
    address = line.locator("a").get_attribute("href")
    assert line.inner_text().strip() == f"Live: {address}" and urlsplit(address).netloc.endswith("github.io")
    code = line.locator(".flatlab-code svg")
    assert code.evaluate("(el) => el.getBoundingClientRect().width") > 60, "large enough for a camera"
    again = page.evaluate("(text) => uqr.renderSVG(text, { border: 0 })", address)
    assert code.evaluate("(el) => el.outerHTML") == page.evaluate(AS_HTML, again)
    for gone in (".flatlab-toolbar", "details.hide summary", ".article-header-buttons"):
        assert page.locator(f"{gone} >> visible=true").count() == 0, gone


def test_a_page_prints_with_its_formulas_and_leads_to_the_next(browser, site, tmp_path):
    page = browser.new_page()
    title, pdf, after = printed(page, f"{site}/book/notation.html")
    page.close()
    (tmp_path / "a.pdf").write_bytes(pdf)
    text = "".join(sheet.extract_text() for sheet in PdfReader(tmp_path / "a.pdf").pages)
    assert title.startswith("Notation") and "learning rate" in text and "\\lambda" not in text
    assert after is None or (SITE / urlsplit(after).path.lstrip("/")).exists()
