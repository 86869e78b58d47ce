"""The built site: its links, its notebooks, its ledger."""

import importlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "html"
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.targets, self.ids = [], set()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids |= {attributes.get("id"), attributes.get("name")}
        self.targets += [attributes[k] for k in ("href", "src") if attributes.get(k)]


def pages():
    parsed = {}
    for path in SITE.rglob("*.html"):
        if "_static" in path.parts:  # templates of the theme, no pages
            continue
        parser = Links()
        parser.feed(path.read_text())
        parsed[path.resolve()] = parser
    return parsed


def test_every_link_within_the_site_leads_somewhere():
    parsed = pages()
    assert len(parsed) >= 5, "run 'make book' first"
    broken = []
    for path, page in parsed.items():
        for target in page.targets:
            url = urlsplit(target)
            if url.scheme or url.netloc or target.startswith(("#!", "javascript:")):
                continue
            file = (path.parent / unquote(url.path)).resolve() if url.path else path
            if file.is_dir():
                file = file / "index.html"
            missing = not file.exists()
            lost = file in parsed and url.fragment and unquote(url.fragment) not in parsed[file].ids
            if missing or lost:
                broken.append(f"{path.relative_to(SITE)}: {target}")
    assert not broken, "\n".join(broken)


def test_no_page_asks_another_host_for_a_script_a_style_or_a_picture():
    foreign_tag = re.compile(r'<(?:script|img|link rel="stylesheet")[^>]+(?:src|href)="(?:https?:)?//[^"]+"')
    foreign = [f"{path.name}: {tag}" for path in pages() for tag in foreign_tag.findall(path.read_text())]
    assert not foreign, "\n".join(foreign)


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
    timeout = CONFIG["execute"]["timeout"]  # of a cell, as when the book is built
    NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    bundles = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    for used, live in (("flatlab.widgets", "jupyter.widget-view"), ("figure.show()", "plotly.v1")):
        if any(used in cell.source for cell in notebook.cells):
            assert any(f"application/vnd.{live}+json" in data for data in bundles), f"{used} is live in a notebook"


@pytest.mark.parametrize("module", re.findall(r"^```\{api\} (\S+)", (ROOT / "book" / "api.md").read_text(), re.M))
def test_the_reference_lists_every_public_name(module):
    page = (SITE / "book" / "api.html").read_text()
    for name in importlib.import_module(module).__all__:
        value = getattr(importlib.import_module(module), name)
        home = re.escape(getattr(value, "__module__", module))
        if not home.startswith("flatlab"):  # a type alias
            continue
        assert re.search(rf'<dt class="sig[^>]* id="[^"]*{home}\.{name}(\.{name})?"', page), f"{module}.{name}"


def ledger():
    return yaml.safe_load((ROOT / "book" / "claims.yml").read_text())


def test_a_verdict_has_its_evidence():
    """What is decided names a record or a test, and both are there."""
    keys = ["id", "paper", "where", "claim", "kind", "verdict", "measured", "evidence"]
    for claim in ledger():
        assert list(claim) == keys, claim["id"]
        if claim["verdict"] == "not run yet":
            assert claim["measured"] is None and claim["evidence"] is None, claim["id"]
        elif claim["verdict"] == "cannot be run":
            assert claim["measured"], claim["id"]
        else:
            assert claim["verdict"] in ("held", "held in part", "did not hold"), claim["id"]
            evidence = claim["evidence"]
            assert claim["measured"] and ("record" in evidence or "test" in evidence), claim["id"]
            if "record" in evidence:
                named = ROOT / "book" / "results" / evidence["record"]  # one record, or all of an experiment
                assert named.is_dir() or named.with_suffix(".json").exists(), claim["id"]
            if "test" in evidence:
                file, name = evidence["test"].split("::")
                assert f"\ndef {name}(" in (ROOT / file).read_text(), f"{claim['id']}: no test {evidence['test']}"
    ids = [claim["id"] for claim in ledger()]
    assert len(ids) == len(set(ids))


def test_a_record_is_whole_and_clean():
    """Every frozen record carries its provenance, from a committed state of the code."""
    for path in (ROOT / "book" / "results").rglob("*.json"):
        record = json.loads(path.read_text())
        assert record["key"] == path.stem and record["experiment"] == path.parent.name
        assert re.fullmatch(r"[0-9a-f]{7,}", record["provenance"]["commit"]), f"{path}: {record['provenance']['commit']}"
        assert record["command"].startswith("python -m ") and record["wall_s"] > 0


def test_the_readme_and_the_book_name_one_address():
    address = CONFIG["repository"]["url"]
    named = set(re.findall(r"https://github\.com/[\w-]+/[\w-]+", (ROOT / "README.md").read_text()))
    assert named == {address}
