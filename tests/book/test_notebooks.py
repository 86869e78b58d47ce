"""The published notebooks: one a chapter, plain, and each runs."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "html"


def notebooks():
    return sorted((SITE / "notebooks").rglob("*.ipynb"))


def test_every_chapter_has_its_notebook():
    chapters = [p for p in (ROOT / "book").rglob("*.md") if "{code-cell}" in p.read_text()]
    expected = {SITE / "notebooks" / p.relative_to(ROOT).with_suffix(".ipynb") for p in chapters}
    assert chapters and set(notebooks()) == expected


def test_a_notebook_is_plain_markdown_and_code_without_outputs():
    for path in notebooks():
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert "git clone" in notebook.cells[0].source and "google.colab" in notebook.cells[0].source
        assert "widgets" not in notebook.metadata
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                assert not re.search(r"\{[\w:-]+\}`|^[:`]{3,}\{|^\([\w-]+\)=", cell.source, re.M), cell.source
            else:
                assert cell.outputs == []


@pytest.mark.parametrize("path", notebooks() or ["no notebook: run make book"], ids=lambda p: getattr(p, "stem", p))
def test_a_notebook_runs_from_top_to_bottom_as_it_is_published(path):
    notebook = nbformat.read(path, as_version=4)
    folder = ROOT / Path(path).relative_to(SITE / "notebooks").parent
    timeout = yaml.safe_load((ROOT / "_config.yml").read_text())["execute"]["timeout"]  # of a cell, as in the build
    NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    bundles = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    for used, live in (("flatlab.widgets", "jupyter.widget-view"), ("figure.show()", "plotly.v1")):
        if any(used in cell.source for cell in notebook.cells):
            assert any(f"application/vnd.{live}+json" in data for data in bundles), f"{used} is live in a notebook"
