"""Figure 3 on a small scale: does noise or sharpness go with the test error of small networks, and the verdicts."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from plotly.subplots import make_subplots
from scipy.stats import rankdata

from book.finding import RESULTS, Finding, graded, scale, span
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
PANELS = {
    "noise": ("noise Tr C", (100, 1000)),
    "eigenvalue": ("eigenvalue", (10, 100, 1000)),
    "ascent": ("SAM’s rise", (0.02, 0.1, 0.5)),
    "adaptive": ("ASAM’s rise", (0.05, 0.1)),
}
"""Title and ticks, short enough for a phone."""
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


def correlation(name: str, at: int = END, kind: str = "rank", network: str = VIT) -> Correlation:
    """Of the ranks of a measure and the test error (Spearman); `within` those of one augmentation, or `given` the training
    loss; with the noise of the training's own batch for `batch`.
    """
    return correlations(at, kind, network)[name]


@functools.cache
def correlations(at: int, kind: str, network: str) -> dict[str, Correlation]:
    """By measure; all on the same resamples."""
    names = [*NAMES, "loss"]
    x, y = np.stack([column(name, at, network) for name in names], axis=1), errors(at, network)
    groups = np.array([r["config"]["augment"] for r in runs(network)])
    if kind == "batch":
        n, b = (np.array([r["config"][key] for r in runs(network)]) for key in ("examples", "batch"))
        x = x * ((n - b) / (b * (n - 1)))[:, None]

    def values(rows: NDArray) -> NDArray:
        if kind == "given":
            return partial_spearman(x[rows], y[rows], x[rows, names.index("loss")])
        if kind == "within":
            ranks = ranks_within(np.column_stack([x, y])[rows], groups[rows])
            return pearson(ranks[:, :-1], ranks[:, -1])
        return spearman(x[rows], y[rows])

    found, (low, high) = values(np.arange(len(y))), cluster_bootstrap(values, range(len(y)))
    return {name: Correlation(*map(float, ends)) for name, *ends in zip(names, found, low, high, strict=True)}


def ranks_within(values: NDArray, groups: NDArray) -> NDArray:
    """Ranks of each column within each group, less their mean."""
    ranks = np.empty(values.shape)
    for group in set(groups):
        own = groups == group
        ranks[own] = rankdata(values[own], axis=0) - (own.sum() + 1) / 2
    return ranks


def best() -> NDArray:
    """Places of the third of the runs with the lowest test errors."""
    return np.argsort(errors())[: len(runs()) // 3]


def overlap_of_thirds(name: str) -> tuple[int, int]:
    """How many of these are among the third of the runs with the lowest values of a measure, and with the highest."""
    order, third = np.argsort(column(name)), len(runs()) // 3
    return len({*best()} & {*order[:third]}), len({*best()} & {*order[-third:]})


def spread(name: str) -> float:
    """The largest over the least value of a measure, among these."""
    return float(column(name)[best()].max() / column(name)[best()].min())


# ---- the page's figure and table -------------------------------------------------------------------------------------


def draw() -> list[Record]:
    """Test error over each measure at the end of training; returns the records."""
    titles = [title for title, _ in PANELS.values()]
    figure = make_subplots(2, 2, subplot_titles=titles, vertical_spacing=0.16, shared_yaxes=True)
    for panel, (name, (_, ticks)) in enumerate(PANELS.items()):
        figure.update_xaxes(
            type="log", tickvals=ticks, ticktext=[f"{t:g}" for t in ticks], row=panel // 2 + 1, col=panel % 2 + 1
        )
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
    figure.update_yaxes(title_text="test error (%)", col=1)
    caption = "Test error of thirty small vision transformers over their gradient noise and three kinds of sharpness."
    figure.update_layout(height=640, legend={"orientation": "h", "y": -0.1}, meta={"caption": caption})
    figure.show()
    return runs()


def rows() -> list[list[str]]:
    """A measure a row: its rank correlation at the end, there within an augmentation and given the loss, and half way."""
    kinds = (END, "rank"), (END, "within"), (END, "given"), (HALFWAY, "rank")
    return [[PANELS[name][0], *(str(correlation(name, at, kind)) for at, kind in kinds)] for name in NAMES]


def in_words() -> dict[str, str]:
    """Numbers of the page's prose."""
    order = float(spearman(column("noise"), column("eigenvalue")))
    slowest = column("noise")[[r["config"]["lr"] == min(c["config"]["lr"] for c in runs()) for r in runs()]]
    fastest = column("noise")[[r["config"]["lr"] == max(c["config"]["lr"] for c in runs()) for r in runs()]]
    numbers = {
        "within": span([correlation(name, END, "within").value for name in NAMES]),
        "loss": f"{correlation('loss').value:.2f}", "batch": str(correlation("noise", HALFWAY, "batch")),
        "runs": str(len(runs())), "weights": f"{runs()[0]['result']['parameters']:,}", "order": f"{order:.2f}",
        "noise": str(correlation("noise")), "spread": f"{spread('noise'):.0f}",
        "rates": f"{np.exp(np.log(slowest).mean() - np.log(fastest).mean()):.0f}",
        "sharp": span([correlation(name).value for name in SHARP]),
        "low": f"{errors().min():.0f}", "high": f"{errors().max():.0f}",
    }  # fmt: skip
    numbers["lowest"], numbers["highest"] = map(str, overlap_of_thirds("adaptive"))
    return {f"indicator-{name}": text.replace("-", "−") for name, text in numbers.items()}


# ---- the claims ------------------------------------------------------------------------------------------------------


def concluded(verdict: str, words: str) -> Finding:
    """The finding from all runs of the small transformer."""
    rates, batches = (sorted({r["config"][name] for r in runs()}) for name in ("lr", "batch"))
    size = f"{scale(runs())}, {len(runs())} trainings at {len(rates)} rates and {len(batches)} batch sizes"
    words = (
        f"A vision transformer of {runs()[0]['result']['parameters']:,} weights, {len(runs())} trainings, 95% intervals. "
        f"{words} The training loss orders the errors at {correlation('loss').value:.2f}: the trainings differ mostly in "
        "how far they came."
    )
    return Finding(verdict, words, size, runs())


def each(names: Iterable[str], kind: str = "rank") -> str:
    """The correlations of these measures with the test error at the end."""
    return ", ".join(f"{NAMES[name]} {correlation(name, END, kind)}" for name in names)


def low_errors_at_both() -> Finding:
    """By each kind of sharpness at least two of the ten lowest errors lie in its lowest third and two in its highest: in
    part, for whether the correlation is weaker than in ResNets is not run; not, if by none.
    """
    counts = {name: overlap_of_thirds(name) for name in NAMES}
    told = ", ".join(f"{NAMES[name]} {low} and {high}" for name, (low, high) in counts.items())
    words = (
        f"Of the {len(best())} lowest test errors so many lie in the lowest and in the highest third: {told}. Rank "
        f"correlation with the test error: {each(NAMES)}. Less pronounced is meant against ResNets, which are not run."
    )
    return concluded(graded(False, any(min(counts[name]) >= 2 for name in SHARP)), words)


def noise_goes_with_the_error() -> Finding:
    """The rank correlation of noise and test error is above 0 for certain half way and at the end; in part if at one."""
    of, own = ([correlation("noise", at, kind) for at in (HALFWAY, END)] for kind in ("rank", "batch"))
    middle, end = (runs()[0]["result"]["measured"][at]["epoch"] for at in (HALFWAY, END))
    part = (column("noise", END) > column("noise", HALFWAY)) & (errors(END) < errors(HALFWAY))
    words = (
        f"Rank correlation of Tr C with the test error after {middle} epochs {of[0]}, after {end} {of[1]}; with the factor "
        f"of each training's batch {own[0]} and {own[1]}. From the one to the other the noise rises and the error falls in "
        f"{part.sum()} of {len(part)}. A true correlation of 0.5 is seen in four of five cases."
    )
    return concluded(graded(all(c.low > 0 for c in of), any(c.low > 0 for c in of)), words)


def sharpness_fails_and_noise_does_not() -> Finding:
    """No kind of sharpness has a correlation of 0.5 with the test error that its intervals leave open, among all trainings
    and among those of one augmentation, and the noise goes with it for certain; in part if the first holds alone.
    """
    open_ends = [correlation(name, END, kind).high for name in SHARP for kind in ("rank", "within")]
    fails = max(open_ends) < 0.5
    words = (
        f"Rank correlation with the test error at the end, among trainings of one augmentation: {each(NAMES, 'within')}; "
        f"among all {each(NAMES)}. Noise and eigenvalue order the trainings nearly alike, at "
        f"{float(spearman(column('noise'), column('eigenvalue'))):.2f}. The intervals of sharpness reach "
        f"{max(open_ends):.2f}, so that it {'can' if fails else 'cannot'} be said to fail; a true correlation of 0.5 is "
        "seen in four of five cases."
    )
    return concluded(graded(fails and correlation("noise", END, "within").low > 0, fails), words)


CLAIMS = {
    "nonuniformity/figure-3-vit-sharpness": low_errors_at_both,
    "nonuniformity/figure-3-vit-nonuniformity": noise_goes_with_the_error,
    "nonuniformity/summary-vits-sharpness-fails": sharpness_fails_and_noise_does_not,
}
