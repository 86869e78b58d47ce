"""The feed of the book's changes: valid Atom, and one entry for each change that the changelog lists."""

import subprocess
import sys
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

sys.path.append(str(Path(__file__).parents[2] / "book" / "_ext"))
import feed

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "html"
ATOM = "{http://www.w3.org/2005/Atom}"
ADDRESS = "https://x.github.io/y/"
LOG = "# Changes\n\n## 0.2.0, soon\n\n### New\n- A toy: it\n  *moves*.\n- Another.\n\n## 0.1.0\n\nThe first.\n"


def read(file):
    return ElementTree.fromstring(feed.feed(file, ADDRESS))


def test_the_feed_has_what_atom_asks_for():
    root = read(ROOT / "CHANGELOG.md")
    assert root.tag == f"{ATOM}feed"
    entries = root.findall(f"{ATOM}entry")
    assert len(entries) == min(feed.LATEST, len(feed.changes((ROOT / "CHANGELOG.md").read_text()))) > 10
    for element in (root, *entries):
        for tag in ("id", "title", "updated"):
            assert element.findtext(f"{ATOM}{tag}"), tag
        assert datetime.fromisoformat(element.findtext(f"{ATOM}updated")).tzinfo
    assert root.find(f"{ATOM}link[@rel='self']").get("href") == ADDRESS + "feed.xml"
    assert root.findtext(f"{ATOM}author/{ATOM}name"), "else each entry needs one"
    names = [entry.findtext(f"{ATOM}id") for entry in entries]
    assert len(set(names)) == len(names)
    times = [entry.findtext(f"{ATOM}updated") for entry in entries]
    assert times == sorted(times, reverse=True) and root.findtext(f"{ATOM}updated") == times[0]


def test_an_entry_says_its_change_and_when_it_was_written(tmp_path):
    file = tmp_path / "CHANGELOG.md"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], cwd=tmp_path, check=True)
    for text, day in ((LOG, "2026-01-02"), (LOG.replace("Another", "Others"), "2026-03-04")):
        file.write_text(text)
        subprocess.run([*git, "add", file.name], cwd=tmp_path, check=True)
        dated = {"GIT_COMMITTER_DATE": f"{day}T00:00:00Z", "PATH": "/usr/bin:/bin"}
        subprocess.run([*git, "commit", "-q", "-m", "x"], cwd=tmp_path, check=True, env=dated)
    newer, older = read(file).findall(f"{ATOM}entry")
    assert newer.findtext(f"{ATOM}updated") == "2026-03-04T00:00:00+00:00"
    assert older.findtext(f"{ATOM}updated") == "2026-01-02T00:00:00+00:00"
    assert older.findtext(f"{ATOM}title") == "A toy" and "<em>moves</em>" in older.findtext(f"{ATOM}content")
    assert older.find(f"{ATOM}category").get("term") == "New in 0.2.0"


def test_without_git_a_change_is_as_old_as_the_file(tmp_path):
    (tmp_path / "CHANGELOG.md").write_text(LOG)
    times = {entry.findtext(f"{ATOM}updated") for entry in read(tmp_path / "CHANGELOG.md").findall(f"{ATOM}entry")}
    assert len(times) == 1


@pytest.mark.site
def test_each_page_names_the_feed_in_its_head():
    assert (SITE / "feed.xml").is_file()
    for page in SITE.glob("book/**/*.html"):
        head = page.read_text().partition("</head>")[0]
        assert (
            f'type="application/atom+xml" title="Changes" href="{"../" * len(page.relative_to(SITE).parents[1:])}feed.xml"'
            in head
        )
