"""The book on paper, printed by the browser from the built site, page after page: `make pdf`."""

import io
import sys
from pathlib import Path
from urllib.parse import urljoin

from playwright.sync_api import sync_playwright
from pypdf import PdfWriter

from tests.browser.gestures import set_equations
from tests.browser.served import SITE, browser_path, served

FIRST = "book/index.html"
DRAWN = "!document.querySelector('.flatlab-waiting, [aria-busy=true]') && (!globalThis.flatlabCodes || !!globalThis.uqr)"
PICTURES = """Promise.all([...document.images].map((image) => {
  image.loading = "eager";
  return image.decode();
})).then(() => null)"""
MARGIN = dict.fromkeys(("top", "bottom", "left", "right"), "16mm")


def printed(page, address: str) -> tuple[str, bytes, str | None]:
    """Title, PDF and the address of the page after it, of a page whose formulas are set and whose toys are drawn."""
    page.goto(address)
    set_equations(page)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function(DRAWN, timeout=120_000)
    page.evaluate(PICTURES)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")  # of what was drawn since
    after = page.locator("a.right-next")
    following = urljoin(address, after.first.get_attribute("href")) if after.count() else None
    return page.title(), page.pdf(format="A4", margin=MARGIN, print_background=True), following


def main(target: Path) -> None:
    """Print the pages in the order of the table of contents and join them, a bookmark each."""
    book = PdfWriter()
    with served(SITE) as site, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        page = browser.new_page(color_scheme="light", viewport={"width": 900, "height": 1200}, reduced_motion="reduce")
        address = f"{site}/{FIRST}"
        while address:
            title, pdf, address = printed(page, address)
            book.append(io.BytesIO(pdf), outline_item=title.removesuffix(" — Flatlab"))
            print(f"{len(book.pages):4d} pages: {title}", flush=True)
        browser.close()
    book.compress_identical_objects()
    book.write(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
