"""What `hover.js` shows: for a symbol its lines of the notation page, for a term what that page says of it.

A symbol means what the page says in the chapters that its row names, everywhere if it names none. Terms are those of the
page's lists; the first place where the prose of a page has one leads there. Each page ends with the symbols it uses, for
those who do not point.
"""

import html
import json
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

from bs4 import BeautifulSoup
from docutils import nodes
from plain import formula

NOTATION = "book/notation"
FORMULA = re.compile(r'<(span|div) class="math notranslate nohighlight"[^>]*>(?P<tex>.*?)</\1>', re.DOTALL)
NUMBER = re.compile(r'<span class="eqno">.*?</span>', re.DOTALL)
DEFINED = re.compile(r" (?:=|\\in) ")
ARGUMENT = re.compile(r"\([^()]*\)$")
INDEX = re.compile(r"_[ijklmnt\d]$")
APART = (nodes.table, nodes.reference, nodes.footnote, nodes.citation, nodes.caption, nodes.raw)
"""What a term in it is not marked in; outputs of cells, questions and the ledger's rows are marked by a class."""
APART_CLASSES = {"cell", "flatlab-guess", "claims", "sd-card"}


class Line(NamedTuple):
    """A row of the notation page: what it says, as HTML, and the chapters where it holds, all if there are none."""

    text: str
    chapters: tuple[str, ...]

    def holds(self, page: str) -> bool:
        """On this page, or on one *in detail* after it.

        >>> Line("", ("toys/noise",)).holds("book/toys/noise_detail"), Line("", ()).holds("book/api")
        (True, True)
        """
        return not self.chapters or any(f"/{chapter}" in page for chapter in self.chapters)


def key(tex: str) -> str:
    r"""A symbol as characters, as `hover.js` reads it off a formula: without an argument and a running index.

    >>> key(r"\phi_i"), key(r"\lambda_{\max}"), key(r"\rho_{\mathrm{cov}}"), key(r"\bar L_\rho(w)") == "L\u0305_ρ"
    ('φ', 'λ_max', 'ρ_cov', True)
    """
    plain = formula(ARGUMENT.sub("", tex))
    return INDEX.sub("", unicodedata.normalize("NFKC", plain.replace(" ", "")))


def lines(page: str) -> dict[str, list[Line]]:
    r"""By symbol: the rows of the notation page's table that it heads.

    >>> row = '<td><span class="math">\\(w \\in \\mathbb{R}^d\\)</span></td><td>weights</td><td></td><td></td>'
    >>> lines(f"<table><tbody><tr>{row}</tr></tbody></table>")
    {'w': [Line(text='<span class="math">\\(w \\in \\mathbb{R}^d\\)</span>: weights', chapters=())]}
    """
    found: dict[str, list[Line]] = {}
    for row in BeautifulSoup(page, "html.parser").select("tbody tr"):
        symbol, meaning, _, where = row.find_all("td")
        content = [cell.p or cell for cell in (symbol, meaning)]
        text = ": ".join(cell.decode_contents(formatter="minimal").strip() for cell in content)
        chapters = tuple(link["href"].partition("#")[0].removesuffix(".html") for link in where.find_all("a"))
        for part in symbol.select(".math"):
            tex = part.get_text().removeprefix(r"\(").removesuffix(r"\)")
            found.setdefault(key(DEFINED.split(tex)[0].strip()), []).append(Line(text, chapters))
    return found


def used(page: str, known: dict[str, list[Line]], name: str) -> list[str]:
    """The lines of the symbols that stand in the formulas of a page, in the order of the notation page."""
    formulas = {html.unescape(NUMBER.sub("", match["tex"])).strip()[2:-2] for match in FORMULA.finditer(page)}
    told = unicodedata.normalize("NFKC", " ".join(map(formula, formulas)))
    found: list[str] = []
    for symbol, rows in known.items():
        apart = "(?<![a-zA-Z])" if symbol[0].isascii() else ""
        if re.search(rf"{apart}{re.escape(symbol)}(?![a-zA-Z\u0300-\u036f])", told):
            found += [line.text for line in rows if line.holds(name) and line.text not in found]
    return found


def listed(page: str, told: list[str]) -> str:
    """The page with these lines at its end, closed."""
    rows = "".join(f"<li>{text}</li>" for text in told)
    block = f'<details class="flatlab-symbols"><summary>Symbols on this page</summary><ul>{rows}</ul></details>\n'
    before, end, after = page.rpartition("</article>")
    return f"{before}{block}{end}{after}" if told else page


def name_terms(app, doctree):
    """Give each term of the notation page an address."""
    if app.env.docname == NOTATION:
        for term in doctree.findall(nodes.term):
            term["ids"].append("term-" + nodes.make_id(term.astext()))


def terms(env) -> dict[re.Pattern, str]:
    """How each term is found in prose, longer ones first, and its address on the notation page."""
    found = {}
    for term in env.get_doctree(NOTATION).findall(nodes.term):
        for word in term.astext().split(", "):
            spelled = re.escape(word) if word != word.lower() else f"(?i:{re.escape(word)})s?"
            found[re.compile(rf"(?<![\w-]){spelled}(?![\w-])")] = term["ids"][-1]
    return dict(sorted(found.items(), key=lambda item: -len(item[0].pattern)))


def is_prose(text: nodes.Text) -> bool:
    """Whether it stands in a paragraph or a list of a section, and in nothing that speaks for itself."""
    if not isinstance(text.parent, nodes.paragraph):
        return False
    before = text.parent.children[: text.parent.index(text)]
    marks = [node.astext().startswith("</") for node in before if isinstance(node, nodes.raw)]
    if marks.count(False) > marks.count(True):  # within the words that hold an explorable, or an answer
        return False
    around, node = [], text.parent
    while node is not None:
        around.append(node)
        node = node.parent
    return not any(isinstance(n, APART) or APART_CLASSES & set(n.get("classes", ())) for n in around)


def link_terms(app, doctree, page):
    """Make the first place of each term in the prose of a page a link to what it means."""
    if (
        app.builder.format != "html"
        or page == NOTATION
        or NOTATION not in app.env.found_docs
        or not page.startswith("book/")
    ):
        return
    address = app.builder.get_relative_uri(page, NOTATION)
    waiting = terms(app.env)
    for text in [text for text in doctree.findall(nodes.Text) if is_prose(text)]:
        parts = [text]
        for pattern, anchor in list(waiting.items()):
            for k, part in enumerate(parts):
                if isinstance(part, nodes.Text) and (match := pattern.search(part)):
                    link = nodes.reference(
                        "", match[0], refuri=f"{address}#{anchor}", internal=True, classes=["flatlab-term"]
                    )
                    parts[k : k + 1] = [nodes.Text(part[: match.start()]), link, nodes.Text(part[match.end() :])]
                    del waiting[pattern]
                    break
        if len(parts) > 1:
            text.parent.replace(text, [part for part in parts if part.astext()])


def finish(app, error):
    """After a build of HTML that went well."""
    out = Path(app.outdir)
    file = out / f"{NOTATION}.html"
    if error is not None or app.builder.format != "html" or not file.exists():
        return
    page = file.read_text()
    known = lines(page)
    meanings = {
        term["id"]: term.find_next_sibling("dd").decode_contents().strip()
        for term in BeautifulSoup(page, "html.parser").select('dt[id^="term-"]')
    }
    told = json.dumps({"symbols": known, "terms": meanings}, ensure_ascii=False, indent=0)
    (out / "_static" / "notation.js").write_text(f"globalThis.flatlabNotation = {told};\n")
    for other in (out / "book").rglob("*.html"):
        name = other.relative_to(out).with_suffix("").as_posix()
        text = other.read_text()
        if name != NOTATION and "flatlab-symbols" not in text:
            other.write_text(listed(text, used(text, known, name)))


def setup(app):
    """Register with Sphinx."""
    app.add_js_file("hover.js", loading_method="defer")
    app.connect("doctree-read", name_terms)
    app.connect("doctree-resolved", link_terms)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
