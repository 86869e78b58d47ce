"""The Python face of an explorable: an anywidget where there is a kernel, a piece of HTML where there is none."""

from __future__ import annotations

import functools
import gzip
import html
import json
import math
import uuid
from importlib import resources

import anywidget
import traitlets

from flatlab.widgets.bundle import STATIC, bundle

__all__ = ["Explorable", "Number", "page"]

CSS = (STATIC / "explorable.css").read_text()


@functools.cache
def plotly_js() -> bytes:
    """plotly.js as the installed `plotly` package carries it, gzipped."""
    source = resources.files("plotly").joinpath("package_data/plotly.min.js").read_bytes()
    return gzip.compress(source, mtime=0)


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


def page(module: str, state: dict, *, name: str, caption: str, linkable: bool) -> str:
    """HTML that shows the explorable `module` with this state on a page without a kernel; its script is inside.

    `caption` stands in its place until it is drawn, and for readers without JavaScript. `linkable` adds buttons to copy a
    link to the present state and to reset it.
    """
    key = f"flatlab-{uuid.uuid4().hex[:8]}"
    options = {"id": key, "name": name, "state": state, "linkable": linkable}
    script = f"{bundle('site', module, exports=False)}\nmount({{ render }}, {json.dumps(options)});"
    if "</script" in script.lower():
        raise ValueError(f"{module}: a script on a page cannot hold the text </script")
    return (
        f'<div id="{key}" class="flatlab-waiting" data-explorable="{name}">'
        f'<style>{CSS}</style><p class="flatlab-placeholder">{html.escape(caption)}</p></div>'
        f'<script type="module">\n{script}\n</script>'
    )


class Explorable(anywidget.AnyWidget):
    """A figure that answers: drag, slide, choose. `module` names its ES module in `static`, `caption` says what it shows.

    Its synchronized traits are its state, in both directions. In JupyterLab, Colab and VS Code it is a live widget; on a
    static page the same module runs on the `text/html` that comes along.
    """

    module: str
    caption: str

    _css = CSS
    _plotly = traitlets.Bytes().tag(sync=True)

    def __init_subclass__(cls, **kwargs):
        if "module" in cls.__dict__:  # not in the classes that traitlets derives to add a trait
            cls._esm = bundle(cls.module)
        super().__init_subclass__(**kwargs)

    def __init__(self, **state):
        unknown = [k for k in state if k not in self.public_state()]
        if unknown:
            allowed = ", ".join(self.public_state())
            raise traitlets.TraitError(f"{type(self).__name__} has no {unknown[0]!r}; it has {allowed}")
        super().__init__(_plotly=plotly_js(), **state)

    @classmethod
    def public_state(cls) -> list[str]:
        """Names of the traits that make up the state: those this class and its parents below `Explorable` define."""
        inherited = set(Explorable.class_trait_names())
        return [name for name in cls.class_trait_names(sync=True) if name not in inherited and name[0] != "_"]

    def _repr_mimebundle_(self, **kwargs):
        bundle_ = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle_ if isinstance(bundle_, tuple) else (bundle_, {})
        state = {name: getattr(self, name) for name in self.public_state()}
        name = type(self).__name__
        return {**data, "text/html": page(self.module, state, name=name, caption=self.caption, linkable=True)}, metadata
