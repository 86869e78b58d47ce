"""The Python face of an explorable: an anywidget where there is a kernel, a piece of HTML where there is none."""

from __future__ import annotations

import functools
import gzip
import html
import json
import math
import uuid
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from flatlab.explorable.bundle import bundle, located, scripts

__all__ = ["KINDS", "Explorable", "Number", "build", "page"]

CSS = located("flatlab/explorable/explorable.css").read_text()
SITE = "flatlab/explorable/site.mjs"
KINDS: dict[str, list[str]] = json.loads(located("flatlab/explorable/plotly/kinds.json").read_text())
"""The builds of plotly.js, and the traces that each draws. The whole of it is four times as heavy as that for axes."""

CODES = located("flatlab/explorable/site.mjs").with_name("uqr") / "uqr.min.js"
"""The library that draws an address as a code, for paper; `python -m upkeep.uqr` makes it."""


def build(name: str) -> Path:
    """The file of a build of plotly.js, which `python -m upkeep.plotly` makes."""
    return located("flatlab/explorable/plotly/kinds.json").with_name(f"plotly-{name}.min.js")


@functools.cache
def plotly_js() -> bytes:
    """What of plotly.js the explorables draw with, gzipped."""
    return gzip.compress(build("axes").read_bytes(), mtime=0)


class Number(traitlets.Float):
    """A number in a closed range. Setting it to anything else raises a `TraitError` that says what is allowed."""

    def __init__(self, default: float, low: float, high: float, **kwargs):
        super().__init__(default, **kwargs)
        self.low, self.high = low, high
        self.tag(sync=True)

    def validate(self, obj, value):
        """The value, if it is a finite number within the range."""
        value = super().validate(obj, value)
        if not (math.isfinite(value) and self.low <= value <= self.high):
            name = f"{type(obj).__name__}.{self.name}"
            raise traitlets.TraitError(f"{name} must lie between {self.low} and {self.high}, got {value}")
        return value


def page(module: str, state: dict, *, name: str, caption: str, linkable: bool, ranges: dict | None = None) -> str:
    """HTML that shows the explorable at the address `module` with this state on a page without a kernel.

    Its scripts are inside. Those marked with `data-flatlab` and a name are what explorables have in common: of each name a
    page needs the first alone. `caption` stands in its place until it is drawn, and for readers without JavaScript.
    `linkable` adds buttons to copy a link to the present state and to reset it. `ranges` are those of the state's numbers,
    as `Explorable.ranges` gives them.
    """
    key = f"flatlab-{uuid.uuid4().hex[:8]}"
    options = {"id": key, "name": name, "state": state, "ranges": ranges or {}, "linkable": linkable}
    parts = {**scripts(SITE), **scripts(module)}
    site, shown = (next(reversed(scripts(address))) for address in (SITE, module))
    start = (
        f'flatlabModules["{site}"].mount(flatlabModules["{shown}"].default, {json.dumps(options, separators=(",", ":"))});'
    )
    if "</script" in "".join([*parts.values(), start]).lower():
        raise ValueError(f"{module}: a script on a page cannot hold the text </script")
    shared = "".join(f'<script type="module" data-flatlab="{part}">\n{text}\n</script>\n' for part, text in parts.items())
    return (
        f'<div id="{key}" class="flatlab-waiting" data-explorable="{name}">'
        f'<style data-flatlab="style">{CSS}</style><p class="flatlab-placeholder">{html.escape(caption)}</p></div>'
        f'{shared}<script type="module">\n{start}\n</script>'
    )


class Explorable(anywidget.AnyWidget):
    """A figure that answers: drag, slide, choose. Its ES module is the file of its name beside it, `x.mjs` beside `x.py`.

    `caption`, which every explorable has, says what it shows.

    Its synchronized traits are its state, in both directions. In JupyterLab, Colab and VS Code it is a live widget; on a
    static page the same module runs on the `text/html` that comes along.
    """

    module: str
    caption: str

    _css = CSS
    _plotly = traitlets.Bytes().tag(sync=True)
    _ranges = traitlets.Dict().tag(sync=True)

    def __init_subclass__(cls, **kwargs):
        if "caption" in cls.__dict__:  # not in the classes that traitlets derives to add a trait
            cls.module = f"{cls.__module__.replace('.', '/')}.mjs"
            cls._esm = bundle(cls.module)
        super().__init_subclass__(**kwargs)

    def __init__(self, **state):
        unknown = [k for k in state if k not in self.public_state()]
        if unknown:
            allowed = ", ".join(self.public_state())
            raise traitlets.TraitError(f"{type(self).__name__} has no {unknown[0]!r}; it has {allowed}")
        super().__init__(_plotly=plotly_js(), **state)
        self._ranges = self.ranges()

    @classmethod
    def public_state(cls) -> list[str]:
        """Names of the traits that make up the state: those this class and its parents below `Explorable` define."""
        inherited = set(Explorable.class_trait_names())
        return [name for name in cls.class_trait_names(sync=True) if name not in inherited and name[0] != "_"]

    def ranges(self) -> dict[str, dict[str, Any]]:
        """What the controls may set: `min`, `max`, `initial` and `whole` of each number of the state that has both bounds.

        They are written here, in the traits, and nowhere else.
        """
        found = {}
        for name, trait in self.traits().items():
            whole = isinstance(trait, traitlets.Int)
            low, high = (trait.min, trait.max) if whole else (getattr(trait, "low", None), getattr(trait, "high", None))
            if name in self.public_state() and None not in (low, high):
                found[name] = {"min": low, "max": high, "initial": trait.default_value, "whole": whole}
        return found

    def _repr_mimebundle_(self, **kwargs):
        bundle_ = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle_ if isinstance(bundle_, tuple) else (bundle_, {})
        state = {name: getattr(self, name) for name in self.public_state()}
        name = type(self).__name__
        html_ = page(self.module, state, name=name, caption=self.caption, linkable=True, ranges=self.ranges())
        return {**data, "text/html": html_}, metadata
