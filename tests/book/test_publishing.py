"""What the site says of itself: a description and a picture a page, an address, a map, a page for the lost."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from flatlab import __version__

sys.path.append(str(Path(__file__).parents[2] / "book" / "_ext"))
import publishing
from colab import published

SITE = Path(__file__).parents[2] / "_build" / "html"
PAGES = sorted(SITE.glob("book/**/*.html"))
CONFIG = SimpleNamespace(html_theme_options={"repository_url": "https://github.com/flatlab-book/flatlab"})


@pytest.mark.parametrize("fork", [None, "someone/laboratory"])
def test_the_address_is_that_of_the_repository_that_builds(monkeypatch, fork):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    if fork:
        monkeypatch.setenv("GITHUB_REPOSITORY", fork)
    owner, name = (fork or "flatlab-book/flatlab").split("/")
    assert published(CONFIG) == f"https://{owner}.github.io/{name}/"


def test_the_sitemap_names_every_page_for_readers_and_no_other(tmp_path):
    for name in ("book/a.html", "records/b.html", "embed/c.html", "search.html", "_static/d.html"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listed = re.findall("<loc>(.*?)</loc>", publishing.sitemap(tmp_path, "https://x.y/z/").decode())
    assert listed == ["https://x.y/z/book/a.html", "https://x.y/z/records/b.html"]


def test_formulas_are_read_from_the_pages_and_told_in_plain_characters(tmp_path):
    kind = 'class="math notranslate nohighlight"'
    page = f'<span {kind}>\\(\\rho &lt; 1\\)</span><div {kind} id="e">\n\\[w_1 = 3\\]</div>'
    (tmp_path / "a.html").write_text(page)
    assert publishing.formulas(tmp_path) == {r"\(\rho < 1\)": "ρ < 1", r"\[w_1 = 3\]": "w_1 = 3"}


@pytest.mark.site
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_has_a_description_and_a_picture_that_exists(page):
    head = page.read_text().partition("</head>")[0]
    found = dict(re.findall(r'<meta (?:property|name)="([\w:]+)" content="([^"]*)"', head))
    address = re.search(r'<link rel="canonical" href="([^"]*)"', head)[1]
    base = address.removesuffix(page.relative_to(SITE).as_posix())
    assert address != base and found["og:url"] == address
    assert len(found["description"]) > 40 and "\\" not in found["description"]
    assert (SITE / found["og:image"].removeprefix(base)).is_file(), found["og:image"]


@pytest.mark.site
def test_a_lost_visitor_finds_the_way_from_any_depth():
    text = (SITE / "404.html").read_text()
    base = re.search(r'<base href="(/.*?/)">', text)[1]
    assert text.index("<base") < text.index("<link") and base.count("/") == 2
    assert 'href="book/index.html"' in text


@pytest.mark.site
@pytest.mark.parametrize("page", PAGES[:3], ids=lambda page: page.stem)
def test_the_foot_of_a_page_names_version_and_day(page):
    foot = page.read_text().rpartition("bd-footer-content")[2]
    assert f"Version {__version__}." in foot and re.search(r"Last updated on \d+ \w+ 20\d\d", foot)


def test_the_excerpts_of_a_search_hold_no_tex(open_page):
    page = open_page("search.html?q=curvature")
    page.locator("p.context").nth(1).wait_for(timeout=20_000)
    texts = page.locator("p.context").all_inner_texts()
    assert any(re.search(r"[λρη]", text) for text in texts), "a chapter on curvature has formulas"
    assert not [text for text in texts if re.search(r"\\[a-zA-Z(\[]", text)]
