"""The feed of the book's changes, in Atom (RFC 4287): an entry for each line of CHANGELOG.md, the newest first."""

import hashlib
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from xml.etree import ElementTree

from colab import published
from markdown_it import MarkdownIt

FILE = "feed.xml"
LATEST = 40
PART = re.compile(r"^(?:## (?P<version>[\d.]+).*|### (?P<kind>.+)|- (?P<text>.+(?:\n  .+)*))$", re.MULTILINE)
SENTENCE = re.compile(r"(?<=[.:])\s")


class Change(NamedTuple):
    """What a reader will notice: in which version, of which kind, in Markdown, and at which line of the file it begins."""

    version: str
    kind: str
    text: str
    line: int


def changes(text: str) -> list[Change]:
    r"""All changes that a changelog lists.

    >>> changes("# Changes\n\n## 0.2.0, soon\n\n### New\n- A toy: it\n  moves.\n")
    [Change(version='0.2.0', kind='New', text='A toy: it\nmoves.', line=6)]
    """
    version = kind = ""
    found = []
    for part in PART.finditer(text):
        version, kind = part["version"] or version, part["kind"] or ("" if part["version"] else kind)
        if part["text"]:
            line = text.count("\n", 0, part.start()) + 1
            found.append(Change(version, kind, part["text"].replace("\n  ", "\n"), line))
    return found


def dates(file: Path) -> dict[int, datetime]:
    """When each line of a file was last written, as Git knows it; nothing where there is no Git."""
    words = ["git", "blame", "--line-porcelain", file.name]
    try:
        told = subprocess.run(words, cwd=file.parent, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    seconds = re.findall(r"^committer-time (\d+)$", told, re.MULTILINE)
    return {line: datetime.fromtimestamp(int(at), UTC) for line, at in enumerate(seconds, 1)}


def title(text: str) -> str:
    """The first sentence of a change, without its marks.

    >>> title("`make pdf` prints *the book*. It takes long.")
    'make pdf prints the book'
    """
    return re.sub(r"[`*]", "", SENTENCE.split(text)[0]).replace("\n", " ").rstrip(".:")


def feed(file: Path, address: str) -> bytes:
    """The feed of the site at this address."""
    written, otherwise = dates(file), datetime.fromtimestamp(int(file.stat().st_mtime), UTC)
    when = {change: written.get(change.line, otherwise) for change in changes(file.read_text())}
    latest = sorted(when, key=when.get, reverse=True)[:LATEST]
    root = ElementTree.Element("feed", xmlns="http://www.w3.org/2005/Atom")

    def add(parent, tag, text=None, **attributes):
        element = ElementTree.SubElement(parent, tag, attributes)
        element.text = text
        return element

    add(root, "id", address)
    add(root, "title", "Flatlab: changes of the book")
    add(root, "updated", max(when.values(), default=otherwise).isoformat())
    add(root, "link", rel="self", type="application/atom+xml", href=address + FILE)
    add(root, "link", rel="alternate", type="text/html", href=f"{address}book/index.html")
    add(add(root, "author"), "name", "The Flatlab authors")
    for change in latest:
        entry = add(root, "entry")
        mark = hashlib.sha256(f"{change.version} {change.text}".encode()).hexdigest()[:16]
        add(entry, "id", f"tag:{urlsplit(address).netloc},2026:{mark}")
        add(entry, "title", title(change.text))
        add(entry, "updated", when[change].isoformat())
        add(entry, "link", rel="alternate", type="text/html", href=f"{address}book/index.html")
        add(entry, "category", term=f"{change.kind} in {change.version}".strip())
        add(entry, "content", MarkdownIt().render(change.text), type="html")
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def announce(app, pagename, templatename, context, doctree):
    """Name the feed in the head of a page, where readers of feeds look."""
    link = f'<link rel="alternate" type="application/atom+xml" title="Changes" href="{context["pathto"](FILE, 1)}">'
    context["metatags"] = context.get("metatags", "") + link


def write(app, error):
    """After a build of HTML that went well."""
    if error is None and app.builder.format == "html":
        made = feed(Path(app.srcdir) / "CHANGELOG.md", published(app.config))
        (Path(app.outdir) / FILE).write_bytes(made)


def setup(app):
    """Register with Sphinx."""
    app.connect("html-page-context", announce)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
