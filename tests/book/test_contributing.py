"""The examples of CONTRIBUTING.md are whole: in a copy of the repository their files make their commands succeed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^(`{3,})(\w+)\n(.*?)^\1\n", re.M | re.S)
FILE = re.compile(r"(?:#|//|<!--) ([\w./]+)(?:, (at the end|after: .+?))?(?: -->)?\n")
LEFT = shutil.ignore_patterns("__pycache__", "_build", ".unfinished")
COPIED = ("flatlab", "toy_problems", "tests", "book", "_toc.yml", "pyproject.toml")


def examples():
    """By title: the blocks of a section that has some, each its language and its text."""
    for section in re.split(r"^## ", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.M)[1:]:
        blocks = [(language, text) for _, language, text in BLOCK.findall(section)]
        if blocks:
            yield section.splitlines()[0], blocks


EXAMPLES = dict(examples())
IN_A_BROWSER = ("To add a toy", "To add an explorable")
"""The second builds on the first."""


def copy(folder):
    for name in COPIED:
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, folder)
        else:
            shutil.copytree(ROOT / name, folder / name, ignore=LEFT)


def put(folder, text):
    """Write a block where its first line says."""
    first = FILE.match(text)
    file, where, body = folder / first[1], first[2], text[first.end() :]
    if where is None:
        assert not file.exists(), f"{file} is there already"
        file.parent.mkdir(exist_ok=True)
        file.write_text(body)
        return
    old = file.read_text()
    if where == "at the end":
        file.write_text(f"{old}\n\n{body}")
        return
    lines = old.splitlines(keepends=True)
    (place,) = [k for k, line in enumerate(lines) if line.strip().startswith(where.removeprefix("after: "))]
    file.write_text("".join([*lines[: place + 1], body, *lines[place + 1 :]]))


def follow(folder, title):
    """Do what a section says, in that copy."""
    env = os.environ | {"PYTHONPATH": str(folder), "PYTEST_ADDOPTS": "-p no:xdist -p no:cacheprovider"}
    for language, text in EXAMPLES[title]:
        if language != "sh":
            put(folder, text)
            continue
        for command in text.splitlines():
            words = [sys.executable, *command.split()[1:]]
            done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
            assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            yield done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("title", [title for title in EXAMPLES if title not in IN_A_BROWSER])
def test_what_is_to_be_added_is_all_that_it_takes(tmp_path, title):
    copy(tmp_path)
    assert list(follow(tmp_path, title))
    if title == "To add a claim":
        assert "verdict: not run yet" not in (tmp_path / "book/lsam/claims.yml").read_text().split("an-example")[1]


@pytest.mark.slow
@pytest.mark.site
def test_a_toy_and_its_explorable_pass_the_tests_of_all_toys(tmp_path):
    copy(tmp_path)
    for title in IN_A_BROWSER:
        for told in follow(tmp_path, title):
            assert "no tests ran" not in told
