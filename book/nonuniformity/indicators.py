"""Figure 3 on a small scale: does noise or sharpness go with the test error of small networks, and the verdicts."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from book.finding import RESULTS
from flatlab.runs import records
from flatlab.stats.correlation import cluster_bootstrap, partial_spearman, pearson, spearman

Record = dict[str, Any]

VIT = "vit_micro32"
NAMES = {
    "noise": "gradient noise Tr C",
    "eigenvalue": "largest eigenvalue of H",
    "ascent": "rise on SAM's step",
    "adaptive": "rise on ASAM's step",
}
"""Nonuniformity, and three kinds of sharpness."""
SHARP = tuple(NAMES)[1:]
HALFWAY, END = 1, 2
"""Places in the list of what was measured; the first is the start, where all runs are alike."""
AUGMENTED = {"none": "as they are", "crop_flip": "shifted and mirrored"}
COLOURS = {"none": "#0072b2", "crop_flip": "#d55e00"}
SYMBOLS = {32: "circle", 128: "square", 512: "diamond"}


class Correlation(NamedTuple):
    """Over the runs, with its 95% interval by resampling them."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@functools.cache
def runs(network: str = VIT) -> list[Record]:
    """By rate, batch and augmentation. Raises `LookupError` if there are none."""
    found = records.find(RESULTS, "noise_and_sharpness", network=network)
    if not found:
        raise LookupError(f"no run has measured noise and sharpness of {network}")
    return sorted(found, key=lambda r: (r["config"]["augment"], r["config"]["batch"], r["config"]["lr"]))


def column(name: str, at: int = END, network: str = VIT) -> NDArray:
    """A measure of every run."""
    return np.array([r["result"]["measured"][at][name] for r in runs(network)])


def errors(at: int = END, network: str = VIT) -> NDArray:
    """Test error of every run in percent, after the epoch of that measurement."""
    epochs = [r["result"]["measured"][at]["epoch"] for r in runs(network)]
    curves = [r["result"]["curves"] for r in runs(network)]
    return np.array([100 * (1 - curve[epoch - 1]["accuracy"]) for curve, epoch in zip(curves, epochs, strict=True)])


@functools.cache
def correlation(name: str, at: int = END, kind: str = "rank", network: str = VIT) -> Correlation:
    """Of a measure with the test error: of their `rank`s (Spearman), of their values (`pearson`), or of the ranks `given`
    the training loss.
    """
    x, y, loss = column(name, at, network), errors(at, network), column("loss", at, network)

    def value(rows: NDArray) -> float:
        if kind == "given":
            return float(partial_spearman(x[rows], y[rows], loss[rows]))
        return float({"rank": spearman, "pearson": pearson}[kind](x[rows], y[rows]))

    return Correlation(value(np.arange(len(y))), *map(float, cluster_bootstrap(value, range(len(y)))))


@functools.cache
def ahead(name: str, at: int = END, network: str = VIT) -> Correlation:
    """By how much the noise's rank correlation with the test error exceeds this sharpness's."""
    both, y = np.stack([column("noise", at, network), column(name, at, network)], 1), errors(at, network)

    def value(rows: NDArray) -> float:
        noise, sharp = spearman(both[rows], y[rows])
        return float(noise - sharp)

    return Correlation(value(np.arange(len(y))), *map(float, cluster_bootstrap(value, range(len(y)))))


# ---- the page's figure and table -------------------------------------------------------------------------------------


def draw() -> list[Record]:
    """Test error over each measure at the end of training; returns the records."""
    figure = make_subplots(2, 2, subplot_titles=list(NAMES.values()), vertical_spacing=0.16, shared_yaxes=True)
    for panel, name in enumerate(NAMES):
        for augment, told in AUGMENTED.items():
            chosen = [k for k, r in enumerate(runs()) if r["config"]["augment"] == augment]
            settings = [runs()[k]["config"] for k in chosen]
            figure.add_scatter(
                x=column(name)[chosen], y=errors()[chosen], mode="markers", name=told, legendgroup=told,
                showlegend=panel == 0, row=panel // 2 + 1, col=panel % 2 + 1,
                marker={"color": COLOURS[augment], "size": 8, "symbol": [SYMBOLS[c["batch"]] for c in settings]},
                customdata=[(c["lr"], c["batch"]) for c in settings],
                hovertemplate="rate %{customdata[0]:g}, batch %{customdata[1]}: %{x:.3g}, %{y:.1f}%<extra></extra>",
            )  # fmt: skip
    figure.update_xaxes(type="log", dtick=1, exponentformat="power")
    figure.update_yaxes(title_text="test error (%)", col=1)
    caption = "Test error of thirty small vision transformers over their gradient noise and three kinds of sharpness."
    figure.update_layout(height=640, legend={"orientation": "h", "y": -0.1}, meta={"caption": caption})
    figure.show()
    return runs()


def rows() -> list[list[str]]:
    """A measure a row: its correlation at the end, half way, of the values, and given the training loss."""
    kinds = (END, "rank"), (HALFWAY, "rank"), (END, "pearson"), (END, "given")
    return [[told, *(str(correlation(name, at, kind)) for at, kind in kinds)] for name, told in NAMES.items()]


def in_words() -> dict[str, str]:
    """Numbers of the page's prose."""
    of = {name: f"{correlation(name).value:.2f}" for name in NAMES}
    best = errors() <= np.quantile(errors(), 1 / 3)
    spread = {name: f"{column(name)[best].max() / column(name)[best].min():.0f}" for name in NAMES}
    numbers = {f"indicator-{name}": value for name, value in of.items()}
    numbers |= {f"indicator-spread-{name}": value for name, value in spread.items()}
    numbers |= {"indicator-low": f"{errors().min():.0f}", "indicator-high": f"{errors().max():.0f}"}
    return {name: value.replace("-", "−") for name, value in numbers.items()} | {"indicator-runs": str(len(runs()))}
