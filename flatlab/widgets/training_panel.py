"""A panel that trains: settings, start, stop and resume, progress, and the curves as they grow. It needs a kernel."""

from __future__ import annotations

import html
import json
import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ipywidgets
from safetensors import SafetensorError, safe_open

from flatlab.explorable import page
from flatlab.runs import records
from flatlab.runs.experiment import perform, record_of, setting, unfinished
from flatlab.runs.host import Host, Stopped
from flatlab.runs.option import Option, options
from flatlab.training import Train
from flatlab.widgets.run_curves import RunCurves, compact

__all__ = ["TrainingPanel"]

FIRST = ("data", "network", "method", "rho", "lr", "epochs", "seed")
DRAW_EVERY = 1.0
"""Seconds between two drawings of a curve that grows."""


class TrainingPanel(ipywidgets.VBox):
    """Train a network from a notebook: choose, start, stop, resume, and watch the curves.

    - `frozen`: records to show beside the panel's own, and alone on a page without a kernel.
    - `out`: folder of the panel's records, `$FLATLAB_RUNS` or `runs` unless given. The state of a stopped run stays there,
      too, and a panel on the same folder offers to resume it, also in another kernel or after a disconnect.
    - `device`: as for `Host`. `experiment`: `Train`, or `Twins`.
    - `settings`: what the form begins with, any setting of the experiment.

    A run goes on in a thread and draws from torch's global generator: while it runs, other cells must not use that, or
    the weights are no longer those of the command line. Raises `ValueError` for an unknown setting or a value that is
    not allowed.
    """

    def __init__(
        self,
        frozen: Iterable[Mapping[str, Any]] = (),
        *,
        out: str | Path | None = None,
        device: str = "auto",
        experiment: type[Train] = Train,
        **settings: Any,
    ):
        self.out = Path(out or os.environ.get("FLATLAB_RUNS") or "runs")
        self.frozen, self.device, self.experiment = list(frozen), device, experiment
        self.host: Host | None = None
        self.thread: threading.Thread | None = None
        self.running = False
        self.first = setting(experiment, settings)  # kept: a network given in Python lives as long as a setting names it
        begin = asked(self.first)
        self.form = {name: _entry(known, begin[name]) for name, known in options(experiment).items()}
        self.start = ipywidgets.Button(description="Start", button_style="primary", icon="play")
        self.stop = ipywidgets.Button(description="Stop", icon="stop", disabled=True)
        self.resume = ipywidgets.Button(description="Resume", icon="forward")
        self.waiting = ipywidgets.Dropdown(description="unfinished", style=STYLE, layout={"width": "auto"})
        self.bar = ipywidgets.FloatProgress(min=0, max=1, layout={"width": "100%"})
        self.told, self.said = ipywidgets.HTML(), ipywidgets.HTML()
        self.curves = RunCurves()
        self._live: dict | None = None
        self._drawn = (0.0, 0)
        self.start.on_click(lambda _: self._begin(self.chosen()))
        self.stop.on_click(lambda _: self._ask_to_stop())
        self.resume.on_click(lambda _: self._take_up())
        for entry in self.form.values():
            entry.observe(lambda _: self._look(), "value")
        main = ipywidgets.Box([self.form[name] for name in FIRST], layout=ROW)
        rest = ipywidgets.Box([entry for name, entry in self.form.items() if name not in FIRST], layout=ROW)
        more = ipywidgets.Accordion([rest], selected_index=None)
        more.set_title(0, "more settings")
        buttons = ipywidgets.Box([self.start, self.stop, self.waiting, self.resume], layout=ROW)
        super().__init__([main, more, self.said, buttons, self.bar, self.told, self.curves])
        self._look_for_unfinished()
        self._look()
        self._draw()

    def chosen(self) -> Train:
        """The settings in the form. Raises `ValueError`, naming setting and value, if they are not allowed."""
        known, entries = options(self.experiment), self.form.items()
        values = {name: entry.value for name, entry in entries}
        return setting(self.experiment, {k: known[k].read(v) if isinstance(v, str) else v for k, v in values.items()})

    def wait(self, seconds: float | None = None) -> bool:
        """Block the cell until the run has ended, or for so many seconds; whether it has ended."""
        if self.thread is not None:
            self.thread.join(seconds)
        return not self.running

    def _look(self) -> None:
        """Say what the settings in the form mean, or why they are not allowed."""
        if self.running:
            return
        try:
            chosen = self.chosen()
        except ValueError as error:
            self._say(str(error), wrong=True)
            self.start.disabled = True
            return
        self.start.disabled = False
        if record_of(chosen, self.out).exists():
            self._say(f"{chosen.title()}. This run has ended; its record is in {self.out}.")
            self.start.disabled = True
        elif unfinished(chosen, self.out).exists():
            self._say(f"{chosen.title()}. It stands unfinished: Start goes on from there.")
        else:
            self._say(f"{chosen.title()}.")

    def _say(self, text: str, wrong: bool = False) -> None:
        colour = "#d55e00" if wrong else "inherit"
        self.said.value = f'<span role="status" style="color:{colour}">{html.escape(text)}</span>'

    def _look_for_unfinished(self) -> None:
        found = stopped_runs(self.out, self.experiment)
        self.waiting.options = [(f"{chosen.title()} (after epoch {epoch})", k) for k, (chosen, epoch) in enumerate(found)]
        self.waiting.index = 0 if found else None
        self._found = [chosen for chosen, _ in found]
        self.waiting.layout.display = self.resume.layout.display = "" if found else "none"

    def _take_up(self) -> None:
        chosen = self._found[self.waiting.value]
        for name, value in asked(chosen).items():
            self.form[name].value = _shown(options(self.experiment)[name], value)
        self._begin(chosen)

    def _begin(self, chosen: Train) -> None:
        if self.running:
            return
        try:
            self.host = Host(unfinished(chosen, self.out), device=self.device, watch=self._watch)
        except ValueError as error:
            self._say(str(error), wrong=True)
            return
        self.running = self.start.disabled = self.resume.disabled = True
        self.stop.disabled = False
        for entry in self.form.values():
            entry.disabled = True
        self.bar.value, self.bar.bar_style, self.told.value, self._drawn = 0, "", "", (0.0, 0)
        self._say(f"{chosen.title()}: making the data and the network ready.")
        # A daemon: a kernel that is shut down need not wait; the last checkpoint stays.
        self.thread = threading.Thread(target=self._run, args=(chosen,), daemon=True)
        self.thread.start()

    def _run(self, chosen: Train) -> None:
        said, wrong = "", False
        try:
            path = perform(chosen, self.out, report=self._say, host=self.host)
            self.bar.bar_style, said = "success", f"{chosen.title()}. Done: {path}"
            self._live = None  # its record takes its place; the curve of a stopped run stays
        except Stopped as stopped:
            said = f"{chosen.title()}: {stopped}. Resume goes on from there."
        except Exception as error:  # the thread's last word: whatever it was, the reader sees it
            said, wrong, self.bar.bar_style = f"{type(error).__name__}: {error}", True, "danger"
        self.running = False
        for entry in self.form.values():
            entry.disabled = False
        self.stop.disabled, self.resume.disabled = True, False
        self._look_for_unfinished()
        self._look()
        self._say(said, wrong)
        self._draw()

    def _ask_to_stop(self) -> None:
        if self.host is not None:
            self.host.stop.set()
            self.stop.disabled = True

    def _watch(self, news: dict[str, Any]) -> None:
        """Take in the news of the run, from its thread."""
        total = news["epochs"] * news["steps"]
        done = (news["epoch"] - 1) * news["steps"] + news["step"]
        self.bar.value = done / total
        left = (total - done) * news["batch"] / max(news["images_s"], 1e-9)
        curves = news["curves"]
        parts = [f"epoch {news['epoch']} of {news['epochs']}", f"loss {news['loss']:.4f}"]
        if curves:
            parts.append(f"accuracy {curves[-1]['accuracy']:.2%} after epoch {curves[-1]['epoch']}")
        parts += [f"{news['images_s']:,.0f} images/s", f"{_duration(left)} left"]
        self.told.value = " · ".join(parts)
        now, (then, drawn) = time.perf_counter(), self._drawn
        if curves and now - then >= DRAW_EVERY:
            self._drawn = (now, drawn + 1)
            result = {"curves": list(curves), "evaluated_on": news["evaluated_on"]}
            self._live = {"config": self.host.config, "result": result}
            self._draw()

    def _draw(self) -> None:
        own = [records.read(f) for f in sorted((self.out / self.experiment.experiment).glob("*.json"))]
        known = {record.get("key"): record for record in [*self.frozen, *own]}
        runs = compact([*known.values(), *([self._live] if self._live else [])])
        self.curves.runs = runs
        if self._live and self._drawn[1] == 1:  # the reader wants to see what has just begun, and later what they choose
            for facet in ("problem", "setting"):
                setattr(self.curves, facet, runs["runs"][-1][facet])
            self.curves.rho = "all"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if hasattr(ipywidgets.Widget, "_repr_mimebundle_"):
            bundle = super()._repr_mimebundle_(**kwargs)
        else:  # ipywidgets 7, as in Colab
            view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
            bundle = {"text/plain": repr(self), "application/vnd.jupyter.widget-view+json": view}
        content, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        curves = RunCurves.of(self.frozen)
        state = {name: getattr(curves, name) for name in curves.public_state()}
        html_ = page(curves.module, state, name="TrainingPanel", caption=curves.caption, linkable=True)
        return {**content, "text/html": html_}, metadata


def stopped_runs(out: Path, experiment: type[Train]) -> list[tuple[Train, int]]:
    """Settings of the unfinished runs under `out` and their last whole epoch; files that do not say theirs are left out."""
    found = []
    for file in sorted(unfinished(experiment(), out).parent.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as whole:
                state = json.loads(whole.metadata()["state"])
            chosen = setting(experiment, state["config"])
        except (SafetensorError, KeyError, TypeError, ValueError, OSError):
            continue
        if unfinished(chosen, out) == file:
            found.append((chosen, state["epoch"] if "epoch" in state else state["b"]["epoch"]))
    return found


STYLE = {"description_width": "7.5rem"}
TOOLTIP = "tooltip" if "tooltip" in ipywidgets.Text.class_trait_names() else "description_tooltip"
"""Its name in ipywidgets 8, and in 7, which Colab has."""
ROW = {"flex_flow": "row wrap", "grid_gap": "0.2rem 1rem"}


def _entry(known: Option, value: Any) -> ipywidgets.DOMWidget:
    """The form's control of one setting; one that may be None is a text, and None is an empty one."""
    look = {"description": known.name, TOOLTIP: known.help, "style": STYLE, "layout": {"width": "min(100%, 21rem)"}}
    look["value"] = _shown(known, value)
    if isinstance(look["value"], bool):
        return ipywidgets.Checkbox(indent=True, **look)
    names = tuple(name for name in known.allowed if "*" not in name)
    if names != known.allowed:
        return ipywidgets.Combobox(options=names, **look)
    if names and not known.optional:
        return ipywidgets.Dropdown(options=names, **look)
    return ipywidgets.Text(placeholder="the method's own, or off", continuous_update=False, **look)


def _shown(known: Option, value: Any) -> Any:
    """`value` as its control has it."""
    if known.kind is bool and not known.optional:
        return value
    return "" if value is None else known.shown(value)


def asked(chosen: Train) -> dict[str, Any]:
    """The settings of `chosen`; one that would be filled in as it is by itself is None, so that others can be changed."""
    values = asdict(chosen)
    for name, known in options(type(chosen)).items():
        if known.default is None and values[name] is not None:
            try:
                if type(chosen)(**(values | {name: None})) == chosen:
                    values[name] = None
            except ValueError:  # others stand only with it
                continue
    return values


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
