"""What a narrow screen needs: boxes that show that they scroll, tables of the class `cards`, formulas and their marks.

Of such a table each row is a card on a phone, and each of its cells says which column it is of.
"""

import re

from docutils import nodes

MARKS = re.compile(r"[.,;:!?)\]’”]+")


def label_cells(app, doctree, page):
    """Put the head of its column before each cell but the first of a row; the style sheet shows it on a phone alone."""
    for table in doctree.findall(nodes.table):
        head = next(table.findall(nodes.thead), None)
        if "cards" not in table.get("classes", ()) or head is None:
            continue
        names = [entry.astext() for entry in head.findall(nodes.entry)]
        for row in next(table.findall(nodes.tbody)).findall(nodes.row):
            for name, cell in zip(names[1:], row.children[1:], strict=True):
                place = cell.children[0] if isinstance(cell.children[0], nodes.paragraph) else cell
                place.insert(0, nodes.inline("", name, classes=["card-label"]))


def glue_marks(doctree):
    """Keep a formula in the text and the marks right after it on one line.

    >>> text = nodes.paragraph("", "", nodes.math("", "x"), nodes.Text(", and"))
    >>> glue_marks(text)
    >>> [child.astext() for child in text.children], text.children[0]["classes"]
    (['x,', ' and'], ['flatlab-glued'])
    """
    for formula in list(doctree.findall(nodes.math)):
        after = formula.next_node(descend=False, siblings=True)
        marks = MARKS.match(after.astext()) if isinstance(after, nodes.Text) else None
        if marks is None or isinstance(formula.parent, nodes.title):
            continue
        parent, rest = formula.parent, after.astext()[marks.end() :]
        place = parent.index(formula)
        both = nodes.inline("", "", formula.deepcopy(), nodes.Text(marks.group()), classes=["flatlab-glued"])
        parent.children[place : place + 2] = []
        parent.insert(place, [both, nodes.Text(rest)] if rest else [both])


def glue(app, doctree, page):
    """The same for Sphinx."""
    glue_marks(doctree)


def setup(app):
    """Register with Sphinx."""
    app.add_js_file("fades.js", loading_method="defer")
    app.connect("doctree-resolved", label_cells)
    app.connect("doctree-resolved", glue)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
