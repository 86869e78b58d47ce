"""The first cell of a published notebook finds the book or fetches it, survives a restart, keeps runs where one says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "book" / "_ext"))
import colab  # noqa: E402

PAGE = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
---

# A chapter
"""
COLAB = "import sys, types\nsys.modules['google.colab'] = types.ModuleType('google.colab')\n"
WHERE = "\nimport os; print('in', os.getcwd())"
TRAIN = """
from flatlab.runs import records
from flatlab.runs.experiment import perform, unfinished
from flatlab.runs.host import Host, Stopped
from flatlab.training import Train

chosen = Train(data="digits", network="fcn3", epochs=4, lr=0.05)
"""
STOP = """
host = Host(unfinished(chosen, records.out()))
host.watch = lambda news: host.stop.set() if news["epoch"] == 2 else None
try:
    perform(chosen, records.out(), host=host)
except Stopped as stopped:
    print(stopped)
"""
GO_ON = """
print("taken up:", unfinished(chosen, records.out()).exists())
perform(chosen, records.out())
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A repository with a chapter, as the published one."""
    place = tmp_path_factory.mktemp("published")
    page = place / "book" / "toys" / "chapter.md"
    page.parent.mkdir(parents=True)
    page.write_text(PAGE)
    name = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    for words in (["init", "--quiet"], ["add", "."], [*name, "commit", "--quiet", "-m", "a chapter"]):
        subprocess.run(["git", *words], cwd=place, check=True)
    return place


def first_cell(source, url=None):
    notebook = colab.notebook(
        source / "book" / "toys" / "chapter.md", "book/toys", str(url or source), "https://example.org"
    )
    return notebook["cells"][0]["source"]


def run(code, place, check=True):
    """The cell in a new interpreter with IPython's magics, as after a restart; what it says."""
    (place / "cell.ipy").write_text(code)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(place / ".ipython")}
    words = [sys.executable, "-m", "IPython", "--colors=NoColor", "cell.ipy"]
    ended = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, timeout=120)
    said = ended.stdout + ended.stderr
    assert not check or ("Traceback" not in said and ended.returncode == 0), said
    return said


def test_in_a_checkout_nothing_is_fetched(source):
    said = run(first_cell(source, "https://nowhere.invalid") + WHERE, source / "book" / "toys")
    assert "fetching" not in said and f"in {source}/book/toys" in said and "running on" in said
    (source / "book" / "toys" / "cell.ipy").unlink()


@pytest.mark.slow
def test_a_downloaded_notebook_fetches_the_book_beside_it_says_so_and_finds_it_again(source, tmp_path):
    cell = first_cell(source) + WHERE
    first, again = run(cell, tmp_path), run(cell, tmp_path)
    assert f"fetching the book (library, toys, frozen results) into {tmp_path}/flatlab" in first and "fetching" not in again
    for said in (first, again):
        assert f"in {tmp_path}/flatlab/book/toys" in said


@pytest.mark.slow
def test_on_colab_a_restarted_runtime_comes_back_to_the_chapters_folder(source, tmp_path):
    cell = COLAB + first_cell(source).replace("/content/", f"{tmp_path}/content/") + WHERE
    (tmp_path / "home").mkdir()
    first, restarted = run(cell, tmp_path / "home"), run(cell, tmp_path / "home")
    assert "fetching" in first and "fetching" not in restarted
    assert f"in {tmp_path}/content/flatlab/book/toys" in first and f"in {tmp_path}/content/flatlab/book/toys" in restarted


def test_an_address_that_cannot_be_reached_is_named(source, tmp_path):
    said = run(first_cell(source, tmp_path / "not there"), tmp_path, check=False)
    assert f"{tmp_path}/not there could not be fetched into {tmp_path}/flatlab: see the message of git above" in said
    assert "Traceback" not in said and "cell.ipy" not in said


@pytest.mark.slow
def test_a_run_in_a_folder_that_outlives_the_machine_goes_on_in_another_session(source, tmp_path):
    kept, code = tmp_path / "a drive", {}
    for name, cells in (("first", TRAIN + STOP), ("second", TRAIN + GO_ON)):
        machine = tmp_path / name
        machine.mkdir()
        cell = first_cell(source).replace('RUNS = ""', f'RUNS = "{kept}"')
        code[name] = run(cell + cells, machine)
    assert "stopped in epoch" in code["first"] and "taken up: True" in code["second"]
    (record,) = (json.loads(file.read_text()) for file in kept.glob("train/*.json"))
    from flatlab.training import Train

    assert record["result"]["weights"] == Train(data="digits", network="fcn3", epochs=4, lr=0.05).run()["weights"]
