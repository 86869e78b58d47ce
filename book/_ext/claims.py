"""The directive `claims`: what became of a paper's claims, on one screen; the rest is in the ledger."""

from docutils import nodes
from sphinx.util.docutils import SphinxDirective
from symbols import set_in_html
from tally import LEDGER, chosen, named, tally

from book import ledger
from book.evidence import anchor


class Claims(SphinxDirective):
    """The counts of one paper's verdicts, and the claims whose ids are the directive's lines, each linked to its row."""

    required_arguments = 1
    has_content = True

    def run(self):
        """Count, list, and lead on."""
        for file in ledger.files():
            self.env.note_dependency(str(file))
        paper = self.arguments[0]
        self.env.metadata[self.env.docname]["claims_of"] = paper
        claims = {c["id"]: c for c in ledger.claims() if c["paper"] == paper}
        if unknown := set(self.content) - claims.keys():
            raise self.error(f"no claim of {paper} is called {', '.join(sorted(unknown))}")
        page = self.env.app.builder.get_relative_uri(self.env.docname, LEDGER)
        items = []
        for claim in map(claims.get, self.content):
            told = f'<a href="{page}#{anchor(claim["id"])}">{set_in_html(claim["where"])}</a>'
            items.append(f"<li>{named(claim['verdict'])} {told}: {set_in_html(claim['claim'])}</li>")
        rest = (
            f'<p><a href="{chosen(page, paper)}">All {len(claims)} claims, with what was measured and the evidence</a></p>'
        )
        whole = f'{tally(list(claims.values()), page)}<ul class="chosen">{"".join(items)}</ul>{rest}'
        return [nodes.raw("", f'<div class="claims">{whole}</div>', format="html")]


def verdict_role(name, rawtext, text, lineno, inliner, options=None, content=None):
    """A verdict as a coloured word."""
    return [nodes.inline(rawtext, text, classes=["verdict", text.replace(" ", "-")])], []


def setup(app):
    """Register with Sphinx."""
    app.add_directive("claims", Claims)
    app.add_role("verdict", verdict_role)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
