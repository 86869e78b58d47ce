"""The built site: its links, its reference, its ledger."""

import html
import importlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from flatlab.optim import RuleOptimizer

pytestmark = pytest.mark.site
ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "html"


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
            if path.name == "404.html" and url.path.startswith("/"):
                continue  # it is shown at any address, so it names the site's own from the root
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


@pytest.mark.parametrize("module", re.findall(r"^```\{api\} (\S+)", (ROOT / "book" / "api.md").read_text(), re.M))
def test_the_reference_lists_every_public_name(module):
    page = (SITE / "book" / "api.html").read_text()
    for name in importlib.import_module(module).__all__:
        value = getattr(importlib.import_module(module), name)
        if isinstance(value, type) and issubclass(value, RuleOptimizer):  # documented in the file of its method
            value = value.method
        home = re.escape(getattr(value, "__module__", module))
        if not home.startswith("flatlab"):  # a type alias
            continue
        assert re.search(rf'<dt class="sig[^>]* id="[^"]*{home}\.{name}(\.{name})?"', page), f"{module}.{name}"


def test_the_ledgers_mathematics_is_set_with_its_symbols():
    """No letter's name, no caret, no sign made of others, and what is above the line is above it."""
    text = (SITE / "book" / "ledger.html").read_text()
    table = text.split("<tbody>")[1].split("</tbody>")[0]
    # Ids, and the names of files, of tests and of a network are not set.
    shown = re.sub(r"<dt>(?:Id|Needs)</dt>.*?</dd>|[\w/]+\.toml|test_\w+|fast_cifar", "", table)
    rows = [html.unescape(re.sub(r"<[^>]*>", "", row)) for row in re.findall(r"<tr.*?</tr>", shown, re.DOTALL)]
    assert len(rows) >= 483, "every claim stands there"
    plain = re.compile(r"(?<![A-Za-z])(rho|lambda|eta|mu|alpha|gamma|delta|kappa)(?![A-Za-z])|\^|\+/-|<=|sqrt|\w_\w|\{su|`")
    assert not [row for row in rows if plain.search(row)]
    assert "tr(H<sup>2</sup>)" in table and "C<sub>ε</sub>" in table


def test_a_record_is_whole_and_clean():
    """Every frozen record carries its provenance, from a committed state of the code."""
    for path in (ROOT / "book" / "results").rglob("*.json"):
        record = json.loads(path.read_text())
        assert record["key"] == path.stem and record["experiment"] == path.parent.name
        assert re.fullmatch(r"[0-9a-f]{7,}", record["provenance"]["commit"]), f"{path}: {record['provenance']['commit']}"
        assert record["command"].startswith("python -m ") and record["wall_s"] > 0


def test_the_readme_and_the_book_name_one_address():
    address = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    named = set(re.findall(r"https://github\.com/[\w-]+/[\w-]+", (ROOT / "README.md").read_text()))
    assert named == {address}
