"""The published notebooks: one a chapter, plain, and each runs."""

import re
from pathlib import Path

import nbformat
import pytest
from jupyter_cache import get_cache
from nbclient import NotebookClient

from tests.rooms import explorables

pytestmark = pytest.mark.site
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


def code(cells):
    return tuple(cell.source for cell in cells if cell.cell_type == "code")


@pytest.fixture(scope="module")
def built():
    """What the build has run to its end, by the code of its cells: the page shows these outputs."""
    cache = get_cache(ROOT / "_build" / ".jupyter_cache")
    found = [cache.get_cache_bundle(record.pk).nb for record in cache.list_cache_records()]
    return {code(notebook.cells): notebook for notebook in found}


MADE = re.compile(rf"\b({'|'.join(cls.__name__ for cls in explorables())})(\.of)?\(")


def shows(notebook, live):
    """Whether a live output of that kind is there, if a cell makes an explorable."""
    bundles = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    needed = any(MADE.search(cell.source) for cell in notebook.cells if cell.cell_type == "code")
    return not needed or any(f"application/vnd.{live}+json" in data for data in bundles)


@pytest.mark.parametrize("path", notebooks() or ["no notebook: run make book"], ids=lambda p: getattr(p, "stem", p))
def test_a_notebook_holds_the_cells_that_the_build_has_run(path, built):
    """The build stops at the first cell that raises; so these cells, in this order, do not."""
    published = nbformat.read(path, as_version=4)
    assert code(published.cells[1:]) in built, "all but the set-up cell"
    assert shows(built[code(published.cells[1:])], "jupyter.widget-view")


def test_the_run_that_the_tour_kills_ends_with_the_weights_of_one_that_nobody_disturbed(built):
    published = nbformat.read(SITE / "notebooks" / "book" / "first_run.ipynb", as_version=4)
    outputs = [output for cell in built[code(published.cells[1:])].cells for output in cell.get("outputs", [])]
    said = "".join(output.get("text", "") for output in outputs)
    assert "state saved: True" in said and "record there: False" in said, "killed in the middle"
    (resumed,), (undisturbed,) = (
        re.findall(rf"^{name}: (\w{{12}})$", said, re.M) for name in ("killed and resumed", "undisturbed")
    )
    assert resumed == undisturbed


@pytest.mark.parametrize("name", ["index", "scale/cifar"])
def test_a_notebook_runs_from_top_to_bottom_as_it_is_published(name):
    """Two short ones with their set-up cell, and without what the build sets up for a static page."""
    path = SITE / "notebooks" / "book" / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    folder = ROOT / path.relative_to(SITE / "notebooks").parent
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    assert any(MADE.search(cell.source) for cell in notebook.cells) and shows(notebook, "jupyter.widget-view")
