"""Figures 3 and 4: the records of the toy with features first, and the chapter's pictures and tables of them."""

from __future__ import annotations

import functools
from typing import Any

import matplotlib.pyplot as plt
import torch
from IPython.display import HTML
from torch import Tensor

from book.finding import RESULTS, span
from flatlab import plots
from flatlab.runs import records
from toy_problems.gaussian_features.flatness_and_gap import correlation

COLOURS = {"rectangle": "#0072b2", "crossed": "#cc79a7", "halved": "#d97c0c", "drawn": "#009e73", "published": "#7f7f7f"}
"""Of the generators of data sets."""
MARKS = {"rectangle": "o", "crossed": "^", "halved": "s", "drawn": "D", "published": "v"}
PANELS = (("squared", 0.002), ("logistic", 0.002), ("logistic", 1e-5))
"""Loss and penalty of each panel of Figure 3."""


@functools.cache
def record(experiment: str) -> dict[str, Any]:
    """The record of Figure 3, `flatness_and_gap`, or of Figure 4, `representativeness`."""
    return records.only(RESULTS, experiment)


def curves(**wanted: Any) -> list[dict[str, Any]]:
    """The curves of Figure 3 with these settings."""
    found = record("flatness_and_gap")["result"]["curves"]
    return [c for c in found if all(c[k] == v for k, v in wanted.items())]


def rising(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those whose intervals at the ends do not overlap, the last above the first."""
    return [c for c in found if c["low"][-1] > c["high"][0]]


def falling(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those whose last interval lies below the first."""
    return [c for c in found if c["high"][-1] < c["low"][0]]


def shown(generator: str) -> list[dict[str, Any]]:
    """The curves of a generator in Figure 3, by panel."""
    found = [curves(generator=generator, m=10, loss=loss, penalty=penalty) for loss, penalty in PANELS]
    return [c for (c,) in found]


def draw_figure_3() -> None:
    """Correlation of kappa and the gap against the separation of the classes, for five generators."""
    separations = record("flatness_and_gap")["config"]["separations"]
    figure, axes = plt.subplots(1, 3, figsize=(10.4, 4.2), sharey=True)
    for place, (ax, (loss, penalty)) in enumerate(zip(axes, PANELS, strict=True)):
        for name, colour in COLOURS.items():
            c = shown(name)[place]
            ax.fill_between(separations, c["low"], c["high"], color=colour, alpha=0.15, linewidth=0)
            ax.plot(separations, c["pearson"], color=colour, marker=MARKS[name], markersize=4, label=name)
            if c["limit"][0] is not None:
                ax.plot(separations, c["limit"], color=colour, linestyle=":", linewidth=1.2)
        ax.axhline(0, color="0.5", linewidth=0.8)
        ax.set(xlabel="class separation", title=f"{loss} loss, penalty {penalty:g}", ylim=(-1.02, 1.05))
        ax.title.set_fontsize(11)
    axes[0].set_ylabel("correlation of κ and the gap")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=5, fontsize=9)
    plt.tight_layout(rect=(0, 0.08, 1, 1))
    plt.show()


def in_words() -> dict[str, str]:
    """How many curves rise and fall, of all, of those with labels that the theory asks for and of new distributions; where
    they begin and end.
    """
    drawn, numbers = curves(generator="drawn"), {}
    for name, some in {"all": curves(), "halved": curves(generator="halved"), "drawn": drawn}.items():
        numbers |= {name: str(len(some)), f"{name}-rise": str(len(rising(some))), f"{name}-fall": str(len(falling(some)))}
    own = [*drawn, *curves(generator="published")]
    changes = [sd / mean for c in own for sd, mean in zip(c["kappa_sd"], c["kappa"], strict=True)]
    numbers |= {
        "rectangle-close": f"{min(c['pearson'][0] for c in curves(generator='rectangle')):.2f}",
        "crossed-least": f"{min(v for c in curves(generator='crossed') for v in c['pearson']):.2f}",
        "halved-level": span(shown("halved")[0]["pearson"]),
        "drawn-begin": span([c["pearson"][0] for c in shown("drawn")], ".1f"),
        "drawn-close": span(c["pearson"][0] for c in drawn),
        "drawn-negative": str(sum(c["pearson"][-1] < 0 for c in drawn)),
        "rise-begin": " and ".join(f"{c['pearson'][0]:.2f}" for c in rising(curves())),
        "rise-end": " and ".join(f"{c['pearson'][-1]:.2f}" for c in rising(curves())),
        "rise-foretold": f"{max(v for c in rising(curves()) for v in c['limit']):.2f}",
        "kappa-change": span(changes),
    }
    return {f"rf-curves-{name}": text.replace("-", "−") for name, text in numbers.items()}


def table_of_figure_3() -> HTML:
    """How many curves rise and fall."""
    rows = []
    for name in (*COLOURS, "all"):
        some = curves() if name == "all" else curves(generator=name)
        up, down = len(rising(some)), len(falling(some))
        rows.append([name, f"{up}", f"{down}", f"{len(some) - up - down}"])
    return plots.table(["correlation at separation 6 against 0.25", "rises", "falls", "unclear"], rows)


def studied(m: int, separation: float, delta: float) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """Gap, estimated representativeness, kappa's term and robustness with true labels of each data set, and the worst
    case."""
    r = record("representativeness")
    (p,) = [p for p in r["result"]["points"] if (p["m"], p["separation"]) == (m, separation)]
    k = r["config"]["deltas"].index(delta)
    gap, split, true, kappa = (
        torch.tensor(values, dtype=torch.float64) for values in (p["gap"], p["split"][k], p["true"][k], p["kappa"])
    )
    return gap, split, delta**2 / (2 * m) * kappa, true, p["distance"][k] * p["most"]


def draw_figure_4() -> None:
    """The approximate bound and the gap against the separation."""
    at = record("representativeness")["config"]["separations"]
    _, axes = plt.subplots(1, 2, figsize=(9.4, 3.9), sharey=True)
    for ax, m in zip(axes, (2, 10), strict=True):
        columns = [studied(m, s, 0.1) for s in at]
        gaps = torch.stack([c[0] for c in columns]).sort(1).values
        n, band = gaps.shape[1], {"color": "0.5", "alpha": 0.25, "linewidth": 0, "label": "gap, 95% of the data sets"}
        ax.fill_between(at, gaps[:, n // 40], gaps[:, -1 - n // 40], **band)
        ax.plot(at, gaps.mean(1), color="0.4", linestyle="-.", label="gap, mean")
        bound, term = [(c[1] + c[2]).mean() for c in columns], [c[2].mean() for c in columns]
        ax.plot(at, bound, color="#0072b2", marker="o", markersize=4, label="the paper’s bound")
        ax.plot(at, term, color="#009e73", linestyle=":", label="its flatness term")
        ax.set(xlabel="class separation", title=f"m = {m}, δ = 0.1")
    axes[0].set_ylim(top=0.067)
    axes[0].legend(fontsize=8, loc="upper right")
    plt.tight_layout()
    plt.show()


def table_of_figure_4() -> HTML:
    """How often the bound holds, how tight it is, and what it has to do with the gap."""
    config, rows = record("representativeness")["config"], []
    for m in (2, 10):
        for delta in config["deltas"]:
            own = [studied(m, s, delta) for s in config["separations"]]
            inside = torch.cat([gap <= split + held for gap, split, held, *_ in own]).double().mean()
            ratio = torch.cat([(split + held) / gap.abs() for gap, split, held, *_ in own]).median()
            ties = (
                sum(correlation(r[0], pick(r)) for r in own) / len(own)
                for pick in (lambda r: r[1] + r[2], lambda r: r[2], lambda r: r[3])
            )
            known, guessed = (torch.cat(part).abs().mean() for part in ([r[0] - r[3] for r in own], [r[1] for r in own]))
            sizes = (f"{known:.3f}", f"{guessed:.3f}", f"{sum(r[4] for r in own) / len(own):.2f}")
            told = (f"{tie:.2f}".replace("-", "−") for tie in ties)
            rows.append([f"{m}", f"{delta}", f"{inside:.0%}", f"{ratio:.1f}", *told, *sizes])
    head = ["m", "δ", "holds", "bound / gap", "with the bound", "with κ’s term", "with true labels"]
    head += ["E_Rep known", "E_Rep by splits", "worst case"]
    return plots.table(head, rows)
