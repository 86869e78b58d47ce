"""The directive `claims`: what became of a paper's claims, on one screen; the rest is in the ledger."""

from docutils import nodes
from sphinx.util.docutils import SphinxDirective, SphinxRole
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
        rest = f'<a href="{chosen(page, paper)}">All {len(claims)} claims, with what was measured and the evidence</a>'
        whole = f'{tally(list(claims.values()), page)}<ul class="chosen">{"".join(items)}</ul><p>{rest}</p>'
        return [nodes.raw("", f'<div class="claims">{whole}</div>', format="html")]


class Tally(SphinxDirective):
    """The counts of one paper's verdicts alone."""

    required_arguments = 1

    def run(self):
        """Bar and words."""
        for file in ledger.files():
            self.env.note_dependency(str(file))
        page = self.env.app.builder.get_relative_uri(self.env.docname, LEDGER)
        told = tally([c for c in ledger.claims() if c["paper"] == self.arguments[0]], page)
        return [nodes.raw("", f'<div class="claims">{told}</div>', format="html")]


class Claim(SphinxRole):
    """Words that lead to a claim's row: `{claim}`words <stable-sam/theorem-10>`."""

    def run(self):
        """A link to the row in the ledger."""
        words, _, name = self.text.rstrip(">").rpartition("<")
        if name not in {c["id"] for c in ledger.claims()}:
            problem = self.inliner.reporter.error(f"claim: there is no claim {name!r}", line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, problem)], [problem]
        page = self.env.app.builder.get_relative_uri(self.env.docname, LEDGER)
        inside, messages = self.inliner.parse(words.strip(), self.lineno, self.inliner, self.inliner.parent)
        opened = nodes.raw("", f'<a class="claim" href="{page}#{anchor(name)}">', format="html")
        return [opened, *inside, nodes.raw("", "</a>", format="html")], messages


def verdict_role(name, rawtext, text, lineno, inliner, options=None, content=None):
    """A verdict as a coloured word."""
    return [nodes.inline(rawtext, text, classes=["verdict", text.replace(" ", "-")])], []


def setup(app):
    """Register with Sphinx."""
    app.add_directive("claims", Claims)
    app.add_directive("tally", Tally)
    app.add_role("claim", Claim())
    app.add_role("verdict", verdict_role)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
