"""The chapter's figures and tables of recorded runs: gradients, trainings, planes, and the paper's own table."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import torch
from IPython.display import HTML, display
from plotly.subplots import make_subplots

from book.lsam import analysis, rates
from book.lsam.analysis import CEILING
from book.lsam.said import COLUMNS, over, steadier
from book.lsam.trainings import DRAWS, LARGE_RADII, RADII, Record, difference, fluctuations, lenet, mean_of
from flatlab import plots
from flatlab.stats.intervals import student
from toy_problems.one_dimensional import CURVES, Rough, Valley

FONT = {"family": "sans-serif", "size": 12}
"""Of a surface, whose text WebGL draws: it cannot inherit the page's."""


def draw_bias() -> HTML:
    """Bias of the average against the radius, on curves of different smoothness; its slopes as a table."""
    radii = torch.logspace(-3, -0.7, 30, dtype=torch.float64)
    at = lambda x: torch.tensor([x], dtype=torch.float64)  # noqa: E731
    cases = {
        "two wells, at 0.6": (CURVES["wells"], 0.6, 2), "|w|, at 0": (Valley(), 0.0, 1),
        "rough, α = 0.5": (Rough(0.5, terms=40), -2.0, 0.5), "rough, α = 0.3": (Rough(0.3, terms=40), -2.0, 0.3),
        "step, at its foot": (CURVES["step"], 0.0, 0),
    }  # fmt: skip
    _, axes = plt.subplots()
    rows = []
    for name, (curve, x, expected) in cases.items():
        bias = torch.stack([(curve.average(at(x), r) - curve.loss(at(x))).abs() for r in radii.tolist()])
        few = radii < 0.05
        x_, y_ = radii[few].log(), bias[few].log()
        slope = ((x_ - x_.mean()) * (y_ - y_.mean())).sum() / (x_ - x_.mean()).square().sum()
        axes.loglog(radii, bias, label=name)
        rows.append([name, f"{slope:.2f}", f"{expected}"])
    axes.set(xlabel="radius ρ", ylabel="|average − loss|")
    axes.legend(fontsize=9)
    plt.show()
    return plots.table(["curve", "slope measured", "expected"], rows)


def draw_changes() -> None:
    """How far LSAM and SAM move the gradient of ResNet-20, against the radius."""
    states = analysis.states()
    titles = [f"after {s['step']} steps" for s in states]
    figure = make_subplots(1, 2, subplot_titles=titles, shared_yaxes=True)
    for column, state in enumerate(states, 1):
        rhos, noise = [b["rho"] for b in state["balls"]], state["noise"]
        rows = {"SAM": [b["sam_change"] for b in state["balls"]]}
        rows |= {f"LSAM, k = {k}": [b["change"][str(k)] for b in state["balls"]] for k in (1, 16)}
        for name, values in rows.items():
            figure.add_scatter(
                x=rhos, y=[v / noise for v in values], row=1, col=column, mode="lines+markers", name=name,
                line={"color": plots.METHODS[name.split(",")[0]], "dash": "dot" if "16" in name else "solid"},
                hovertemplate="ρ = %{x}: %{y:.3g}", showlegend=column == 1,
            )  # fmt: skip
        figure.add_hline(y=1, line={"color": "grey", "width": 1, "dash": "dash"}, row=1, col=column)
        figure.add_vrect(x0=0.01, x1=0.15, fillcolor="grey", opacity=0.15, line_width=0, row=1, col=column)
    figure.update_xaxes(type="log", dtick=1, title_text="radius ρ", title_standoff=6)
    figure.update_yaxes(type="log", dtick=1)
    figure.update_yaxes(title_text="change / another minibatch’s", row=1, col=1)
    caption = "Change of the gradient by LSAM and by SAM against the radius, in units of minibatch noise."
    figure.update_layout(height=430, legend={"orientation": "h", "y": -0.2}, meta={"caption": caption})
    figure.show()


def against(cell: dict[int, Record], score: str, scale: float = 1.0) -> str:
    """Mean over seeds and 95% interval of the differences to SGD, seed by seed."""
    mean, half = difference(cell, score)
    return f"{scale * mean:+.2f} ± {scale * half:.2f}"


def show_trainings() -> list[Record]:
    """All cells of LeNet5 against SGD; returns the records."""
    sgd = lenet("plain")
    rows = [("SAM, ρ = 0.05", lenet("SAM"))]
    rows += [(f"LSAM, ρ = {rho:g}, k = 1", lenet("LSAM", rho=rho, k=1)) for rho in RADII + LARGE_RADII]
    rows += [(f"LSAM, ρ = 0.05, k = {k}", lenet("LSAM", rho=0.05, k=k)) for k in DRAWS[1:]]
    accuracy, half = student([100 * r["result"]["final"]["accuracy"] for r in sgd.values()])
    loss, loss_half = student([r["result"]["final"]["loss"] for r in sgd.values()])
    ends = [f"{accuracy:.2f} ± {half:.2f} %", f"{loss:.3f} ± {loss_half:.3f}", "", f"{mean_of(fluctuations(sgd)):.2f}"]
    told = [[f"SGD itself, {len(sgd)} seeds", *ends]]
    for name, cell in rows:
        scores = [against(cell, "accuracy", 100), against(cell, "loss"), against(cell, "train_loss")]
        told.append([name, *scores, f"{mean_of(fluctuations(cell)):.2f}"])
    display(plots.table(["", "accuracy, points", "test loss", "training loss", "up and down"], told))
    return [r for cell in (sgd, *(cell for _, cell in rows)) for r in cell.values()]


def draw_rates() -> list[Record]:
    """LeNet5 over learning rates and weight decays, SGD and LSAM at both radii; returns the records."""
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.05)
    used = []
    for nudge, (rho, dash) in enumerate(((None, "solid"), (rates.SMALL, "dash"), (rates.LARGE, "dot"))):
        method, name = ("SGD", "SGD") if rho is None else ("LSAM", f"LSAM, ρ = {rho:g}")
        for column, grid in ((1, rates.rates(rho)), (2, rates.decays(rho))):
            used += [r for runs in grid.values() for r in runs.values()]
            ends = [student([100 * rates.accuracy(r) for r in runs.values()]) for runs in grid.values()]
            figure.add_scatter(
                x=[k + 0.08 * (nudge - 1) for k in range(len(grid))], y=[mean for mean, _ in ends], row=1, col=column,
                error_y={"array": [half for _, half in ends], "thickness": 1}, mode="lines+markers", name=name,
                line={"color": plots.METHODS[method], "dash": dash}, showlegend=column == 1, customdata=list(grid),
                hovertemplate=name + " at %{customdata:g}: %{y:.1f} ± %{error_y.array:.1f}<extra></extra>",
            )  # fmt: skip
            figure.update_xaxes(tickvals=list(range(len(grid))), ticktext=[f"{v:g}" for v in grid], row=1, col=column)
    figure.update_xaxes(title_text="learning rate", row=1, col=1)
    figure.update_xaxes(title_text="weight decay", row=1, col=2)
    figure.update_yaxes(title_text="test accuracy (%)", row=1, col=1)
    caption = "Test accuracy of LeNet5 by SGD and LSAM over learning rates and weight decays."
    figure.update_layout(height=380, legend={"orientation": "h", "y": -0.25}, meta={"caption": caption})
    figure.show()
    return list({r["key"]: r for r in used}.values())


def name_of(c: dict[str, Any]) -> str:
    """A run's method and radius."""
    return "SGD" if c["method"] == "plain" else f"{c['method']}, ρ = {c['rho']:g}"


def draw_planes(planes: list[Record]) -> None:
    """The training loss around the solutions: contours side by side, and surfaces to turn."""
    places, names = planes[0]["result"]["places"], [name_of(r["config"]) for r in planes]
    cut = lambda v: CEILING if v is None else min(v, CEILING)  # noqa: E731
    heights = [[[cut(v) for v in row] for row in r["result"]["plane"]["train"]] for r in planes]
    bar = {"title": "loss", "thickness": 12}
    colours = {"coloraxis": {"colorscale": "Viridis", "cmin": 0, "cmax": CEILING, "colorbar": bar}}
    shared = {"shared_xaxes": "all", "shared_yaxes": "all", "vertical_spacing": 0.08, "horizontal_spacing": 0.05}
    flat = make_subplots(2, 2, subplot_titles=names, **shared)
    for k, z in enumerate(heights):
        flat.add_contour(
            x=places, y=places, z=z, row=k // 2 + 1, col=k % 2 + 1, coloraxis="coloraxis", name="", line={"width": 1},
            contours={"start": 0, "end": CEILING, "size": 0.25}, hovertemplate="loss %{z:.2f}",
        )  # fmt: skip
    flat.update_xaxes(constrain="domain")
    flat.update_yaxes(constrain="domain")
    flat.update_yaxes(scaleanchor="x3", row=2, col=1)  # one anchor: with one in each panel the columns differ in width
    caption = "Contours of the training loss around the solutions of four runs."
    flat.update_layout(height=560, **colours, meta={"caption": caption})
    flat.show()
    hills = make_subplots(specs=[[{"type": "surface"}]])
    for k, z in enumerate(heights):
        seen = {"visible": k == 0, "hovertemplate": "loss %{z:.2f}"}
        hills.add_surface(x=places, y=places, z=z, coloraxis="coloraxis", name="", **seen)
    visible = [["visible", [other == name for other in names]] for name in names]
    buttons = [{"label": name, "method": "restyle", "args": args} for name, args in zip(names, visible, strict=True)]
    hills.update_layout(
        height=430, **colours, updatemenus=[{"type": "dropdown", "x": 0, "xanchor": "left", "y": 1.12, "buttons": buttons}],
        scene={"zaxis": {"range": [0, CEILING], "title": {"text": "loss", "font": FONT}, "tickfont": FONT},
               "xaxis": {"title": "", "tickfont": FONT}, "yaxis": {"title": "", "tickfont": FONT}, "dragmode": "turntable",
               "camera": {"eye": {"x": 1.4, "y": 1.4, "z": 0.8}}},
        meta={"caption": "Surface of the training loss around the solution of one of four runs."},
    )  # fmt: skip
    hills.show()


def table_of_planes(planes: list[Record]) -> HTML:
    """The loss in the middle, and its mean over the edges of two squares around it."""
    rows = [[name_of(r["config"]), *(f"{height:.3f}" for height in analysis.surface(r))] for r in planes]
    return plots.table(["", "in the middle", "at 0.25", "at 0.5"], rows)


def show_text_against_table() -> None:
    """What the paper's text says of its Table 1, and what the table says."""
    rows = [
        ("ResNet-20, CIFAR-10", "+1.6 over SAM", ("SAM", "SAM*"), 0), ("ResNet-20, CIFAR-100", "+11.07", ("SGD", "SAM"), 5),
        ("ResNet-56, CIFAR-100", "+6.11", ("SGD", "SAM"), 6), ("PyramidNet, CIFAR-10", "not below", ("SAM", "SAM*"), 4),
    ]  # fmt: skip
    told = []
    for name, text, others, column in rows:
        told.append([name, text, ", ".join(f"{other} {over(other, column):+.2f}" for other in others)])
    display(plots.table(["", "the text: LSAM is", "the table: LSAM over"], told))
    smaller = []
    for column in range(10):
        if better := steadier(column):
            smaller.append([COLUMNS[column % 5], "CIFAR-100" if column >= 5 else "CIFAR-10", ", ".join(better)])
    display(plots.table(["network", "data", "a smaller deviation than LSAM’s has"], smaller))
