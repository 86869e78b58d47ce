"""What a published page says to those who are not its readers yet: search engines, cards that are shared, lost visitors.

`sphinxext-opengraph` writes the description and the tags of a card; here it learns the address and the pictures.
"""

import html
import json
import re
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

from colab import published
from docutils import nodes
from ledger_page import TEMPLATES
from plain import formula

import flatlab

THUMBNAILS = "book/_static/thumbnails"
OTHERWISE = "book/_static/sam_saddle.png"
UNLISTED = {"search.html", "genindex.html", "index.html", "404.html"}
FORMULA = re.compile(r'<(span|div) class="math notranslate nohighlight"[^>]*>(?P<tex>.*?)</\1>', re.DOTALL)
EXCERPTS = """\
// What the excerpts of a search show where a page has a formula.
const FORMULAS = %s;
const withFormulas = Search.htmlToText;
Search.htmlToText = (text, anchor) => {
  const page = new DOMParser().parseFromString(text, "text/html");
  for (const el of page.querySelectorAll(".math")) el.textContent = FORMULAS[el.textContent.trim()] ?? "…";
  return withFormulas(page.documentElement.outerHTML, anchor);
};
"""


def use_address(app, config):
    """Where this build will be published, and which version it is."""
    config.html_baseurl = config.ogp_site_url = published(config)
    config.ogp_image = f"{published(config)}_static/{Path(OTHERWISE).name}"
    options = config.html_theme_options
    options["extra_footer"] = f"{options.get('extra_footer', '')}<p>Version {flatlab.__version__}.</p>"


def describe(app, pagename, templatename, context, doctree):
    """A description has no tables, and formulas in plain characters; a chapter has the picture of its first explorable."""
    if doctree is None:
        return
    for table in list(doctree.findall(nodes.table)):
        table.parent.remove(table)
    for math in [*doctree.findall(nodes.math), *doctree.findall(nodes.math_block)]:
        math.parent.replace(math, nodes.Text(formula(math.astext())))
    for name in re.findall(r'data-explorable="(\w+)"', context["body"]):
        if (Path(app.srcdir) / THUMBNAILS / f"{name}.webp").exists():
            picture = {
                "og:image": f"{app.config.html_baseurl}_static/thumbnails/{name}.webp",
                "og:image:alt": f"The toy {name}",
            }
            context["meta"] = {**(context.get("meta") or {}), **picture}
            return


def sitemap(out: Path, address: str) -> bytes:
    """All pages for readers, those that Sphinx does not know included, also after a build that wrote few of them."""
    root = ElementTree.Element("urlset", xmlns="http://www.sitemaps.org/schemas/sitemap/0.9")
    for page in sorted(page.relative_to(out).as_posix() for page in out.rglob("*.html")):
        if page not in UNLISTED and not page.startswith(("_static/", "embed/")):
            ElementTree.SubElement(ElementTree.SubElement(root, "url"), "loc").text = address + page
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def formulas(out: Path) -> dict[str, str]:
    """All formulas of the pages as a page has them, and as plain text."""
    found = {html.unescape(m["tex"]).strip() for page in out.rglob("*.html") for m in FORMULA.finditer(page.read_text())}
    return {
        tex: formula(tex.removeprefix(r"\(").removesuffix(r"\)").removeprefix(r"\[").removesuffix(r"\]")) for tex in found
    }


def write(app, error):
    """The sitemap, the page for addresses that do not exist, and readable excerpts for the search."""
    if error is not None or app.builder.format != "html":
        return
    out, address = Path(app.outdir), published(app.config)
    (out / "sitemap.xml").write_bytes(sitemap(out, address))
    lost = TEMPLATES.get_template("lost.html").render(base=urlsplit(address).path, up="", ledger="book/ledger")
    (out / "404.html").write_text(lost)
    told = json.dumps(dict(sorted(formulas(out).items())), ensure_ascii=False, indent=0)
    (out / "_static" / "excerpts.js").write_text(EXCERPTS % told)
    search = out / "search.html"
    script = '<script src="_static/excerpts.js"></script>'
    if script not in (text := search.read_text()):
        search.write_text(text.replace("</head>", f"{script}</head>"))


def setup(app):
    """Register with Sphinx: the picture is chosen before the tags of the card are written."""
    app.connect("config-inited", use_address)
    app.connect("html-page-context", describe, priority=400)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
