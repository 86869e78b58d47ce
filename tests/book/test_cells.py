"""A cell holds one idea: what is longer belongs to a module that the chapter calls."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted(path for path in (ROOT / "book").rglob("*.md") if "{code-cell}" in path.read_text())
MOST = 15


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_cell_is_longer_than_fifteen_lines(path):
    import jupytext  # takes seconds, and every process that runs tests reads this file

    cells = [cell.source.splitlines() for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    assert cells and not [(cell[0], len(cell)) for cell in cells if len(cell) > MOST]
