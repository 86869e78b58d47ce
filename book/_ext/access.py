"""What a reader needs who sees no picture or has no mouse: texts for the figures, and mends of the theme's own pages."""

from pathlib import Path

from docutils import nodes
from plain import words

THEME = [
    # The logo and the button of the search stand outside every landmark.
    ('<div id="pst-primary-sidebar" class=', '<div id="pst-primary-sidebar" role="region" aria-label="Book" class='),
    # A button without a name.
    ('<summary><span class="toctree-toggle"', '<summary aria-label="Its pages"><span class="toctree-toggle"'),
]
"""What the theme writes, and what it should have written."""


def caption(image: nodes.image) -> str | None:
    """The words under a figure: its own caption, or the paragraph in italics after its cell. None without either."""
    outer = image
    while outer.parent is not None and "cell" not in outer.get("classes", ()):
        outer = outer.parent
        if isinstance(outer, nodes.figure):
            return next((words(part) for part in outer.findall(nodes.caption)), None)
    after = outer.next_node(descend=False, siblings=True)
    under = isinstance(after, nodes.paragraph) and after.children and isinstance(after.children[0], nodes.emphasis)
    return words(after) if under else None


def describe_figures(app, doctree, page):
    """Give each picture without a text for those who do not see it the words of its caption."""
    for image in doctree.findall(nodes.image):
        if not image.get("alt") and (told := caption(image)):
            image["alt"] = told


def mend_theme(app, error):
    """Once the pages are written, for these are parts of the theme that no option reaches."""
    if error is None and app.builder.format == "html":
        for page in Path(app.outdir).rglob("*.html"):
            text = page.read_text()
            for written, wanted in THEME:
                text = text.replace(written, wanted)
            page.write_text(text)


def setup(app):
    """Register with Sphinx."""
    app.add_js_file("scrollable.js", loading_method="defer")
    app.connect("doctree-resolved", describe_figures, priority=900)
    app.connect("build-finished", mend_theme)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
