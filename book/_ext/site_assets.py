"""What the pages load, all of it from the site itself, and no more than they use."""

import os
import re
import shutil
from importlib import resources
from pathlib import Path

from fontTools import subset

ICON = re.compile(
    r'(?:"(?P<quoted>[\w-]+)"|(?P<plain>[A-Za-z_$][\w$]*)):'
    r'\[\d+,\d+,\[(?P<aliases>[^\]]*)\],"[0-9a-f]+",(?:"[^"]*"|\[[^\]]*\])\],?'
)

ICON_RULE = re.compile(r'(?P<selector>(?:\.fa-[\w-]+(?::+before)?,?)+)\{(?:--fa|content):"[^"]*"[^}]*\}')


def copy_plotly(out: Path) -> None:
    """plotly.js from the installed package. Copied after the build: the theme would load it on every page at once."""
    source = resources.files("plotly").joinpath("package_data/plotly.min.js")
    with resources.as_file(source) as path:
        shutil.copyfile(path, out / "_static" / "plotly.min.js")


def used_icons(out: Path) -> set[str]:
    """Names of the icons that a page or a script of the theme asks for."""
    scripts = [*(out / "_static").glob("*.js"), *(out / "_static" / "scripts").glob("*.js")]
    files = [*out.rglob("*.html"), *(f for f in scripts if f.name != "fontawesome.js")]
    return {name for f in files for name in re.findall(r"fa-([\w-]+)", f.read_text(errors="ignore"))}


def keep_used_icons(out: Path) -> None:
    """Drop the rest from the icon script, 1.5 MB on every page, and from the style sheet."""
    used = used_icons(out)

    def kept_drawing(match):
        names = {match["quoted"] or match["plain"], *re.findall(r'"([\w-]+)"', match["aliases"])}
        return match[0] if names & used else ""

    def kept_rule(match):
        return match[0] if set(re.findall(r"fa-([\w-]+)", match["selector"])) & used else ""

    script = out / "_static" / "scripts" / "fontawesome.js"
    script.write_text(ICON.sub(kept_drawing, script.read_text()))
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


def load_images_late(out: Path) -> None:
    """Let a page be read before the pictures further down have come."""
    for page in out.rglob("*.html"):
        page.write_text(re.sub(r'<img (?=[^>]*src="[^"]*_images/)', '<img loading="lazy" ', page.read_text()))


def drop_unused_scripts(app, pagename, templatename, context, doctree):
    """Leave out what would ask other hosts: Thebe, which is off, and the state of live widgets, which are static here."""

    def wanted(file):
        text = str(getattr(file, "filename", file)) + str(getattr(file, "attributes", ""))
        return "thebe" not in text.lower() and "widget-state" not in text

    for kind in ("script_files", "css_files"):
        context[kind] = [file for file in context[kind] if wanted(file)]


def finish(app, error):
    """After a build of HTML that went well."""
    if error is None and app.builder.format == "html":
        copy_plotly(Path(app.outdir))
        keep_used_icons(Path(app.outdir))
        keep_used_glyphs(Path(app.outdir))
        load_images_late(Path(app.outdir))


def setup(app):
    """Register with Sphinx."""
    os.environ["FLATLAB_BOOK"] = "1"  # the chapters' kernels inherit it: flatlab.plots then draws for the static page
    app.connect("html-page-context", drop_unused_scripts, priority=900)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
