"""The glossary of the methods, from their own files: the directive `methods`."""

from sphinx.util.docutils import SphinxDirective

from flatlab.methods import METHODS


class Methods(SphinxDirective):
    """Every method with what it does and where it stands."""

    def run(self):
        """One definition a method."""
        entries = [f"{name}\n: {method.about} ({method.source})." for name, method in METHODS.items()]
        return self.parse_text_to_nodes("\n\n".join(entries))


def setup(app):
    """Register with Sphinx."""
    app.add_directive("methods", Methods)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
