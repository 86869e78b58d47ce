"""What a narrow screen needs: boxes that show that they scroll, and tables of the class `cards`.

Of such a table each row is a card on a phone, and each of its cells says which column it is of.
"""

from docutils import nodes


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


def setup(app):
    """Register with Sphinx."""
    app.add_js_file("fades.js", loading_method="defer")
    app.connect("doctree-resolved", label_cells)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
