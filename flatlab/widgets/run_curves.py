"""Explorable of training runs: their curves, a line a method, from records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import traitlets

from flatlab import data, models
from flatlab.explorable import Explorable
from flatlab.palette import PALETTE

__all__ = ["RunCurves", "compact"]

PROBLEM = ("data", "network")
SETTING = (
    "width", "schedule", "peak", "momentum", "nesterov", "weight_decay", "batch", "augment",
    "label_smoothing", "label_noise", "examples", "validation", "stop_at_loss", "precision",
)  # fmt: skip
"""What a reader chooses among, where it differs between runs: a line compares methods, all else equal."""
KIND = ("identical", "nudge")
"""What twins differ by; part of a line's name, so that their distances stand in one plot."""
TUNED = ("lr",)
"""Part of the setting only where one method has several of it; where each has its own, it is named with the method."""
APART = ("seed", "method", "base", "rho", "evaluate_train")
ORDER = ("SGD", "Adam", "AdamW", *PALETTE["methods"])
SCORES = ("accuracy", "loss", "train_loss", "train_accuracy", "whole_train_loss", "whole_train_accuracy")
NAMES = data.TITLES | models.TITLES | {"lr": "learning rate", "crop_flip": "crop and flip"}


class RunCurves(Explorable):
    """Curves of training runs over epochs or over gradient evaluations, a line a method, and the last epoch's numbers.

    `metric` is what is drawn, one of `METRICS`; `axis` is `epochs` or `gradients`; `scale` is `linear` or `log`; `part`
    draws all epochs, the last half or the last fifth; `spread` shows the seeds as a band from least to most, or one by
    one. `problem`, `setting` and `rho` pick among the values that the runs have, where they have several; `hidden` names
    lines that are not shown, with `|` between them. Twins whose training sets are the same are lines of their own:
    `SGD, identical` and, with one weight moved at the start, `SGD, nudged`. Build it with `RunCurves.of(records)`.
    """

    caption = "Curves of training runs, a line a method, and their last epoch's scores."
    METRICS = (*SCORES, "error", "generalization", "gap", "distance")

    runs = traitlets.Dict().tag(sync=True)
    metric = traitlets.Enum(METRICS, "accuracy").tag(sync=True)
    axis = traitlets.Enum(["epochs", "gradients"], "epochs").tag(sync=True)
    scale = traitlets.Enum(["linear", "log"], "linear").tag(sync=True)
    part = traitlets.Enum(["all", "half", "fifth"], "all").tag(sync=True)
    spread = traitlets.Enum(["range", "seeds"], "range").tag(sync=True)
    problem = traitlets.Unicode("").tag(sync=True)
    setting = traitlets.Unicode("").tag(sync=True)
    rho = traitlets.Unicode("").tag(sync=True)
    hidden = traitlets.Unicode("").tag(sync=True)

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Any]], **state: Any) -> RunCurves:
        """The explorable of these records of `train` or `twins`, as `flatlab.runs.records.find` gives them.

        Raises `ValueError` for a record of another experiment, and a `TraitError` for a state that does not exist.
        """
        runs = compact(records)
        first = {facet: values[0] for facet, values in runs["facets"].items() if values}
        return cls(runs=runs, **(first | state))

    @traitlets.default("runs")
    def _no_runs(self):
        return compact([])


def compact(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What `RunCurves` draws of the records, and no more: accuracies to 5 decimals, all else to 4 significant digits.

    >>> curves = [{"epoch": 1, "accuracy": 0.5, "loss": 0.69314718}, {"epoch": 2, "accuracy": 0.75, "loss": 0.5}]
    >>> config = {"data": "digits", "network": "fcn", "method": "plain", "base": "SGD", "seed": 1}
    >>> (run,) = compact([{"config": config, "result": {"gradients": 80, "curves": curves}}])["runs"]
    >>> run["line"], run["seed"], run["gradients"], run["accuracy"], run["loss"]
    ('SGD', 1, 40.0, [0.5, 0.75], [0.6931, 0.5])
    """
    records = list(records)
    for record in records:
        if "accuracy" not in (record["result"].get("curves") or [{}])[0]:
            named = f"{record.get('experiment', 'of another kind')}/{record.get('key', '')}"
            raise ValueError(f"RunCurves draws records of train and twins, which have curves with accuracies; got {named}")
    configs = [dict(record["config"]) for record in records]
    settings = _settings(configs)
    lines = _lines(configs, settings)
    sets = {record["result"].get("evaluated_on", "held-out") for record in records}
    runs = []
    for record, config, setting, (method, line) in zip(records, configs, settings, lines, strict=True):
        problem = " on ".join(NAMES.get(config[k], config[k]) for k in reversed(PROBLEM))
        run = {"line": line, "method": method, "problem": problem, "setting": setting, "seed": config["seed"]}
        rho = None if config.get("rho") is None else repr(float(config["rho"]))
        runs.append(run | {"rho": rho} | _curves(record["result"]))
    order = {run["line"]: (*ORDER, run["method"]).index(run["method"]) for run in runs}
    facets = {name: list(dict.fromkeys(run[name] for run in runs)) for name in ("problem", "setting")}
    facets["rho"] = _radii(runs)
    evaluated_on = sets.pop() if len(sets) == 1 else "held-out"
    return {
        "evaluated_on": evaluated_on,
        "lines": sorted(order, key=lambda line: (order[line], line)),
        "facets": facets,
        "runs": runs,
    }


def _radii(runs: list[dict]) -> list[str]:
    """The radii to choose among, and `all`; only `all`, where no line has several in one place."""
    cells: dict[tuple, set] = {}
    for run in runs:
        cells.setdefault((run["line"], run["problem"], run["setting"]), set()).add(run["rho"])
    several = any(len(cell) > 1 for cell in cells.values())
    return [*sorted({run["rho"] for run in runs if several and run["rho"] is not None}, key=float), "all"]


def _settings(configs: list[dict]) -> list[str]:
    """Each run's setting in words: what differs between runs on one problem and with one base optimizer."""
    place = lambda c: tuple(c.get(k) for k in (*PROBLEM, "base"))  # noqa: E731
    keys = [key for key in SETTING if _several(configs, place, key)]
    same = lambda c: tuple(c.get(k) for k in (*PROBLEM, *keys, "method", "base", "rho", "seed", "epochs"))  # noqa: E731
    keys += [key for key in TUNED if _several(configs, same, key)]
    return [", ".join(filter(None, (_say(key, c.get(key)) for key in keys))) for c in configs]


def _lines(configs: list[dict], settings: list[str]) -> list[tuple[str, str]]:
    """Each run's method (the base optimizer's name for a plain run), and the name of its line."""
    bases = {c["base"] for c in configs}
    known = {*PROBLEM, *SETTING, *KIND, *TUNED, *APART}
    nudges = {c["nudge"] for c in configs if c.get("nudge")}
    own = [k for k in dict.fromkeys(k for c in configs for k in c) if k not in known]
    place = {id(c): setting for c, setting in zip(configs, settings, strict=True)}
    same = lambda c: (place[id(c)], *(c.get(k) for k in (*PROBLEM, "method", "base", "rho", "seed")))  # noqa: E731

    def differs(c: dict, k: str) -> bool:
        kin = [d for d in configs if (d["method"], d["base"]) == (c["method"], c["base"]) and d.get(k) is not None]
        return _several(kin, same, k)

    named = " ".join(settings)
    tuned = [k for k in TUNED if len({c.get(k) for c in configs}) > 1 and _say(k, configs[0].get(k)) not in named]
    lines = []
    for c in configs:
        method = c["base"] if c["method"] == "plain" else c["method"]
        name = f"{method} over {c['base']}" if c["method"] != "plain" and len(bases) > 1 else method
        name += "".join(f" + {k.upper()} {c[k]:g}" for k in ("fa", "cov") if c.get(k))
        if c.get("nudge"):
            name += f", nudged by {c['nudge']:g}" if len(nudges) > 1 else ", nudged"
        elif c.get("identical"):
            name += ", identical"
        differ = [k for k in own if k not in ("fa", "cov") and differs(c, k)] + tuned
        lines.append((method, name + "".join(f", {_say(k, c[k])}" for k in differ if c.get(k) is not None)))
    return lines


def _several(configs: list[dict], same: Any, key: str) -> bool:
    """Whether two runs that `same` holds for alike differ in `key`."""
    ordered = sorted(configs, key=lambda c: repr(same(c)))
    return any(same(a) == same(b) and a.get(key) != b.get(key) for a, b in pairwise(ordered))


def _say(key: str, value: Any) -> str:
    if key == "epochs":
        return f"{value} epochs"
    if key == "nesterov":
        return "Nesterov" if value else "heavy ball"
    if value is None and key in ("width", "peak"):  # of one network, of one schedule
        return ""
    name = NAMES.get(key, key.replace("_", " "))
    if value is None:
        return f"no {name}"
    if isinstance(value, list | tuple):
        return f"{name} {'/'.join(map(str, value))}"
    if key in ("schedule", "precision"):
        return str(value)
    return f"{name} {value:g}" if isinstance(value, int | float) else f"{name} {NAMES.get(value, value)}"


def _curves(result: Mapping[str, Any]) -> dict[str, Any]:
    """`epochs` with one list a score, and gradient evaluations an epoch; `distance` begins at epoch 0."""
    curves = result["curves"]
    out: dict[str, Any] = {"epochs": [point["epoch"] for point in curves]}
    out["gradients"] = result["gradients"] / curves[-1]["epoch"] if result.get("gradients") else None
    for name in SCORES:
        if name in curves[0]:
            out[name] = [_short(name, point[name]) for point in curves]
    if "whole_train_loss" in curves[0]:
        out["generalization"] = [_short("loss", p["loss"] - p["whole_train_loss"]) for p in curves]
        out["gap"] = [_short("accuracy", p["whole_train_accuracy"] - p["accuracy"]) for p in curves]
    if "distances" in result:
        out["distance"] = [_short("distance", point["distance"]) for point in result["distances"]]
    return out


def _short(name: str, value: float) -> float:
    return round(value, 5) if "accuracy" in name else float(f"{value:.4g}")
