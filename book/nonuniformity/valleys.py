"""Figure 2 of the paper: where SGD, SAM and COV come to rest on the valley of a product of two weights; its verdicts."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from IPython.display import HTML
from torch import Tensor

from book.finding import RESULTS, Finding, of_all
from flatlab import plots
from flatlab.runs import records
from flatlab.stats.intervals import student

__all__ = ["CLAIMS", "detail_in_words", "draw", "found", "in_words", "table"]

Record = dict[str, Any]
T95 = 2.093
"""Of Student's distribution with 19 degrees of freedom: there are 20 data sets."""
SETTINGS = {"the paper's settings": ([0.1, -0.1], 0.3, 0.15), "θ* = (1, 1), start (3, 0.1)": ([1.0, 1.0], 0.3, 0.03)}
"""The weights that made the data, the paper's lambda, and a smaller one beside it."""


def found(folder: str | Path) -> dict[str, Record]:
    """The four records: both settings with the paper's lambda, and the same with a smaller one."""
    there = {}
    for title, (theta, lam, less) in SETTINGS.items():
        there[title] = records.only(folder, "factorization_valley", theta=theta, lam=lam)
        there[f"{title}, λ = {less:g}"] = records.only(folder, "factorization_valley", theta=theta, lam=less)
    return there


def draw(record: dict[str, Record]) -> None:
    """A row a setting: the runs on the first data set over its valley, and the mean norm over all."""
    figure, axes = plt.subplots(2, 2, figsize=(9, 7.6))
    for (left, right), (title, (_, _, less)) in zip(axes, SETTINGS.items(), strict=True):
        _paths(left, record[title])
        left.set(title=title)
        _norms(right, record[title])
        if max(record[title]["config"]["start"]) > 1:  # at the paper's lambda COV diverges there
            lighter = record[f"{title}, λ = {less:g}"]["result"]
            whole = next(torch.tensor(c["norm"]) for c in lighter["curves"] if c["method"] == "COV, whole")
            colour = plots.METHODS["COV, whole"]
            right.plot(lighter["steps"], whole.mean(0), color=colour, label=f"COV, whole, λ = {less:g}")
        right.legend(fontsize=9)
    plt.tight_layout()
    plt.show()


def table(record: dict[str, Record]) -> HTML:
    """Method by method, the norm at the end and how far from the valley a run stays."""
    rows = []
    for title, (_, lam, less) in SETTINGS.items():
        rows.append([f"<b>{title}</b>", "", f"least {_least(record[title]).mean():.4f}", "", ""])
        rows += _rows(record[title], ("SGD", "SAM", "COV", "COV, whole"), lam)
        rows += _rows(record[f"{title}, λ = {less:g}"], ("COV", "COV, whole"), less)
    return plots.table(["method", "λ", "‖w‖ at the end", "below", "off the valley"], rows)


def _valley(record: Record) -> Tensor:
    return torch.tensor(record["result"]["data"]["valley"])


def _least(record: Record) -> Tensor:
    """The least norm on each data set's valley."""
    return (2 * _valley(record).abs()).sqrt()


def _finite(record: Record) -> list[dict[str, Any]]:
    return [curve for curve in record["result"]["curves"] if curve["norm"][0][-1] is not None]


def _paths(panel: plt.Axes, record: Record) -> None:
    start = record["config"]["start"]
    reach = 1.2 * max(map(abs, start))
    arm = torch.linspace(reach / 400, reach, 400)
    for side in (1, -1):
        panel.plot(side * arm, _valley(record)[0] / (side * arm), color="0.75", linewidth=5, zorder=0)
    for curve in _finite(record):
        colour = plots.METHODS[curve["method"]]
        panel.plot(*torch.tensor(curve["path"]).T, color=colour, linewidth=1.2, label=curve["method"])
        panel.plot(*curve["path"][-1], "o", color=colour, markersize=6)
    least = 0 if max(start) > 1 else -reach
    panel.set(xlim=(least, reach), ylim=(least, reach), xlabel="w₁", ylabel="w₂", aspect="equal")


def _norms(panel: plt.Axes, record: Record) -> None:
    steps = record["result"]["steps"]
    for curve in _finite(record):
        colour, norms = plots.METHODS[curve["method"]], torch.tensor(curve["norm"])
        mean, half = norms.mean(0), T95 * norms.std(0) / len(norms) ** 0.5
        panel.plot(steps, mean, color=colour, label=curve["method"])
        panel.fill_between(steps, mean - half, mean + half, color=colour, alpha=0.2, linewidth=0)
    panel.axhline(_least(record).mean(), color="black", linestyle=":", linewidth=1.2)
    panel.set(xlabel="step", ylabel="‖w‖", ylim=(0, None))


def _rows(record: Record, names: tuple[str, ...], lam: float) -> list[list[str]]:
    valley, least, rows = _valley(record), _least(record), []
    for curve in record["result"]["curves"]:
        if (name := curve["method"]) not in names:
            continue
        rows.append([name, f"{lam:g}" if name.startswith("COV") else ""])
        if curve["norm"][0][-1] is None:
            rows[-1] += ["diverged", "", ""]
            continue
        norm, product = torch.tensor(curve["norm"]), torch.tensor(curve["product"])
        end, off = norm[:, -1], (product[:, 50:] - valley[:, None]).mean(1)
        rows[-1] += [
            f"{end.mean():.4f} ± {T95 * end.std() / 20**0.5:.4f}",
            f"{(end < least).sum()} of 20",
            f"{off.mean():+.4f} ± {T95 * off.std() / 20**0.5:.4f}",
        ]
    return rows


# ---- the claims ------------------------------------------------------------------------------------------------------

PAPER, CLEAR = SETTINGS
"""The settings' names."""


@functools.cache
def ours(title: str) -> Record:
    """One of our records."""
    return found(RESULTS)[title]


def curve(title: str, method: str, field: str) -> Tensor:
    """Norm or product of a method's runs, shape (data sets, marks); a mark is 100 steps, the middle of a run is 50."""
    (c,) = [c for c in ours(title)["result"]["curves"] if c["method"] == method]
    return torch.tensor(c[field], dtype=torch.float64)


def distance(title: str, method: str) -> Tensor:
    """How far the norm is from the least on the valley, of the same shape."""
    return (curve(title, method, "norm") - _least(ours(title)).double()[:, None]).abs()


def taken_off(title: str, method: str) -> tuple[float, float]:
    """What the second half of a run takes off that distance, and its 95% interval, in percent of the distance."""
    away = distance(title, method)
    whole = away[:, 50].mean().item()
    mean, half = student((away[:, 50] - away[:, -1]).tolist())
    return 100 * mean / whole, 100 * half / whole


def off_the_valley(title: str, method: str) -> tuple[float, float]:
    """Product less the valley's, mean of the second half, with its 95% interval, in percent of the valley's own."""
    valley = _valley(ours(title)).double()
    mean, half = student((curve(title, method, "product")[:, 50:] - valley[:, None]).mean(1).tolist())
    size = valley.abs().mean().item()
    return 100 * mean / size, 100 * half / size


def scatter(title: str, method: str) -> float:
    """Standard deviation of the product in the second half of a run, mean of the data sets, in percent of the valley's."""
    valley = _valley(ours(title)).double()
    return 100 * (curve(title, method, "product")[:, 50:].std(1).mean() / valley.abs().mean()).item()


def below_least(title: str, method: str) -> int:
    """In how many data sets a run ends with less than the least norm on the valley."""
    return int((curve(title, method, "norm")[:, -1] < _least(ours(title))).sum())


def end_share(method: str) -> float:
    """How far a run ends from the least norm where the signal is strong, in percent of it."""
    return 100 * (distance(CLEAR, method)[:, -1] / _least(ours(CLEAR))).mean().item()


def parts(values: dict[str, tuple[float, float]]) -> str:
    """Percentages and their intervals, method by method."""
    return ", ".join(f"{name} {mean:.0f} ± {half:.0f}%" for name, (mean, half) in values.items())


def in_words() -> dict[str, str]:
    """Numbers of the chapter's sentences."""
    ends = {(title, name): distance(title, name)[:, -1] for title in SETTINGS for name in ("SAM", "COV")}
    numbers = {
        "sam": f"{ends[PAPER, 'SAM'].mean():.3f}",
        "cov": f"{ends[PAPER, 'COV'].mean():.3f}",
        "clear-sam": f"{end_share('SAM'):.1f}",
        "clear-cov": f"{end_share('COV'):.1f}",
        "sam-closer": str(int((ends[CLEAR, "SAM"] < ends[CLEAR, "COV"]).sum())),
        "off": f"{abs(off_the_valley(CLEAR, 'COV')[0]):.1f}",
        "scatter": f"{scatter(CLEAR, 'SGD'):.0f}",
    }
    return {f"valley-{name}": text for name, text in numbers.items()}


def detail_in_words() -> dict[str, str]:
    """Numbers of the second page's sentences."""
    weak, clear = (f"{title}, λ = {SETTINGS[title][2]:g}" for title in (PAPER, CLEAR))
    numbers = {
        "gone": str(sum(product == 0 for product in ours(PAPER)["result"]["data"]["rest"]["COV"])),
        "whole-off": f"{abs(off_the_valley(clear, 'COV, whole')[0]):.0f}",
        "half-pull": str(below_least(weak, "COV")),
    }
    return {f"valley-{name}": text for name, text in numbers.items()}


def concluded(verdict: str, words: str, *titles: str) -> Finding:
    """The finding from the records of these settings."""
    used = [ours(title) for title in titles]
    c = used[0]["config"]
    return Finding(verdict, words, f"{c['seeds']} data sets of {c['n']:,} pairs, {c['steps']:,} steps", used)


def all_reach_the_valley() -> Finding:
    """At the paper's settings the product of each method is off by less than a fifth of the valley's, interval included."""
    off = {name: off_the_valley(PAPER, name) for name in ("SGD", "SAM", "COV")}
    words = (
        "At the paper's settings the product of the weights is, over the second half of a run, off the valley's by this "
        f"share of its size: {parts(off)}. COV ends below the least norm on the valley in {below_least(PAPER, 'COV')} of "
        f"{ours(PAPER)['config']['seeds']} data sets."
    )
    return concluded(of_all(abs(mean) + half < 20 for mean, half in off.values()), words, PAPER)


def sgd_stops() -> Finding:
    """The second half of a run takes less than a tenth off SGD's distance to the least norm, and less than a twentieth of
    the norm comes or goes after step 1,000, in both settings."""
    taken = {title: taken_off(title, "SGD") for title in (PAPER, CLEAR)}
    paper, clear = (curve(title, "SGD", "norm").mean(0) for title in taken)
    early = [(curve(PAPER, "SGD", "product") - _valley(ours(PAPER))[:, None])[:, k].abs().mean() for k in (10, 50)]
    shares = "{:.0f} ± {:.0f}% at the paper's settings, {:.1f} ± {:.1f}% with theta* = (1, 1)"
    words = (
        "The second half of a run takes this much off SGD's distance to the least norm: "
        f"{shares.format(*taken[PAPER], *taken[CLEAR])}. Meanwhile the norm goes from {paper[50]:.3f} to {paper[-1]:.3f}, "
        f"and from {clear[50]:.2f} to {clear[-1]:.2f}. At the paper's settings it is {paper[10]:.3f} in step 1,000, still "
        f"on the way: the product is then {early[0]:.4f} off the valley's, in the middle {early[1]:.4f}."
    )
    slow = [mean + half < 10 for mean, half in taken.values()]
    still = [abs(norm[-1] / norm[10] - 1) < 0.05 for norm in (paper, clear)]
    return concluded(of_all([*slow, *still]), words, PAPER, CLEAR)


def sam_and_cov_go_on() -> Finding:
    """At the paper's settings the second half takes something off both methods' distance for certain."""
    taken = {title: {name: taken_off(title, name) for name in ("SAM", "COV")} for title in (PAPER, CLEAR)}
    words = (
        "The second half of a run takes this much off the distance to the least norm: at the published code's settings "
        f"{parts(taken[PAPER])}, where COV goes past it in {below_least(PAPER, 'COV')} of "
        f"{ours(PAPER)['config']['seeds']} data sets; with theta* = (1, 1) and start (3, 0.1) {parts(taken[CLEAR])}. There "
        f"they end within {end_share('SAM'):.1f}% and {end_share('COV'):.1f}% of the least norm."
    )
    return concluded(of_all(mean > half for mean, half in taken[PAPER].values()), words, PAPER, CLEAR)


def cov_is_closest() -> Finding:
    """COV ends closer to the least norm than SAM for certain, over the same data sets, at the published code's settings and
    where the signal is strong; in part if at one of them."""
    ends = {title: [distance(title, name)[:, -1] for name in ("SAM", "COV")] for title in (PAPER, CLEAR)}
    ahead = {title: student((sam - cov).tolist()) for title, (sam, cov) in ends.items()}
    (sam, cov), (other_sam, other_cov) = ([end.mean().item() for end in both] for both in ends.values())
    closer = "COV is the closer one" if ahead[CLEAR][0] > ahead[CLEAR][1] else "COV is not closer for certain"
    words = (
        f"At the published code's settings (inputs of deviation 2; the caption has 1) SAM ends {sam:.3f} from the least "
        f"norm and COV {cov:.3f}, past it in {below_least(PAPER, 'COV')} of {ours(PAPER)['config']['seeds']} data sets; it "
        f"is {-ahead[PAPER][0]:.3f} ± {ahead[PAPER][1]:.3f} farther. With theta* = (1, 1) {closer}, {other_cov:.3f} "
        f"against {other_sam:.3f}."
    )
    return concluded(of_all(mean > half for mean, half in ahead.values()), words, PAPER, CLEAR)


CLAIMS = {
    "nonuniformity/figure-2-connected-region": all_reach_the_valley,
    "nonuniformity/figure-2-sgd-stops": sgd_stops,
    "nonuniformity/figure-2-sam-cov-continue": sam_and_cov_go_on,
    "nonuniformity/figure-2-cov-closest": cov_is_closest,
}
