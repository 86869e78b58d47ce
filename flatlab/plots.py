"""The house style of every figure, and the line under it that says where its numbers come from."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterable, Sequence

import matplotlib as mpl
import plotly.graph_objects as go
import plotly.io as pio
from IPython.display import HTML, display
from plotly.io.base_renderers import MimetypeRenderer

from flatlab.palette import PALETTE
from flatlab.runs import records

__all__ = ["METHODS", "glue", "provenance", "table", "use_house_style"]

METHODS: dict[str, str] = PALETTE["methods"]
"""A method's colour, the same in every figure of the book, told apart in light, in dark and without green."""

TAG = re.compile(r"<[^>]*>")
SENTENCE = 26
BELOW_ZERO = re.compile(r"(?<![\w.-])-(?=[\d.]*\d)(?![^<>]*>)")
"""The hyphen before a number that stands by itself, outside of tags."""
"""Characters from which on a cell of a table wraps."""

STYLE = {
    "figure.figsize": (7.2, 3.6),
    "figure.dpi": 110,
    "savefig.bbox": "tight",
    "font.size": 11,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "lines.linewidth": 2,
    "legend.frameon": False,
}


class StaticPage(MimetypeRenderer):
    """A Plotly figure as HTML that draws itself with the page's own plotly.js, in the page's colours."""

    def to_mimebundle(self, fig_dict):
        """The figure as `text/html`; raises `ValueError` if no build of plotly.js has all its kinds of traces."""
        from flatlab.explorable import page  # needs anywidget; a plain figure elsewhere does not
        from flatlab.explorable.face import KINDS

        figure = json.loads(pio.json.to_json_plotly(fig_dict))
        kinds = {trace.get("type", "scatter") for trace in figure["data"]}
        if not any(kinds <= set(drawn) for drawn in KINDS.values()):
            asked, builds = ", ".join(sorted(kinds)), "; ".join(f"{name}: {', '.join(of)}" for name, of in KINDS.items())
            raise ValueError(f"a figure of {asked} fits no build of plotly.js ({builds}); upkeep/plotly.py makes them")
        figure["layout"].pop("template", None)  # the page's own style stands in its place
        title = figure["layout"].get("meta", {}).get("caption", "A figure.")
        module = "flatlab/explorable/figure.mjs"
        return {"text/html": page(module, {"figure": figure}, name="figure", caption=title, linkable=False)}


def use_house_style() -> None:
    """Set matplotlib and Plotly to the house style; while the book is built, Plotly draws for a static page."""
    mpl.rcParams.update(STYLE)
    axis = {"zeroline": False, "showline": True, "linecolor": "rgba(128,128,128,0.5)"}
    axis |= {"gridcolor": "rgba(128,128,128,0.25)"}
    layout = {"colorway": list(dict.fromkeys(METHODS.values())), "xaxis": axis, "yaxis": axis}
    layout |= {"margin": {"l": 60, "r": 16, "t": 40, "b": 48}, "hovermode": "closest"}
    pio.templates["flatlab"] = go.layout.Template(layout=layout)
    pio.templates.default = "plotly_white+flatlab"
    if os.environ.get("FLATLAB_BOOK"):
        pio.renderers["flatlab"] = StaticPage()
        pio.renderers.default = "flatlab"


def provenance(*runs: dict) -> None:
    """Show, under a figure, where its numbers come from: the first record, and the others on a click."""
    lines = [html.escape(records.describe(run)) for run in runs]
    first, rest = lines[0], lines[1:]
    count = f"{len(rest)} more record{'s' * (len(rest) > 1)}"
    more = f"<details><summary>and {count}</summary>{'<br>'.join(rest)}</details>" if rest else ""
    display(HTML(f'<div class="provenance">{first}{more}</div>'))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, summary: str | None = None) -> HTML:
    """A table whose cells are HTML; it scrolls where the page is narrower. With a `summary` it opens on a click.

    Heads and long cells wrap, numbers do not. A number below zero gets a minus sign in place of its hyphen.

    >>> "<td>1</td><td>−2e-05</td>" in table(["a", "b"], [["1", "-2e-05"]]).data
    True
    """
    line = lambda cells: "<tr>" + "".join(cells) + "</tr>"  # noqa: E731
    wraps = 'style="white-space: normal; vertical-align: bottom"'
    top = line(f"<th {wraps}>{cell}</th>" if cell else "<td></td>" for cell in head)  # an empty cell heads nothing
    told = ([BELOW_ZERO.sub("−", cell) for cell in cells] for cells in rows)
    body = "".join(line(f"<td{_width(cell)}>{cell}</td>" for cell in cells) for cells in told)
    drawn = f'<table class="table"><thead>{top}</thead><tbody>{body}</tbody></table>'
    if summary:
        drawn = f"<details><summary>{html.escape(summary)}</summary>{drawn}</details>"
    return HTML(f'<div class="flatlab-scrolls" style="overflow-x: auto; white-space: nowrap">{drawn}</div>')


def _width(cell: str) -> str:
    """The style of a cell whose longest line is a sentence."""
    longest = max(len(TAG.sub("", part)) for part in cell.split("<br>"))
    return ' style="white-space: normal; min-width: 10rem"' if longest > SENTENCE else ""


def glue(**values: str) -> None:
    """Texts that the page's prose names: `{glue:text}` puts them there. Nothing where no page is built.

    MyST-NB's own function of this name, without the need of MyST-NB in a notebook.
    """
    prefix = "application/papermill.record/"
    for name, text in values.items() if os.environ.get("FLATLAB_BOOK") else ():
        named = {"scrapbook": {"name": name, "mime_prefix": prefix}}
        display({prefix + "text/plain": repr(text)}, raw=True, metadata=named)
