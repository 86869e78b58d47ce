"""Every chapter as a notebook that Colab opens, generated from the chapter's own source."""

import ast
import json
import os
import re
from pathlib import Path
from urllib.parse import quote

FOLDER = "notebooks"  # of the published site
PAGES_BRANCH = "gh-pages"

SETUP = """\
# Sets the notebook up. In a checkout of the book there is nothing to do; elsewhere, as on Colab, the book is fetched.
# RUNS: a folder that outlives this machine, as /content/drive/MyDrive/flatlab. Runs are kept there, and go on from there.
RUNS = ""  # @param {{type: "string"}}

import importlib.util, os, sys, tempfile
from pathlib import Path

on_colab, page = "google.colab" in sys.modules, "{folder}/{page}"
beside = Path("/content/flatlab" if on_colab else "flatlab").absolute()
book = next((place for place in (Path.cwd(), *Path.cwd().parents, beside) if (place / page).exists()), None)
if book is None:
    book = beside
    print(f"fetching the book (library, toys, frozen results) into {{book}}")
    !git clone --quiet --depth 1 "{url}" "{{book}}"
    if not (book / page).exists():
        raise SystemExit(f"{url} could not be fetched into {{book}}: see the message of git above")
if not all(importlib.util.find_spec(package) for package in ("flatlab", "toy_problems")):
    there = Path(tempfile.mkdtemp(), "there.txt")  # what is installed keeps its version
    !"{{sys.executable}}" -m pip list --format=freeze --exclude flatlab > "{{there}}"
    %pip install --quiet --constraint "{{there}}" "{{book}}{extra}"
    importlib.invalidate_caches()
    if importlib.util.find_spec("flatlab") is None:
        raise SystemExit("the library could not be installed: see the message of pip above")
os.chdir(book / "{folder}")
if RUNS:
    if on_colab and RUNS.startswith("/content/drive"):
        from google.colab import drive
        drive.mount("/content/drive")
    os.environ["FLATLAB_RUNS"] = RUNS
import torch
print("running on", torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU")"""

DIRECTIVE = re.compile(
    r"^(?P<fence>:{3,}|`{3,})\{(?P<name>[\w-]+)\} ?(?P<title>.*)\n(?P<body>(?:.*\n)*?)(?P=fence)$", re.MULTILINE
)
OPTION = re.compile(r"^:[\w-]+:.*\n?", re.M)
TITLES = {"admonition": "", "note": "Note", "warning": "Warning", "tip": "Tip", "dropdown": "", "exercise": "Exercise"}


def repository(config) -> str:
    """The repository's address: a fork's own where its workflow runs, else that of `_config.yml`."""
    fork = os.environ.get("GITHUB_REPOSITORY")
    return f"https://github.com/{fork}" if fork else config.html_theme_options["repository_url"].rstrip("/")


def published(config) -> str:
    """The address of the site that this build becomes, a fork's own likewise."""
    owner, name = repository(config).split("/")[-2:]
    return f"https://{owner}.github.io/{name}/"


def plain_markdown(text: str, claims: str, glued: dict[str, str] | None = None) -> str:
    """MyST as any notebook front end shows it: directives, roles, labels and targets turned to plain Markdown.

    `glued` holds what the build found for the names of `{glue:text}`.
    """

    def directive(match):
        name, title = match["name"], match["title"].strip()
        body = OPTION.sub("", match["body"]).strip("\n")
        if name == "tally":
            return ""
        if name in ("grid", "card-footer", "table"):
            return body
        if name == "grid-item-card":
            return f"### {title}\n\n{body}"
        if name == "claims":
            return f"*What became of the paper's claims stands on the published page: [{claims}]({claims}).*"
        if name in ("bibliography", "footbibliography"):
            return f"*See [the published page]({claims}).*"
        if name == "include":
            return f"*The rest is `{Path(title).name}` in the repository, and on [the published page]({claims}).*"
        if name == "guess":
            end = body.rindex("\n- ") if "\n- " in body else 0
            last = body.index("\n\n", end)  # the end of the last answer, or of the question where a curve is to be drawn
            question, told = body[:last], body[last:].strip("\n")
            return f"**Guess first.** {question}\n\n<details><summary>What is so</summary>\n\n{told}\n\n</details>"
        if name == "math":
            return f"$$\n{body}\n$$"
        if name == "dropdown":
            return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"
        heading = title or TITLES.get(name, name.capitalize())
        return "\n".join(["> " + line for line in [f"**{heading}**", "", *body.split("\n")]])

    while DIRECTIVE.search(text):
        text = DIRECTIVE.sub(directive, text)
    numbers = {}

    def numbered(match):
        label = match["label"]
        numbers[label] = match["label"]
        return f"$$\n{match['body'].strip()} \\tag{{{label}}}\n$$"

    text = re.sub(r"^\$\$\n(?P<body>(?:(?!\$\$).*\n)+?)\$\$ \((?P<label>[\w-]+)\)$", numbered, text, flags=re.M)
    text = re.sub(r"\{glue:text\}`([\w-]+)`", lambda m: glued[m[1]], text)
    text = re.sub(r"Reading time \{sub-ref\}`[\w-]+` minutes; (\w)", lambda m: m[1].upper(), text)
    text = re.sub(r"\{(?:live|claim)\}`([^`<]+?)\s*<[^`]*>`", r"\1", text)
    text = re.sub(r"\{eq\}`([\w-]+)`", r"(\1)", text)
    text = re.sub(r"\{footcite:[pt]\}`([\w-]+)`", lambda m: f"[{m[1]}]", text)
    text = re.sub(r"\{(?:ref|numref|doc)\}`([^`<]+?)(?: ?<[^`>]*>)?`", r"\1", text)
    text = re.sub(r"^\([\w-]+\)=\n", "", text, flags=re.M)
    return text


def glued(app, page: str) -> dict[str, str]:
    """The texts that the cells of a page gave to its prose, by name, as MyST-NB kept them when it ran the page."""
    kept = Path(app.env.mystnb_config.output_folder) / f"{page}.glue.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    return {name: ast.literal_eval(output["data"]["text/plain"]) for name, output in found.items()}


def notebook(source: Path, folder: str, url: str, page: str, values: dict[str, str] | None = None) -> dict:
    """The notebook of one chapter: set-up cell first, no outputs, tags of the static page dropped, glued values written.

    `extra` in the chapter's front matter names the extra of the package that it needs.
    """
    import jupytext  # takes seconds, and others need of this module only where a page lies

    book = jupytext.read(source, fmt="md:myst")
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = plain_markdown(cell.source + "\n", page, values).rstrip("\n")
        cell.metadata = {}
    extra = f"[{book.metadata['extra']}]" if "extra" in book.metadata else ""
    setup = SETUP.format(url=url, folder=folder, page=source.name, extra=extra)
    first = {"cell_type": "code", "metadata": {}, "source": setup, "outputs": []}
    cells = [first | {"execution_count": None, "id": "set-up"}]
    cells += [{**cell, "id": f"cell-{k}"} for k, cell in enumerate(book.cells)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "accelerator": "GPU", "colab": {"provenance": []}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def chapters(app):
    """`(page name, source file)` of every page that has code cells."""
    for name in sorted(app.env.found_docs):
        source = Path(app.env.doc2path(name))
        if source.suffix == ".md" and "{code-cell}" in source.read_text():
            yield name, source


def write_notebooks(app, error):
    """Write them into the site, where the publishing workflow puts them on the branch that Colab reads."""
    if error is not None or app.builder.format != "html":
        return
    url = repository(app.config)
    for page, source in chapters(app):
        target = Path(app.outdir) / FOLDER / f"{page}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(page).parent.as_posix()
        site = f"{published(app.config)}{page}.html"
        target.write_text(json.dumps(notebook(source, folder, url, site, glued(app, page)), indent=1) + "\n")


def add_buttons(app, pagename, templatename, context, doctree):
    """Colab and download buttons in the header of every chapter."""
    if pagename not in {page for page, _ in chapters(app)}:
        return
    owner_name = repository(app.config).removeprefix("https://github.com/")
    path = f"{FOLDER}/{pagename}.ipynb"
    colab = f"https://colab.research.google.com/github/{owner_name}/blob/{PAGES_BRANCH}/{quote(path)}"
    local = context["pathto"](path, resource=True)
    buttons = [
        {"type": "link", "url": colab, "tooltip": "Open this chapter in Colab", "text": "Colab", "icon": "fas fa-rocket"},
        {
            "type": "link",
            "url": local,
            "tooltip": "Download this chapter as a notebook",
            "text": ".ipynb",
            "icon": "fas fa-download",
        },
    ]
    context["header_buttons"] = buttons + context.get("header_buttons", [])


def use_fork(app, config):
    """Point the theme's repository buttons at the fork that builds."""
    config.html_theme_options["repository_url"] = repository(config)


def setup(app):
    """Register with Sphinx, after the theme has made its own buttons."""
    app.connect("config-inited", use_fork)
    app.connect("html-page-context", add_buttons, priority=900)
    app.connect("build-finished", write_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
