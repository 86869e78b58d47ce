"""What `hover.js` shows for a symbol: the lines of the notation page that it heads, and which formulas are that symbol."""

import html
import json
import re
from pathlib import Path

from bs4 import BeautifulSoup

NOTATION = "book/notation.html"
SYMBOL = re.compile(r'<span class="math notranslate nohighlight">\\\((?P<tex>.*?)\\\)</span>')
DEFINED = re.compile(r" (?:=|\\in) ")


def lines(page: str) -> dict[str, list[str]]:
    r"""By symbol, as TeX: the lines of the notation page's table that it heads, as HTML.

    >>> row = '<td><span class="math">\\(w \\in \\mathbb{R}^d\\)</span></td><td>weights</td><td></td>'
    >>> lines(f"<table><tbody><tr>{row}</tr></tbody></table>")
    {'w': ['<span class="math">\\(w \\in \\mathbb{R}^d\\)</span>: weights']}
    """
    found: dict[str, list[str]] = {}
    for row in BeautifulSoup(page, "html.parser").select("tbody tr"):
        symbol, meaning, *_ = row.find_all("td")
        content = [cell.p or cell for cell in (symbol, meaning)]
        line = ": ".join(cell.decode_contents(formatter="minimal").strip() for cell in content)
        for part in symbol.select(".math"):
            tex = part.get_text().removeprefix(r"\(").removesuffix(r"\)")
            found.setdefault(DEFINED.split(tex)[0].strip(), []).append(line)
    return found


def mark(page: str, known: dict[str, list[str]]) -> str:
    """The page with `data-symbol` at each formula that is one of the known symbols and nothing else."""

    def marked(match):
        tex = html.unescape(match["tex"]).strip()
        return match[0].replace("<span ", f'<span data-symbol="{html.escape(tex)}" ', 1) if tex in known else match[0]

    return SYMBOL.sub(marked, page)


def finish(app, error):
    """After a build of HTML that went well."""
    out = Path(app.outdir)
    if error is not None or app.builder.format != "html" or not (out / NOTATION).exists():
        return
    known = lines((out / NOTATION).read_text())
    told = json.dumps(known, ensure_ascii=False, indent=0)
    (out / "_static" / "notation.js").write_text(f"globalThis.flatlabNotation = {told};\n")
    for page in (out / "book").rglob("*.html"):
        if page != out / NOTATION:
            page.write_text(mark(page.read_text(), known))


def setup(app):
    """Register with Sphinx."""
    app.add_js_file("hover.js", loading_method="defer")
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
