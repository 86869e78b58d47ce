"""Numbers in the prose come from the cells: on the page by MyST-NB, in the notebook as they were when it was built."""

import re
import sys
from pathlib import Path

import pytest
from sphinx.application import Sphinx

BOOK = Path(__file__).parents[2] / "book"
sys.path.append(str(BOOK / "_ext"))
import colab  # noqa: E402

PAGE = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A page

```{code-cell} python
:tags: [hide-input]
import os
os.environ["FLATLAB_BOOK"] = "1"
from flatlab import plots
plots.glue(**{"the-norm": "4,180", "the-share": "0.10 to 0.2", "the-power": "3 · 10¹⁰"})
```

The norm is {glue:text}`the-norm`, the share {glue:text}`the-share`%, and {glue:text}`the-power` in all.
"""
SAID = "The norm is 4,180, the share 0.10 to 0.2%, and 3 · 10¹⁰ in all."


@pytest.mark.slow
def test_the_page_and_its_notebook_say_what_the_cell_has_found(tmp_path):
    (tmp_path / "page.md").write_text(PAGE)
    config = {"extensions": ["myst_nb"], "root_doc": "page", "nb_execution_mode": "force"}
    app = Sphinx(tmp_path, None, tmp_path / "out", tmp_path / "trees", "html", config, status=None, warningiserror=True)
    app.build()
    assert SAID in re.sub(r"<[^>]+>", "", (tmp_path / "out" / "page.html").read_text())
    values = colab.glued(app, "page")
    notebook = colab.notebook(tmp_path / "page.md", "book", "https://example.org", "https://example.org/page", values)
    assert SAID in notebook["cells"][-1]["source"]
    assert all(cell.get("outputs", []) == [] for cell in notebook["cells"])


def test_a_name_without_a_value_is_no_notebook():
    with pytest.raises(KeyError, match="unknown"):
        colab.plain_markdown("{glue:text}`unknown`", "", {})


def test_a_notebook_installs_the_extra_that_its_page_names(tmp_path):
    for extra, installed in (("", '"{book}"\n'), ("extra: frameworks\n", '"{book}[frameworks]"\n')):
        (tmp_path / "page.md").write_text(PAGE.replace("---\n\n#", f"{extra}---\n\n#").replace("{glue:text}", ""))
        set_up = colab.notebook(tmp_path / "page.md", "book", "https://example.org", "https://example.org/page")["cells"][0]
        assert f'%pip install --quiet --constraint "{{there}}" {installed}' in set_up["source"]


def test_a_notebook_shows_nothing_of_it(monkeypatch, capsys):
    from flatlab import plots

    monkeypatch.delenv("FLATLAB_BOOK", raising=False)
    plots.glue(norm="4,180")
    assert capsys.readouterr().out == ""


SHORT = (
    "scale/cifar", "scale/stability", "toys/hessian_penalty", "toys/local_average", "toys/noise_structure",
    "toys/relative_flatness", "toys/relative_flatness_detail", "toys/relative_flatness_minima",
)  # fmt: skip
"""The chapters whose programs are in their paper's package."""


@pytest.mark.parametrize("chapter", SHORT)
def test_no_cell_is_longer_than_fifteen_lines(chapter):
    cells = re.findall(r"^```\{code-cell\} python\n(.*?)^```$", (BOOK / f"{chapter}.md").read_text(), re.M | re.S)
    lines = [[line for line in cell.splitlines() if line.strip() and not line.startswith(":tags:")] for cell in cells]
    assert lines and max(map(len, lines)) <= 15


def test_no_chapter_builds_a_table_of_its_own_or_catches_what_is_not_there():
    for page in BOOK.rglob("*.md"):
        assert "<table" not in page.read_text() and "FileNotFoundError" not in page.read_text(), page
