"""The chapter's figures and tables of sparse regression."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from IPython.display import HTML
from plotly.subplots import make_subplots

from book.nonuniformity.sparse import CODE, CONTROL, GCM, GRID, SAM, SGD, TEXT, WHOLE, Record, curve, record, spread
from flatlab import plots
from toy_problems.diagonal_network import implicit_regularizer


def ninths(r: Record, which: tuple, field: str) -> tuple[list[float], list[float], list[float]]:
    """Second, median and ninth of a quantity over the problems, at every mark."""
    return tuple(v.tolist() for v in spread(curve(r, *which, *([None] * (2 - len(which))), 1e-6)[field]))


def draw_balance() -> None:
    """Where the implicit regularizer is level, and the balance alpha over training."""
    _, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.9))
    side = torch.linspace(-1.25, 1.25, 301, dtype=torch.float64)
    plane = torch.stack(torch.meshgrid(side, side, indexing="xy"), -1)
    corner = torch.tensor([1.0, 0.0], dtype=torch.float64)
    for alpha, shade in ((1e-9, 0.05), (0.02, 0.3), (0.15, 0.5), (0.4, 0.7), (3.0, 0.95)):
        q = implicit_regularizer(plane, alpha) / implicit_regularizer(corner, alpha)
        left.contour(side, side, q, levels=[1.0], colors=[plt.cm.viridis(shade)], linewidths=2)
        left.plot([], [], color=plt.cm.viridis(shade), label=f"α = {alpha:g}")
    left.set(aspect="equal", xlabel="$θ_1$", ylabel="$θ_2$", title="Where $Q_α(θ) = Q_α(1, 0)$")
    left.legend(loc="center", fontsize=9)
    epochs = record(CODE)["result"]["epochs"]
    for which, label in ((SGD, "SGD"), (SAM, "SAM, ρ = 0.3"), (GCM, "SAMGCM, ρ = 0.0005")):
        low, middle, high = (torch.tensor(v).clamp(min=1e-6) for v in ninths(record(CODE), which, "alpha"))
        right.fill_between(epochs, low, high, color=plots.METHODS[which[0]], alpha=0.2, linewidth=0)
        right.plot(epochs, middle, color=plots.METHODS[which[0]], label=label)
    right.set(yscale="log", xlabel="epoch", title="Balance α, mean over the coordinates", ylim=(1e-6, 0.3))
    right.legend(loc="lower left", fontsize=9)
    plt.tight_layout()
    plt.show()


def draw_figure_4() -> None:
    """Test loss, training loss and l1 norm of the three methods and of the control."""
    figure = make_subplots(1, 3, subplot_titles=("test loss", "training loss", "ℓ₁ norm"))
    epochs = record(CODE)["result"]["epochs"]
    for which in (SGD, SAM, CONTROL, GCM):
        method, control = which[0], which == CONTROL
        label = method if which == SGD else f"{method}, ρ = {which[1]:g}" + (" (control)" if control else "")
        colour = plots.METHODS[method]
        rgb = ", ".join(str(int(colour[k : k + 2], 16)) for k in (1, 3, 5))
        for column, field in ((1, "test"), (2, "train"), (3, "l1")):
            low, middle, high = ninths(record(CODE), which, field)
            if not control:
                figure.add_scatter(
                    x=epochs + epochs[::-1], y=high + low[::-1], fill="toself", fillcolor=f"rgba({rgb}, 0.18)",
                    line={"width": 0}, hoverinfo="skip", showlegend=False, row=1, col=column,
                )  # fmt: skip
            figure.add_scatter(
                x=epochs, y=middle, name=label, line={"color": colour, "dash": "dot" if control else "solid"},
                hovertemplate="epoch %{x}: %{y:.3g}", showlegend=column == 1, row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(title_text="epoch", title_standoff=6)  # stacked on a phone it would lie on the next title
    for column in (1, 2):
        figure.update_yaxes(type="log", dtick=1, exponentformat="power", col=column)
    caption = "Test loss, training loss and l1 norm of SGD, SAM and SAMGCM over 400 epochs."
    figure.update_layout(height=400, legend={"orientation": "h", "y": -0.25}, meta={"caption": caption})
    figure.show()


def ends(values: dict[str, torch.Tensor]) -> list[str]:
    """A row of a table: test loss, norm, lost runs and the ascent in the first epoch and in the last ones."""
    low, middle, high = (v[-1].item() for v in spread(values["test"]))
    lost = int((~torch.isfinite(values["test"][-1])).sum())
    at = (("l1", -1), ("ascent", 1), ("ascent", -1))
    l1, first, last = (spread(values[k][mark])[1].item() for k, mark in at)
    if lost >= 5:
        return ["–", "–", str(lost), f"{first:.2f}"]
    return [f"{middle:.4f} [{low:.4f}, {high:.4f}]", f"{l1:.2f}", str(lost), f"{first:.2f} to {last:.2f}"]


ENDS = ["test loss: median [2nd, 9th]", "ℓ₁ norm", "lost", "ascent"]


def table_figure_4() -> HTML:
    """The ends of both readings, with the radii of the text as well."""
    rows = []
    for name, r in (("code", record(CODE)), ("text", record(TEXT))):
        for which in (SGD, SAM, CONTROL, GCM, ("SAM", 0.1), ("SAMGCM", 0.005)):
            values = curve(r, *which, *([None] * (2 - len(which))), 1e-6)
            rows.append([name, which[0], "" if which == SGD else f"{which[1]:g}", *ends(values)])
    return plots.table(["update", "method", "radius", *ENDS], rows)


def draw_equal_radii() -> None:
    """Test loss against the radius that a method begins with, in both readings."""
    _, axes = plt.subplots(1, 2, figsize=(9.4, 3.7), sharey=True)
    for ax, config, title in zip(axes, (CODE, TEXT), ("v after u (the code)", "both at once (the text)"), strict=True):
        for method in ("SAM", "SAMGCM", "matched"):
            draw_radii(ax, record(config), method)
        sgd = spread(curve(record(config), "SGD")["test"])[1][-1]
        ax.axhline(sgd, color=plots.METHODS["SGD"], linestyle=":", label="SGD")
        ax.set(yscale="log", xlabel="radius at the start: ρ, or ρ/√δ", title=title, ylim=(3e-4, 2))
    axes[0].set_ylabel("test loss after 400 epochs")
    axes[0].legend(loc="lower left", fontsize=9)
    plt.tight_layout()
    plt.show()


def draw_radii(ax, r: Record, method: str) -> None:
    """One method's line and band, or the diamonds of the matched length."""
    radius = lambda c: c["rho"] / math.sqrt(c.get("damping", 1.0))  # noqa: E731
    own = [c for c in r["result"]["curves"] if c["method"] == method and radius(c) <= 1.1]
    found = sorted((radius(c), c["rho"], c.get("damping")) for c in own)
    ends = [(x, *(v[-1].item() for v in spread(curve(r, method, rho, damping)["test"]))) for x, rho, damping in found]
    x, low, middle, high = zip(*(row for row in ends if math.isfinite(row[2])), strict=True)
    colour = plots.METHODS.get(method, plots.METHODS["SAM"])
    if method == "matched":
        ax.plot(x, middle, "D", color=colour, label="SAM, SAMGCM’s length", markersize=8, markerfacecolor="none")
        return
    ax.plot(x, middle, "o-", color=colour, label=method, markersize=5, markerfacecolor=colour)
    ax.fill_between(x, low, [min(v, 10) for v in high], color=colour, alpha=0.18, linewidth=0)


def draw_damping() -> None:
    """Test loss of SAMGCM over its radii and dampings."""
    grid = record(GRID)
    rhos, dampings = grid["config"]["gcm_rhos"], grid["config"]["dampings"]
    last = lambda *which: spread(curve(grid, *which)["test"])[1][-1].item()  # noqa: E731
    final = torch.tensor([[last("SAMGCM", rho, damping) for rho in rhos] for damping in dampings])
    figure, ax = plt.subplots(figsize=(7.6, 4.3))
    ax.set_facecolor("0.35")
    shade = torch.where(torch.isfinite(final), final, math.nan).log10()
    x, y = _edges(rhos), _edges(dampings)
    image = ax.pcolormesh(x, y, shade, cmap="viridis_r", vmin=-3, vmax=0)
    for k, d in enumerate(dampings):
        for j, rho in enumerate(rhos):
            value = final[k, j].item()
            shown, colour = f"{value:.1g}" if math.isfinite(value) else "✕", "white" if value > 0.03 else "black"
            ax.text(rho, d, shown, ha="center", va="center", fontsize=8, color=colour)
    line = torch.tensor([1e-5, 1.0], dtype=torch.float64)
    for radius, style in ((0.5, "-"), (0.05, "--")):
        ax.plot(line, (line / radius) ** 2, style, color=plots.METHODS["SAMGCM"], label=f"ρ/√δ = {radius}")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="SAMGCM’s ρ",
        ylabel="damping δ",
        xlim=x[:: len(rhos)],
        ylim=y[:: len(dampings)],
    )
    ax.grid(False)
    ax.legend(loc="lower right", framealpha=0.9, frameon=True)
    figure.colorbar(image, label="log₁₀ of the test loss")
    plt.show()


def _edges(v: Sequence[float]) -> list[float]:
    """Of the cells around these places, for a logarithmic axis: halfway between neighbours in their logarithms."""
    return [v[0] ** 1.5 / v[1] ** 0.5, *(math.sqrt(a * b) for a, b in itertools.pairwise(v)), v[-1] ** 1.5 / v[-2] ** 0.5]


def table_full_batch() -> HTML:
    """The ends without minibatches."""
    rows = []
    for c in record(WHOLE)["result"]["curves"]:
        values = curve(record(WHOLE), c["method"], c.get("rho"), c.get("damping"))
        options = " ".join(f"{sign} {c[k]:g}" for sign, k in (("ρ", "rho"), ("δ", "damping")) if k in c)
        rows.append([c["method"], options, *ends(values)])
    return plots.table(["method", "settings", *ENDS], rows)
