"""A figure or a table has its caption right below it; the line that says where it comes from follows the caption."""

from docutils import nodes


def captioned(line: nodes.raw) -> nodes.paragraph | None:
    """The paragraph all in italics after the cell that a record line stands in. None where there is no caption."""
    cell = line
    while cell is not None and "cell" not in cell.get("classes", ()):
        cell = cell.parent
    after = cell.next_node(descend=False, siblings=True) if cell else None
    under = isinstance(after, nodes.paragraph) and [type(part) for part in after.children] == [nodes.emphasis]
    return after if under else None


def put_captions_first(app, doctree, page):
    """Move each record line behind the caption of its figure."""
    for line in list(doctree.findall(nodes.raw)):
        if '<div class="provenance">' in line.astext() and (caption := captioned(line)):
            line.parent.remove(line)
            caption.parent.insert(caption.parent.index(caption) + 1, line)


def setup(app):
    """Register with Sphinx: after MyST-NB has put the outputs there, before the figures take their captions as texts."""
    app.connect("doctree-resolved", put_captions_first, priority=850)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
