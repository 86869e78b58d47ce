"""The reference, from docstrings: the directive `api` lists all that a module, or every module of a room, makes public."""

import importlib
import inspect
import pkgutil
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


def public(name):
    """`(name, value, home)` of all that a module makes public; of a toy's room, what each of its modules does."""
    module = importlib.import_module(name)
    inside = []
    if name.startswith("toy_problems"):
        inside = [importlib.import_module(m.name) for m in pkgutil.iter_modules(module.__path__, f"{name}.")]
    for home in inside or [module]:
        for own in getattr(home, "__all__", ()):
            yield own, getattr(home, own), home.__name__


class Api(SphinxDirective):
    """Every name in `__all__` of a module, in that order, documented where it is defined."""

    required_arguments = 1

    def run(self):
        """One `autodoc2-object` a name."""
        blocks = []
        for name, value, module in public(self.arguments[0]):
            # An optimizer is made from its method, and documented there.
            if isinstance(value, type) and issubclass(value, RuleOptimizer):
                blocks += [f"`{name}{inspect.signature(value)}`", ""]
                value = value.method
            home = getattr(value, "__module__", module)
            if not home.startswith(("flatlab", "toy_problems")):  # a type alias has no docstring of its own
                continue
            blocks += [f"```{{autodoc2-object}} {home}.{name}", "```", ""]
        return self.parse_text_to_nodes("\n".join(blocks))


def setup(app):
    """Register with Sphinx."""
    app.add_directive("api", Api)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
