"""The loss along the top eigenvector (Figure 2): our records, the chapter's figure, and the verdicts that follow."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from plotly.subplots import make_subplots

from book.finding import RESULTS, Finding, graded, scale, span
from flatlab import plots
from flatlab.runs import records

Record = dict[str, Any]
Cut = dict[str, Any]

CLOSE = 0.1
"""Share of the loss's range within which the second-order expansion counts as right."""
ENOUGH = 0.95
"""Share of a cut's variance from which on a parabola counts as its shape; it explains 0.94 of a corner |alpha|."""
SHOWN = (0, 6, 15, 30)
"""Epochs of the figure."""


@functools.cache
def runs() -> list[Record]:
    """LeNet5, three seeds. Raises `LookupError` unless all are there."""
    found = records.find(RESULTS, "eigenvector_cut", network="lenet5", data="cifar10", examples=10_000, epochs=30)
    if sorted(r["config"]["seed"] for r in found) != [1, 42, 123]:
        raise LookupError(f"{len(found)} runs of eigenvector-cut with LeNet5, wanted the seeds 1, 42, 123")
    return sorted(found, key=lambda r: r["config"]["seed"])


def cuts(late: bool) -> list[tuple[Record, Cut]]:
    """Those of all runs, of the initial weights or of all later ones."""
    return [(r, c) for r in runs() for c in r["result"]["cuts"] if (c["epoch"] > 0) == late]


def parabola(r: Record, cut: Cut) -> np.ndarray:
    """The coefficients of the parabola of least squares, the highest power first."""
    return np.polyfit(r["result"]["offsets"], cut["loss"], 2)


def explained(r: Record, cut: Cut) -> float:
    """The share of the cut's variance that this parabola explains."""
    losses, fit = np.array(cut["loss"]), np.polyval(parabola(r, cut), r["result"]["offsets"])
    return 1 - float(np.square(losses - fit).mean() / losses.var())


def steeper(r: Record, cut: Cut) -> float:
    """The second derivative of this parabola in units of the Hessian's eigenvalue."""
    return 2 * float(parabola(r, cut)[0]) / cut["eigenvalue"]


def expansion(r: Record, cut: Cut) -> np.ndarray:
    """The second-order expansion about the network's weights, at the offsets."""
    a = np.array(r["result"]["offsets"])
    return cut["loss"][len(a) // 2] + cut["slope"] * a + cut["eigenvalue"] * a**2 / 2


def missed(r: Record, cut: Cut, reach: float) -> float:
    """The largest error of the expansion up to an offset, as a share of the loss's range there."""
    a, losses = np.array(r["result"]["offsets"]), np.array(cut["loss"])
    near = np.abs(a) <= reach + 1e-9
    return float(np.abs(losses - expansion(r, cut))[near].max() / np.ptp(losses[near]))


# ---- the chapter's figure --------------------------------------------------------------------------------------------


def draw() -> None:
    """Four cuts of the first run, with the second-order expansion."""
    run = runs()[0]
    found = {c["epoch"]: c for c in run["result"]["cuts"]}
    titles = ["initial weights" if e == 0 else f"epoch {e}" for e in SHOWN]
    figure = make_subplots(2, 2, subplot_titles=titles, horizontal_spacing=0.1, vertical_spacing=0.14)
    for k, epoch in enumerate(SHOWN):
        cut, place = found[epoch], {"row": k // 2 + 1, "col": k % 2 + 1}
        lines = (("loss", cut["loss"], "solid"), ("second-order expansion", expansion(run, cut).tolist(), "dash"))
        for name, y, dash in lines:
            figure.add_scatter(
                x=run["result"]["offsets"], y=y, name=name, mode="lines", showlegend=k == 0, hovertemplate="%{y:.2f}",
                line={"dash": dash, "color": plots.METHODS["SGD" if dash == "solid" else "SAM"]}, **place,
            )  # fmt: skip
    figure.update_xaxes(title_text="offset", row=2)
    figure.update_yaxes(title_text="loss", col=1)
    caption = "Loss of LeNet5 along the Hessian's top eigenvector at four times, with its second-order expansion."
    figure.update_layout(height=520, legend={"orientation": "h", "y": -0.14}, meta={"caption": caption})
    figure.show()


def in_words() -> dict[str, str]:
    """Numbers of the chapter's prose."""
    ends = [(r, r["result"]["cuts"][-1]) for r in runs()]
    return {
        "cuts-early": span([explained(*c) for c in cuts(late=False)]),
        "cuts-late": span([explained(*c) for c in cuts(late=True)]),
        "cuts-steeper": span([steeper(*c) for c in ends], ".1f"),
        "cuts-near": span([100 * missed(*c, reach=0.05) for c in ends], ".0f"),
    }


# ---- the claims ------------------------------------------------------------------------------------------------------


def concluded(verdict: str, words: str) -> Finding:
    """The finding from all runs."""
    return Finding(verdict, words, scale(runs()), runs())


def quadratic() -> Finding:
    """The second-order expansion is right in each cut; in part if a parabola explains 95% of it once training has begun."""
    first, later = ([explained(*c) for c in cuts(late)] for late in (False, True))
    ends = [(r, r["result"]["cuts"][-1]) for r in runs()]
    bends, off = ([form(*c) for c in ends] for form in (steeper, lambda r, c: 100 * missed(r, c, reach=0.5)))
    words = (
        f"LeNet5 on 10,000 images of CIFAR-10, three seeds, {len(later)} cuts from the third epoch to the last: a parabola "
        f"explains {span(later)} of a cut's variance, of the initial weights' {span(first)}, of a corner |alpha| it would "
        "be 0.94. It is not the Hessian's: at "
        f"the end its second derivative is {span(bends, '.1f')} times the eigenvalue, and the second-order expansion is "
        f"off by {span(off, '.0f')}% of the loss's range."
    )
    right = all(missed(*c, reach=0.5) <= CLOSE for late in (False, True) for c in cuts(late))
    return concluded(graded(right, min(later) >= ENOUGH), words)


def fails_early() -> Finding:
    """At the initial weights the second-order expansion is wrong, for every seed; in part if for some."""
    off = [[100 * missed(r, r["result"]["cuts"][k], reach=0.5) for r in runs()] for k in (0, -1)]
    words = (
        "LeNet5 on 10,000 images of CIFAR-10, three seeds, offsets up to 0.5: at the initial weights the second-order "
        f"expansion is off by {span(off[0], '.0f')}% of the loss's range. It is not the early stages alone: at the end it "
        f"is off by {span(off[1], '.0f')}%."
    )
    wrong = [v > 100 * CLOSE for v in off[0]]
    return concluded(graded(all(wrong), any(wrong)), words)


CLAIMS = {
    "stable-sam/figure-2-quadratic-along-top-eigenvector": quadratic,
    "stable-sam/assumption-1-fails-early": fails_early,
}
