"""Figures get their captions as words."""

import sys
from pathlib import Path

from docutils import nodes

sys.path.append(str(Path(__file__).parents[2] / "book" / "_ext"))
import access


def page(*after):
    image = nodes.image(uri="a.png")
    cell = nodes.container("", nodes.container("", image, classes=["cell_output"]), classes=["cell"])
    nodes.section("", cell, *after)
    return image


def test_the_italic_paragraph_after_a_cell_describes_its_picture():
    told = nodes.paragraph(
        "", "", nodes.emphasis("", "", nodes.Text("Share of runs at "), nodes.math("", r"\eta = 0.1"), nodes.Text("."))
    )
    assert access.caption(page(told)) == "Share of runs at η = 0.1."


def test_another_paragraph_does_not():
    assert access.caption(page(nodes.paragraph("", "What follows."))) is None
    assert access.caption(page()) is None


def test_a_figure_has_its_own():
    image = nodes.image(uri="a.png")
    nodes.figure("", image, nodes.caption("", "Two rooms."))
    assert access.caption(image) == "Two rooms."
