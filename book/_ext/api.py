"""The library's reference, from its docstrings: the directive `api` lists all that a module makes public."""

import importlib
import inspect
import re

from myst_parser.parsers.sphinx_ import MystParser
from sphinx.util.docutils import SphinxDirective

from flatlab.optim import RuleOptimizer

SESSION = re.compile(r"^(?:>>>.*\n?)(?:.+\n?)*", re.MULTILINE)


class DocstringParser(MystParser):
    """MyST, with doctests shown as the sessions they are (Markdown takes `>>>` for three nested quotes)."""

    def parse(self, inputstring, document):
        """Fence each session, then parse."""
        super().parse(SESSION.sub(lambda m: f"```pycon\n{m[0].rstrip()}\n```\n", inputstring), document)


Parser = DocstringParser  # the name that sphinx-autodoc2 looks for


class Api(SphinxDirective):
    """Every name in `__all__` of a module, in that order, documented where it is defined."""

    required_arguments = 1

    def run(self):
        """One `autodoc2-object` a name."""
        module = importlib.import_module(self.arguments[0])
        blocks = []
        for name in module.__all__:
            value = getattr(module, name)
            # An optimizer is made from its method, and documented there.
            if isinstance(value, type) and issubclass(value, RuleOptimizer):
                blocks += [f"`{name}{inspect.signature(value)}`", ""]
                value = value.method
            home = getattr(value, "__module__", module.__name__)
            if not home.startswith("flatlab"):  # a type alias has no docstring of its own
                continue
            blocks += [f"```{{autodoc2-object}} {home}.{name}", "```", ""]
        return self.parse_text_to_nodes("\n".join(blocks))


def setup(app):
    """Register with Sphinx."""
    app.add_directive("api", Api)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
