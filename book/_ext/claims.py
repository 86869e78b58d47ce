"""The directive `claims`: one paper's part of the ledger, with its verdicts."""

import sys
from collections import Counter
from pathlib import Path

from colab import repository
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective
from symbols import symbols

sys.path.append(str(Path(__file__).parents[2]))  # the book's own packages
from book import ledger
from book.ledger import VERDICTS

DECIDED = tuple(verdict for verdict in VERDICTS if verdict not in ("not run yet", "cannot be run", "out of scope"))


class Claims(SphinxDirective):
    """A table of the claims of one paper whose verdict is among `:verdicts:` (all that were decided, unless given).

    `:ids:` keeps those whose id begins with one of these words.
    """

    required_arguments = 1
    option_spec = {"verdicts": directives.unchanged, "ids": directives.unchanged}

    def run(self):
        """Count, then list."""
        for file in ledger.files():
            self.env.note_dependency(str(file))
        claims = [c for c in ledger.claims() if c["paper"] == self.arguments[0]]
        begins = tuple(word.strip() for word in self.options.get("ids", "").split(","))
        claims = [c for c in claims if c["id"].startswith(begins)]
        if not claims:
            raise self.error(f"no claim of {self.arguments[0]} has an id that begins with {', '.join(begins)}")
        counts = Counter(c["verdict"] for c in claims)
        wanted = [v.strip() for v in self.options.get("verdicts", ", ".join(DECIDED)).split(",")]
        if unknown := set(wanted) - set(VERDICTS):
            raise self.error(f"no such verdict: {', '.join(unknown)}; there are {', '.join(VERDICTS)}")
        lines = [", ".join(f"**{counts[v]}** {v}" for v in VERDICTS if counts[v]) + f", of {len(claims)} claims.", ""]
        rows = [c for c in claims if c["verdict"] in wanted]
        if not rows:
            return self.parse_text_to_nodes("\n".join(lines))
        measured = any(c["measured"] for c in rows)
        lines += [":::{list-table}", ":header-rows: 1", ":class: claims"]
        lines += [f":widths: {'16 36 12 36' if measured else '24 58 18'}", ""]
        lines += self.row("Where", "The paper reports", "Verdict", *(["We measured"] if measured else []))
        for c in rows:
            extra = [f"{symbols(c['measured'] or '')} {self.scale(c)} {self.source(c)}"] if measured else []
            lines += self.row(symbols(c["where"]), symbols(c["claim"]), f"{{verdict}}`{c['verdict']}`", *extra)
        lines.append(":::")
        return self.parse_text_to_nodes("\n".join(lines))

    @staticmethod
    def row(*cells):
        """A row of a list-table."""
        return [f"{'* -' if k == 0 else '  -'} {' '.join(str(cell).split())}" for k, cell in enumerate(cells)]

    @staticmethod
    def scale(claim):
        """How large the runs were from which the verdict is computed."""
        return f"*{claim['scale']}.*" if "scale" in claim else ""

    def source(self, claim):
        """Links to the evidence: its record, its test and the function of its verdict in the repository, its section."""
        files = f"{repository(self.config)}/blob/main"
        links = {
            "record": lambda v: f"{files}/book/results/{v}" + (".json" if "/" in v else ""),
            "test": lambda v: f"{files}/{v.split('::')[0]}",
            "section": lambda v: f"#{v}",
        }
        found = [f"[{kind}]({links[kind](value)})" for kind, value in (claim["evidence"] or {}).items()]
        if claim["id"] in ledger.functions():
            file, line = ledger.place(claim["id"])
            found.append(f"[verdict]({files}/{file}#L{line})")
        return f"({', '.join(found)})" if found else ""


def verdict_role(name, rawtext, text, lineno, inliner, options=None, content=None):
    """A verdict as a coloured word."""
    return [nodes.inline(rawtext, text, classes=["verdict", text.replace(" ", "-")])], []


def setup(app):
    """Register with Sphinx."""
    app.add_directive("claims", Claims)
    app.add_role("verdict", verdict_role)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
