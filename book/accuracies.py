"""Test accuracies on CIFAR, as three papers report them on the same networks, and ours."""

from __future__ import annotations

import csv
import functools
import itertools
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from IPython.display import HTML
from plotly.graph_objects import Figure
from plotly.subplots import make_subplots
from scipy.stats import ttest_ind_from_stats

from book.finding import RESULTS
from flatlab import methods, models, plots
from flatlab.data import TITLES
from flatlab.runs import records

__all__ = [
    "METHODS", "NETWORKS", "PAPERS", "Accuracy", "best", "between_papers", "cells", "column", "draw", "in_words",
    "long_runs", "method", "ours", "reported", "table", "told_apart", "trials", "within_papers",
]  # fmt: skip

PAPERS = {"LSAM": "lsam", "Nonuniformity": "nonuniformity", "StableSAM": "stable_sam"}
"""The folder of each."""
SHOWN = ("resnet20", "resnet56", "resnext29_32x4d", "wrn28_6", "wrn58_6", "wrn28_10", "pyramidnet110")
NETWORKS = {name: models.TITLES[name] for name in (*SHOWN, "densenet100", "vit_small32")}
METHODS = ("SGD", *methods.METHODS)
VARIANTS = ("SAM", "USAM", "ASAM", "StableSAM", "StableASAM", "CSAM")
"""SAM and what differs from it in its step alone; LSAM averages where these ascend."""
SEEDS = 3
"""Behind each number of the papers; that of nonuniformity does not say."""
DATA = {name: TITLES[name] for name in ("cifar10", "cifar100")}
SIGNS = {"rho": "ρ", "rho_cov": "ρ cov"}
SYMBOLS = {"LSAM": "circle", "Nonuniformity": "square", "StableSAM": "diamond"}
WINDOWS = {"cifar10": [91.5, 98.5], "cifar100": [67, 86]}


class Accuracy(NamedTuple):
    """A cell of a paper's table: mean and standard deviation over seeds, in percent."""

    paper: str
    data: str
    network: str
    method: str
    accuracy: float
    deviation: float


@functools.cache
def reported() -> list[Accuracy]:
    """All cells of the papers' tables, in the papers' names for SAM as this book gives them."""
    found = []
    for paper, folder in PAPERS.items():
        with (Path(__file__).parent / folder / "reported.csv").open() as file:
            for r in csv.DictReader(file):
                names = r["data"], r["network"], r["method"]
                found.append(Accuracy(paper, *names, float(r["accuracy"]), float(r["deviation"])))
    return found


def cells() -> dict[tuple[str, str, str], dict[str, Accuracy]]:
    """By data, network and method: what each paper reports."""
    found: dict[tuple[str, str, str], dict[str, Accuracy]] = defaultdict(dict)
    for a in reported():
        found[a.data, a.network, a.method][a.paper] = a
    return found


def column(paper: str, data: str, method: str) -> list[Accuracy]:
    """What a paper reports of a method on a data set, network by network in the paper's order."""
    return [a for a in reported() if (a.paper, a.data, a.method) == (paper, data, method)]


def method(config: dict[str, Any]) -> str:
    """The method of a run; without any it is SGD."""
    return {"plain": "SGD"}.get(config["method"], config["method"])


def long_runs() -> list[dict[str, Any]]:
    """Our runs on CIFAR of twelve epochs or more that were scored on test images."""
    runs = [r for data in DATA for r in records.find(RESULTS, "train", data=data)]
    return [r for r in runs if r["config"]["epochs"] >= 12 and r["result"]["evaluated_on"] == "test"]


def ours() -> dict[tuple[str, str, str], list[float]]:
    """Last-epoch test accuracies of our runs of the papers' length, in percent, by data, network and method."""
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for r in long_runs():
        c = r["config"]
        if c["epochs"] >= 200:
            found[c["data"], c["network"], method(c)].append(100 * r["result"]["final"]["accuracy"])
    return found


def between_papers() -> dict[tuple[str, str, str], float]:
    """The range of what papers report, for each cell that stands in several."""
    several = {key: [a.accuracy for a in told.values()] for key, told in cells().items() if len(told) > 1}
    return {key: max(values) - min(values) for key, values in several.items()}


def within_papers(names: tuple[str, ...] | None = None) -> list[tuple[Accuracy, Accuracy]]:
    """All pairs of methods, or of these, on one network and data set of one paper."""
    columns: dict[tuple[str, str, str], list[Accuracy]] = defaultdict(list)
    for a in reported():
        if a.data in DATA and (names is None or a.method in names):
            columns[a.paper, a.data, a.network].append(a)
    return [pair for cells in columns.values() for pair in itertools.combinations(cells, 2)]


def told_apart(one: Accuracy, other: Accuracy) -> bool:
    """Whether three seeds tell the two from chance, by Welch's test at 5%."""
    first, second = ((a.accuracy, a.deviation, SEEDS) for a in (one, other))
    return bool(ttest_ind_from_stats(*first, *second, equal_var=False).pvalue < 0.05)


def in_words() -> dict[str, str]:
    """Numbers of the chapter's prose on the papers' tables."""
    median = statistics.median(between_papers().values())
    smaller = [abs(a.accuracy - b.accuracy) < median for a, b in within_papers()]
    unclear = [not told_apart(*pair) for pair in within_papers(VARIANTS)]
    numbers = {"smaller": sum(smaller), "pairs": len(smaller), "unclear": sum(unclear), "variants": len(unclear)}
    return {f"papers-{name}": str(number) for name, number in numbers.items()}


def best(network: str) -> HTML:
    """The best that any paper reports of each method on a network, best on CIFAR-100 first."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for a in reported():
        if a.network == network and a.data in DATA:
            found[a.method][a.data] = max(a.accuracy, found[a.method].get(a.data, 0.0))
    order = sorted(found, key=lambda name: -found[name].get("cifar100", 0.0))
    number = lambda name, data: f"{found[name][data]:.2f}" if data in found[name] else ""  # noqa: E731
    return plots.table(["method", *DATA.values()], [[name, *(number(name, data) for data in DATA)] for name in order])


def draw() -> Figure:
    """The papers' accuracies, a panel a data set, a row a network, in it a line and a colour a method."""
    titles = [f"{title}, test accuracy (%)" for title in DATA.values()]
    figure = make_subplots(2, 1, vertical_spacing=0.07, subplot_titles=titles)
    methods_told = list(dict.fromkeys(a.method for a in reported()))
    lines = {name: 0.8 * (k / (len(methods_told) - 1) - 0.5) for k, name in enumerate(methods_told)}
    for place, data in enumerate(DATA, 1):
        for name in methods_told:
            rows = [a for a in reported() if (a.data, a.method) == (data, name) and a.network in SHOWN]
            figure.add_scatter(
                x=[a.accuracy for a in rows], y=[SHOWN.index(a.network) + lines[name] for a in rows],
                row=place, col=1, mode="markers",
                error_x={"array": [a.deviation for a in rows], "thickness": 1}, name=name, legendgroup=name,
                showlegend=place == 1, customdata=[(a.paper, NETWORKS[a.network]) for a in rows],
                marker={"symbol": [SYMBOLS[a.paper] for a in rows], "size": 7,
                        "color": plots.METHODS.get(name, "#999999")},
                hovertemplate=name + ", %{customdata[0]} paper: %{x:.2f} ± %{error_x.array:.2f}<br>"
                "%{customdata[1]}<extra></extra>",
            )  # fmt: skip
        figure.update_xaxes(range=WINDOWS[data], row=place, col=1)
        for k in range(len(SHOWN) - 1):
            figure.add_hline(k + 0.5, row=place, col=1, line={"color": "rgba(128,128,128,0.35)", "width": 1})
    figure.update_yaxes(
        tickvals=list(range(len(SHOWN))), ticktext=[NETWORKS[network] for network in SHOWN], showgrid=False,
        range=[len(SHOWN) - 0.5, -0.5],
    )  # fmt: skip
    caption = "Test accuracies that three papers report on CIFAR-10 and CIFAR-100."
    margin = {"l": 120, "r": 16, "t": 30, "b": 40}  # a phone's width goes to the marks
    figure.update_layout(height=960, margin=margin, legend={"orientation": "h", "y": -0.04}, meta={"caption": caption})
    return figure


def mean_of(values: list[float]) -> str:
    """A cell of our column."""
    if not values:
        return "<i>not run yet</i>"
    if len(values) == 1:
        return f"{values[0]:.2f} (1 seed)"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} ({len(values)} seeds)"


def table() -> tuple[HTML, int, int]:
    """The papers' cells, beside ours once there is one; how many of ours are run, and how many there are."""
    told, run, rows = cells(), ours(), []
    column = ["ours"] if run else []
    order = [(data, network, name) for data in DATA for network in NETWORKS for name in METHODS]
    asked = [key for key in order if key in told]
    for key in asked:
        said = [f"{a.accuracy:.2f} ± {a.deviation:.2f}" if (a := told[key].get(paper)) else "" for paper in PAPERS]
        rows.append([DATA[key[0]], NETWORKS[key[1]], key[2], *said, *(mean_of(run.get(key, [])) for _ in column)])
    head = ["data", "network", "method", *(f"{paper} paper" for paper in PAPERS), *column]
    return plots.table(head, rows, summary="The whole table"), sum(key in run for key in asked), len(asked)


def trials() -> tuple[HTML, list[dict[str, Any]]]:
    """The runs that chose a radius, or SGD's learning rate, on held-out training images; method by method."""
    found = records.find(RESULTS, "train", data="cifar10", network="fast_cifar", epochs=12)
    runs = [r for r in found if r["config"].get("validation")]
    runs.sort(key=lambda r: (METHODS.index(method(r["config"])), r["config"]["lr"], r["config"].get("rho") or 0))
    rows = []
    for r in runs:
        c = r["config"]
        radii = [f"{SIGNS[name]} {c[name]:g}" for name in SIGNS if c.get(name) is not None]
        setting = ", ".join(radii or [f"rate {c['lr']:g}"])
        rows.append([method(c), setting, f"{100 * r['result']['final']['accuracy']:.2f}"])
    return plots.table(["method", "setting", "accuracy"], rows), runs
