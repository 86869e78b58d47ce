"""What the pages load, all of it from the site itself, and no more than they use."""

import io
import os
import re
import shutil
from pathlib import Path

from fontTools import subset
from PIL import Image, ImageChops

from flatlab.explorable.face import CODES, KINDS, build

ICON_RULE = re.compile(r'(?P<selector>(?:\.fa-[\w-]+(?::+before)?,?)+)\{(?:--fa|content):"[^"]*"[^}]*\}')


MATHJAX = ("startup.js", "core.js", "input/tex.js", "output/chtml.js", "a11y/assistive-mml.js", "ui/lazy.js")
"""What `_config.yml` has MathJax load; besides these its fonts. No formula here asks for an extension."""

SEARCH = re.compile(r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js"></script>')
"""For results while one types, which the book has not; its page of results has these scripts by itself."""
ICON_SCRIPT = re.compile(r'\s*<script defer src="[^"]*fontawesome\.js[^"]*"></script>')
"""It would draw anew each icon that the style sheet draws with a font of 2 kB."""
HEAD_SCRIPT = re.compile(r'<script (?=(?:data-[\w-]+="[^"]*" )?src="(?![^"]*documentation_options)[^"]*"></script>)')
"""A script that can wait until the page is read; a line of script in the page needs the options at once."""


MEASURING = (
    'window.addEventListener("resize",t),'
    'new MutationObserver(t).observe(document.getElementById("main-content"),{subtree:!0,childList:!0}),e()'
)
"""Where the theme's script reads the size of every block after any change of the page: a layout each time."""
MEASURED = "/* scrollable.js has the browser tell it */"

SHARED = re.compile(r'<(script|style)[^>]* data-flatlab="(?P<name>[^"]+)">.*?</\1>\n?', re.DOTALL)
"""What the explorables of a page have in common."""


def copy_libraries(out: Path) -> None:
    """What explorables fetch when they come near. Copied after the build: the theme would load it on every page at once."""
    for file in (*map(build, KINDS), CODES):
        shutil.copy(file, out / "_static")
        shutil.copy(file.with_name("LICENSE"), out / "_static" / f"{file.parent.name}-LICENSE.txt")


def keep_used_files(out: Path) -> None:
    """Drop what no page asks for: other builds of MathJax, other languages, what only a debugger reads."""
    static = out / "_static"
    mathjax = static / "mathjax"
    wanted = {mathjax / name for name in MATHJAX}
    wanted |= set((mathjax / "output" / "chtml" / "fonts").rglob("*"))
    for file in [f for f in mathjax.rglob("*") if f.is_file() and f not in wanted]:
        file.unlink()
    for file in {*static.rglob("*.map"), *(static / "scripts").glob("fontawesome.*"), *static.glob("sphinx-thebe.*")}:
        file.unlink()
    shutil.rmtree(static / "locales", ignore_errors=True)


def keep_used_icons(out: Path) -> None:
    """Drop the rules of the other icons from the style sheet."""
    scripts = [*(out / "_static").glob("*.js"), *(out / "_static" / "scripts").glob("*.js")]
    used = {
        name for f in [*out.rglob("*.html"), *scripts] for name in re.findall(r"fa-([\w-]+)", f.read_text(errors="ignore"))
    }

    def kept_rule(match):
        return match[0] if set(re.findall(r"fa-([\w-]+)", match["selector"])) & used else ""

    sheet = out / "_static" / "styles" / "pydata-sphinx-theme.css"
    sheet.write_text(ICON_RULE.sub(kept_rule, sheet.read_text()))


def keep_used_glyphs(out: Path) -> None:
    """Likewise for the icon fonts: keep the private-use characters that a style sheet names."""
    sheets = [f.read_text(errors="ignore") for f in (out / "_static").rglob("*.css")]
    used = {int(code, 16) for sheet in sheets for code in re.findall(r"\\(f[0-9a-f]{3})\b", sheet)}
    for font in (out / "_static" / "vendor" / "fontawesome" / "webfonts").iterdir():
        if font.suffix != ".woff2":
            font.unlink()
            continue
        subsetter = subset.Subsetter(subset.Options(flavor="woff2", layout_features=[]))
        loaded = subset.load_font(font, subset.Options())
        subsetter.populate(unicodes=used)
        subsetter.subset(loaded)
        subset.save_font(loaded, font, subset.Options(flavor="woff2"))


def pack_pictures(out: Path) -> None:
    """The same pixels in fewer bytes: Matplotlib's have an opacity that is 1 throughout, and often few colours."""
    for file in (out / "_images").glob("*.png"):
        with Image.open(file) as picture:
            opaque = picture.mode == "RGBA" and picture.getextrema()[3][0] == 255
            packed = picture.convert("RGB") if opaque else picture.copy()
        if packed.mode == "RGB" and (colours := packed.getcolors(256)):
            few = packed.quantize(len(colours))
            packed = packed if ImageChops.difference(few.convert("RGB"), packed).getbbox() else few
        written = io.BytesIO()
        packed.save(written, "png", optimize=True)
        if len(written.getvalue()) < file.stat().st_size:
            file.write_bytes(written.getvalue())


def load_late(out: Path) -> None:
    """Let a page be read before its scripts, and the pictures further down, have come; leave out scripts without use."""
    for page in out.rglob("*.html"):
        text = ICON_SCRIPT.sub("", page.read_text())
        if page.name != "search.html":
            text = SEARCH.sub("", text)
        head, end, body = share(text).partition("</head>")
        body = re.sub(r'<img (?=[^>]*src="[^"]*_images/)', '<img loading="lazy" ', body)
        page.write_text(HEAD_SCRIPT.sub("<script defer ", head) + end + body)


def measure_once(out: Path) -> None:
    """Leave the sizes of blocks to `scrollable.js`. Raises `ValueError` if the theme's script is another."""
    script = out / "_static" / "scripts" / "pydata-sphinx-theme.js"
    text = script.read_text()
    if MEASURING not in text and MEASURED not in text:
        raise ValueError(f"{script.name} no longer measures blocks as site_assets.MEASURING says")
    script.write_text(text.replace(MEASURING, MEASURED))


def share(text: str) -> str:
    """A page with the first of each part that its explorables have in common."""
    seen = set()

    def kept(match):
        first = match["name"] not in seen
        seen.add(match["name"])
        return match[0] if first else ""

    return SHARED.sub(kept, text)


def drop_unused_scripts(app, pagename, templatename, context, doctree):
    """Leave out what would ask other hosts: Thebe, which is off, and the state of live widgets, which are static here."""

    def wanted(file):
        text = str(getattr(file, "filename", file)) + str(getattr(file, "attributes", ""))
        return "thebe" not in text.lower() and "widget-state" not in text

    for kind in ("script_files", "css_files"):
        context[kind] = [file for file in context[kind] if wanted(file)]


def choose_mathjax(app, config):
    """Not MathJax itself, but what starts it where a formula comes near."""
    config.mathjax_path = "formulas.js"


def finish(app, error):
    """After a build of HTML that went well."""
    if error is None and app.builder.format == "html":
        lighten(Path(app.outdir))


def lighten(out: Path) -> None:
    """The built site, as readers get it."""
    copy_libraries(out)
    keep_used_files(out)
    keep_used_icons(out)
    keep_used_glyphs(out)
    measure_once(out)
    pack_pictures(out)
    load_late(out)


def setup(app):
    """Register with Sphinx."""
    os.environ["FLATLAB_BOOK"] = "1"  # the chapters' kernels inherit it: flatlab.plots then draws for the static page
    app.connect("config-inited", choose_mathjax, priority=900)
    app.connect("html-page-context", drop_unused_scripts, priority=900)
    app.connect("build-finished", finish, priority=900)  # after MathJax has been copied
    return {"parallel_read_safe": True, "parallel_write_safe": True}
