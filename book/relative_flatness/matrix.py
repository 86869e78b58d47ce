"""The scatter matrix of minima: the paper's measures and the gap, as found and with rescaled layers."""

from __future__ import annotations

import plotly.graph_objects as go

from book.relative_flatness.minima import Record
from book.relative_flatness.tables import AXES, SHORT, name_of
from flatlab import plots
from flatlab.stats.predictors import MEASURES, columns, gaps

BATCH = {16: "#009e73", 32: "#0072b2", 64: "#cc79a7", 128: "#8a8a8a", 256: "#d55e00"}
PLACES = [list(MEASURES).index(name) for name in AXES]
CAPTION = "Scatter matrix of relative flatness, trace, PAC-Bayes measure, Fisher-Rao norm, norm of the weights and the gap."


def hovered(r: Record, here: list[float], there: list[float]) -> str:
    """What is told of a minimum, as found and rescaled."""
    scores = r["result"]["scores"]
    values = (f"{name} {a:.3g}, rescaled {b:.3g}" for name, a, b in zip(AXES, here, there, strict=True))
    return "<br>".join([name_of(r), f"gap {scores['loss_gap']:.3f}, of the accuracy {scores['accuracy_gap']:.1%}", *values])


def add_kind(figure: go.Figure, own: list[Record], here: list[list[float]], there: list[list[float]]) -> None:
    """The minima of one optimizer and batch; `here` and `there` are their values by measure, as found and rescaled."""
    base, batch = own[0]["config"]["base"], own[0]["config"]["batch"]
    names = [SHORT.get(name, name) for name in AXES]
    dimensions = [{"label": n, "values": v, "axis": {"type": "log"}} for n, v in zip(names, here, strict=True)]
    text = [hovered(*of) for of in zip(own, zip(*here, strict=True), zip(*there, strict=True), strict=True)]
    marker = {"color": BATCH.get(batch, "grey"), "symbol": "circle" if base == "SGD" else "diamond"}
    figure.add_splom(
        dimensions=[*dimensions, {"label": "gap", "values": gaps(own).tolist()}], name=f"{base}, {batch}",
        text=text, hovertemplate="%{text}<extra></extra>", diagonal={"visible": False}, showupperhalf=False,
        unselected={"marker": {"opacity": 0.12}}, marker=marker | {"size": 6, "opacity": 0.85},
    )  # fmt: skip


def draw(minima: list[Record]) -> None:
    """Show the matrix, and where its minima come from."""
    figure, values = go.Figure(), {False: [], True: []}  # by state: of each trace, by measure
    kinds = {(r["config"]["base"], r["config"]["batch"]) for r in minima}
    for base, batch in sorted(kinds, key=lambda kind: (kind[0] != "SGD", kind[1])):
        own = [r for r in minima if (r["config"]["base"], r["config"]["batch"]) == (base, batch)]
        for rescaled in values:
            values[rescaled].append(columns(own, rescaled)[:, PLACES].T.tolist())
        add_kind(figure, own, values[False][-1], values[True][-1])
    states = {label: [{f"dimensions[{k}].values": [v[k] for v in values[rescaled]] for k in range(len(AXES))}]
              for label, rescaled in (("as found", False), ("rescaled", True))}  # fmt: skip
    buttons = [{"label": label, "method": "restyle", "args": args} for label, args in states.items()]
    axis = {"tickfont": {"size": 9}, "tickangle": 0, "exponentformat": "SI"}
    sides = {f"{side}axis{k}": axis | {"nticks": n} for side, n in (("x", 2), ("y", 3)) for k in range(1, 7)}
    buttons.append({"label": "select all", "method": "update", "args": [{"selectedpoints": [None]}, {"selections": []}]})
    menu = {"type": "buttons", "direction": "right", "buttons": buttons}
    menu |= {"x": 1, "y": 1, "xanchor": "right", "yanchor": "top"}
    figure.update_layout(
        sides, height=580, dragmode="select", margin={"l": 48, "r": 6, "t": 8, "b": 44}, meta={"caption": CAPTION},
        legend={"x": 1, "y": 0.92, "xanchor": "right", "font": {"size": 11}, "itemsizing": "constant"}, updatemenus=[menu],
    )  # fmt: skip
    figure.show()
    plots.provenance(*minima)
