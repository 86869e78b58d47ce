"""Each explorable alone on a page, `embed/NAME.html`, for the frame of another site or of a slide.

Taken from the built page that shows it first, with the state it has there: also an explorable of records finds them so.
Its scripts are files in `embed/parts/`, which the chapters then load as well: a browser fetches each once for the book.
"""

import html
import re
from functools import partial
from pathlib import Path

from ledger_page import TEMPLATES

from flatlab.explorable.face import CSS

PART = re.compile(
    r'<script (?:type="module"|defer src="[^"]*") data-flatlab="(?P<name>[^"]+)">\n?(?P<text>.*?)\n?</script>', re.DOTALL
)
"""Within the page, or, after an earlier build, beside it."""
MOUNTED = re.compile(
    r'(?P<frame><div id="(?P<key>flatlab-\w+)" class="flatlab-waiting" data-explorable="(?P<name>\w+)">).*?'
    r'(?P<caption><p class="flatlab-placeholder">.*?</p></div>).*?'
    r'<script type="module">\n(?P<start>flatlabModules\[[^\n]*"id":"(?P=key)"[^\n]*)\n</script>',
    re.DOTALL,
)
USES = re.compile(r'flatlabModules\["([^"]+)"\]')
TITLE = re.compile(r"<title>(.*?) (?:&#8212;|—) ")
ANY_FIGURE = "figure"  # a plain plot, which has no name of its own


def needed(start: str, parts: dict[str, str]) -> list[str]:
    """The names of the parts that this script uses, and of those that they use, each after what it needs.

    >>> needed('flatlabModules["b"].mount()', {"a": "", "b": 'const { a } = flatlabModules["a"];', "c": ""})
    ['a', 'b']
    """
    names: list[str] = []

    def add(text):
        for name in USES.findall(text):
            if name not in names:
                add(parts[name])
                names.append(name)

    add(start)
    return names


def file_of(part: str) -> str:
    """`flatlab/explorable/pen.mjs#0123abcd` as the name of a file."""
    address, _, mark = part.partition("#")
    return f"{Path(address).stem}.{mark}.js"


def beside(up: str, part: re.Match) -> str:
    """The script of a page that loads this part."""
    return f'<script defer src="{up}embed/parts/{file_of(part["name"])}" data-flatlab="{part["name"]}"></script>'


def written(text: str, folder: Path) -> dict[str, str]:
    """The parts of a page by name, each a file in this folder now."""
    parts = {}
    for match in PART.finditer(text):
        file = folder / file_of(match["name"])
        if match["text"]:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(match["text"])
        parts[match["name"]] = file.read_text()
    return parts


def write_embeds(out: Path, pages: list[str]) -> list[str]:
    """Write the page of every explorable on these pages, and return their names. Parts that no page loads are removed."""
    folder, done, used = out / "embed", [], set()
    for page in pages:
        file = out / f"{page}.html"
        text = file.read_text()
        parts = written(text, folder / "parts")
        used |= set(map(file_of, parts))
        for match in MOUNTED.finditer(text):
            if match["name"] in (ANY_FIGURE, *done):
                continue
            done.append(match["name"])
            scripts = map(file_of, needed(match["start"], parts))
            values = match.groupdict() | {"css": CSS, "parts": scripts, "chapter": f"../{page}.html"}
            values["title"] = html.unescape(TITLE.search(text)[1])
            (folder / f"{match['name']}.html").write_text(TEMPLATES.get_template("embed.html").render(values))
        file.write_text(PART.sub(partial(beside, "../" * page.count("/")), text))
    for left in (folder / "parts").glob("*.js"):  # of a build before
        if left.name not in used:
            left.unlink()
    return done


def in_order(app) -> list[str]:
    """The pages as the table of contents has them, the home page last: a chapter tells more about its explorable."""
    root = app.config.root_doc
    found, waiting = [], [root]
    while waiting:
        page = waiting.pop(0)
        if page not in found:
            found.append(page)
            waiting = [*app.env.toctree_includes.get(page, []), *waiting]
    return [*found[1:], root]


def finish(app, error):
    """After a build of HTML that went well."""
    if error is None and app.builder.format == "html":
        write_embeds(Path(app.outdir), in_order(app))


def setup(app):
    """Register with Sphinx."""
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
