"""The directive `ledger`: all claims of the papers on one page, each with its evidence.

The page is a table, and complete, without scripts; `ledger.mjs` filters and sorts it. The script stands within the page, so
that it also works on one read from disk.
"""

from pathlib import Path

from colab import repository
from docutils import nodes
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from symbols import set_in_html
from tally import LEDGER, named, tally

from book import evidence, ledger

HERE = Path(__file__).parent
TEMPLATES = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
TEMPLATES.filters |= {"symbols": lambda text: Markup(set_in_html(text)), "verdict": lambda v: Markup(named(v))}


class whole_ledger(nodes.General, nodes.Element):
    """Where the table comes once every chapter has been read."""


class Ledger(SphinxDirective):
    """The table of all claims, filled in when the places of all sections are known."""

    def run(self):
        """One node in its place."""
        return [whole_ledger()]


def section(env, paper, name):
    """`(page, fragment)` of the section called so, the paper's own chapters first. Raises `ExtensionError` if none is."""
    pages = sorted(env.found_docs, key=lambda page: env.metadata[page].get("claims_of") != paper)
    labels = env.domaindata["std"]["anonlabels"]
    for page in pages:
        slugs = env.metadata[page].get("myst_slugs", {})
        if name in slugs:
            return page, slugs[name][1]
        if labels.get(name, ("",))[0] == page:
            return page, labels[name][1]
    raise ExtensionError(f"the ledger names a section {name!r} of {paper}, and no chapter has it")


def links(app, claim, read):
    """`(text, address)` of all that stands behind a row; addresses are relative to the ledger's page."""
    files, found, named = f"{repository(app.config)}/blob/main", [], claim["evidence"] or {}
    up = "../" * LEDGER.count("/")
    if read:
        found.append(("the record" if len(read) == 1 else f"{len(read)} records", up + evidence.address(claim["id"], read)))
    elif "record" in named and read is None:
        folder = "/" not in named["record"]
        found.append(("its records" if folder else "the record", f"{up}records/{named['record']}{'/index' * folder}.html"))
    if "test" in named:
        file, line = evidence.place_of_test(named["test"])
        found.append(("test", f"{files}/{file}#L{line}"))
    if "section" in named:
        page, fragment = section(app.env, claim["paper"], named["section"])
        found.append(("section", f"{app.builder.get_relative_uri(LEDGER, page)}#{fragment}"))
    if claim["id"] in ledger.functions():
        file, line = ledger.place(claim["id"])
        found.append(("function of the verdict", f"{files}/{file}#L{line}"))
    return found


def table(app):
    """The page's HTML: verdicts, bars, filters, and a row a claim."""
    claims, read = ledger.claims(), evidence.findings()
    rows = [
        claim | {"anchor": evidence.anchor(claim["id"]), "links": links(app, claim, read.get(claim["id"]))}
        for claim in claims
    ]
    papers = [[c for c in claims if c["paper"] == paper] for paper in ledger.NAMES]
    return TEMPLATES.get_template("ledger.html").render(
        rows=rows,
        names=ledger.NAMES,
        verdicts=ledger.VERDICTS,
        kinds=list(dict.fromkeys(c["kind"] for c in claims)),
        bars=Markup("".join(tally(mine, Path(LEDGER).name + ".html") for mine in papers)),
        script=Markup((HERE / "ledger.mjs").read_text()),
    )


def fill(app, doctree, docname):
    """Put the table in its place."""
    for node in list(doctree.findall(whole_ledger)):
        node.replace_self(nodes.raw("", table(app), format="html"))


def always(app, env, added, changed, removed):
    """The ledger is written anew in every build: it stands on lines of tests and functions, and on sections of chapters."""
    return [LEDGER] if LEDGER in env.found_docs else []


def setup(app):
    """Register with Sphinx."""
    app.add_node(whole_ledger)
    app.add_directive("ledger", Ledger)
    app.connect("env-get-outdated", always)
    app.connect("doctree-resolved", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
