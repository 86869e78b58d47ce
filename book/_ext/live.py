"""The role `live`, by which a sentence holds an explorable of its page, and the directive `guess`, which asks first.

    {live}`0.2 <SamSaddle.rho>`                       a number of the explorable's state: drag it, or use the arrow keys
    {live}`a small rate <SamSaddle: lr=0.004>`        a phrase that puts the explorable into a state
    {live}`4.1% <SamSaddle says saddle>`              what the explorable shows in its element `data-says="saddle"`

A value may hold commas, `<RunCurves: setting=constant, weight decay 0, part=half>`: the next one begins with its name.

Without scripts, on paper and in a notebook the sentence reads as it is written.
"""

import re
import sys
from html import escape
from pathlib import Path
from pkgutil import resolve_name

import traitlets
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective, SphinxRole

sys.path.append(str(Path(__file__).parents[2]))  # the book's own packages
import toy_problems
from flatlab import widgets
from flatlab.explorable.bundle import bundle

HANDLE = re.compile(r"(?P<text>.+?)\s*<(?P<name>\w+)(?:\.(?P<number>\w+)|: (?P<state>.+)| says (?P<says>[\w-]+))>", re.S)
NEXT = re.compile(r",\s*(?=\w+=)")
SCRIPT = "flatlab/explorable/live.mjs"


def numeric(trait: traitlets.TraitType | None) -> bool:
    """Whether the trait holds a number: of a range, or one of a few."""
    few = isinstance(trait, traitlets.Enum) and all(isinstance(v, int | float) for v in trait.values)
    return few or isinstance(trait, traitlets.Int | traitlets.Float)


def parsed(cls: type, text: str) -> dict:
    """`lr=0.25, method=GD` as a state of this explorable. Raises `traitlets.TraitError` for what it cannot be."""
    state = {}
    for part in NEXT.split(text):
        name, _, value = (word.strip() for word in part.partition("="))
        trait = cls.class_traits().get(name)
        state[name] = float(value) if numeric(trait) else value
        if isinstance(trait, traitlets.Int):
            state[name] = int(value)
    cls(**state)
    return state


def explorable(name: str) -> type:
    """The explorable of this name. Raises `LookupError` where there is none."""
    cls = getattr(toy_problems, name, None) or getattr(widgets, name, None)
    if cls is None:
        raise LookupError(f"there is no explorable {name}")
    return cls


def handle(text: str) -> tuple[str, dict[str, str]]:
    """Words and attributes of what the role holds. Raises `ValueError`, `LookupError` or `TraitError` where it is wrong."""
    match = HANDLE.fullmatch(text)
    if not match:
        raise ValueError("write {live}`text <Name.number>`, `text <Name: number=value>` or `text <Name says what>`")
    cls = explorable(match["name"])
    told = {"data-live": match["name"]}
    if match["number"]:
        if match["number"] not in cls.class_trait_names(sync=True):
            raise LookupError(f"{match['name']} has no {match['number']}")
        told["data-number"] = match["number"]
    elif match["state"]:
        told["data-state"] = "; ".join(f"{name}={value}" for name, value in parsed(cls, match["state"]).items())
    else:
        told["data-says"] = match["says"]
    return match["text"], told


def attributes(told: dict[str, str]) -> str:
    """As they stand in HTML."""
    return " ".join(f'{name}="{nodes.unescape(value)}"' for name, value in told.items())


class Live(SphinxRole):
    """A number or a phrase that is the handle of an explorable."""

    def run(self):
        """A span, and the words as they are written inside it."""
        try:
            words, told = handle(self.text)
        except (ValueError, LookupError, traitlets.TraitError) as error:
            problem = self.inliner.reporter.error(f"live: {error}", line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, problem)], [problem]
        inside, messages = self.inliner.parse(words, self.lineno, self.inliner, self.inliner.parent)
        opened = nodes.raw("", f'<span class="flatlab-live" {attributes(told)}>', format="html")
        return [opened, *inside, nodes.raw("", "</span>", format="html")], messages


class Guess(SphinxDirective):
    """A question that the reader answers first; the rest is said after the answer.

    Either one to pick, from a list of answers with `:right:` the number of the true one, or a curve to draw, with
    `:draw: PACKAGE:FUNCTION` the address of what returns its `Sketch`. The argument is the state in which an explorable of
    the page then shows it, as in the role `live`.
    """

    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True
    option_spec = {"right": directives.positive_int, "draw": directives.unchanged_required}

    def run(self):
        """Question, answers or field, and what is so."""
        held = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, held)
        try:
            shown = attributes(handle(f"x <{self.arguments[0]}>")[1]) if self.arguments else ""
        except (ValueError, LookupError, traitlets.TraitError) as error:
            raise self.error(f"guess: {error}") from None
        question, field, answer, told = self.drawn(held) if "draw" in self.options else self.picked(held)
        body = [raw(f'<fieldset class="flatlab-guess" {shown}><legend>Guess first</legend>'), *question, *field]
        return [*body, raw(f"<details{answer}><summary>What is so</summary>"), *told, raw("</details></fieldset>")]

    def picked(self, held):
        """Question, answers, which of them is right, and what is so."""
        lists = [k for k, child in enumerate(held.children) if isinstance(child, nodes.bullet_list)]
        if len(lists) != 1 or lists[0] == 0 or lists[0] == len(held.children) - 1:
            raise self.error("guess: a question, one list of answers, and what is so, in this order")
        question, answers, told = held.children[: lists[0]], held.children[lists[0]], held.children[lists[0] + 1 :]
        right = self.options.get("right", 0)
        if not 1 <= right <= len(answers.children):
            raise self.error(f"guess: right is the number of an answer, 1 to {len(answers.children)}, not {right}")
        name, lines = f"guess-{self.env.new_serialno('guess')}", []
        for k, item in enumerate(answers.children, 1):
            line = nodes.paragraph("", "", raw(f'<label><input type="radio" name="{name}" value="{k}"> '))
            for paragraph in item.children:
                line.extend(paragraph.children)
            line.append(raw("</label>"))
            lines.append(line)
        return question, lines, f' data-right="{right}"', told

    def drawn(self, held):
        """Question, the field to draw in, and what is so: the truth at the reader's points, and the words after the first
        paragraph."""
        if len(held.children) < 2:
            raise self.error("guess: a question in one paragraph, and what is so in the next")
        try:
            curve = resolve_name(self.options["draw"])()
        except (ImportError, AttributeError, ValueError) as error:
            raise self.error(f"guess: {error}") from None
        field = [raw(f'<div class="flatlab-sketch" data-sketch="{escape(curve.data())}"></div>')]
        return held.children[:1], field, "", [raw(curve.table()), *held.children[1:]]


def raw(text: str) -> nodes.raw:
    """HTML as it is."""
    return nodes.raw("", text, format="html")


def load(app, pagename, templatename, context, doctree):
    """The script, inside the pages that use it: a page that is opened from disk loads no module."""
    if doctree and any("data-live=" in n.astext() or "flatlab-guess" in n.astext() for n in doctree.findall(nodes.raw)):
        app.add_js_file(None, body=bundle(SCRIPT, exports=False), type="module")


def setup(app):
    """Register with Sphinx."""
    app.add_role("live", Live())
    app.add_directive("guess", Guess)
    app.connect("html-page-context", load)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
