"""Figure 5 at one glance: how well each measure follows the gap, as found and with layers rescaled."""

from __future__ import annotations

import matplotlib.pyplot as plt

from book.relative_flatness.tables import AXES, STUDIES
from flatlab.stats.predictors import predictors

LINES = (*AXES, "−margin", "training loss", "random")
"""From top to bottom: the paper's measures, and what a sceptic asks for."""
NAMES = {"κ": "relative flatness κ", "Tr H": "trace Tr H", "Fisher-Rao": "Fisher–Rao norm", "‖w‖": "norm of the weights"}
NAMES |= {"−margin": "normalized margin, sign turned", "random": "a random number"}
TITLES = {"digits": "perceptron, digits", "LeNet5": "LeNet5, CIFAR-10"}


def draw() -> None:
    """Spearman's correlation of each measure with the gap of the loss, its interval, and the same with layers rescaled."""
    figure, axes = plt.subplots(1, 2, figsize=(9.4, 4), sharey=True)
    for ax, (study, minima) in zip(axes, STUDIES.items(), strict=True):
        found = predictors(minima(), samples=1000)
        for place, name in enumerate(LINES):
            c, after = found[name].spearman, found[name].rescaled_spearman.value
            colour = "#009e73" if name == "κ" else "#0072b2" if name in AXES else "0.5"
            whiskers = [[c.value - c.low], [c.high - c.value]]
            ax.errorbar(c.value, place, xerr=whiskers, fmt="o", color=colour, capsize=3, linewidth=1.5)
            if abs(after - c.value) > 1e-3:
                ax.plot(after, place, "D", color=colour, markerfacecolor="white", markersize=6)
        ax.axvline(0, color="0.5", linewidth=0.8)
        ax.axhline(len(AXES) - 0.5, color="0.5", linewidth=0.8, linestyle=":")
        ax.set(xlim=(-1, 1), xticks=(-0.5, 0, 0.5), xlabel="Spearman’s correlation with the gap", title=TITLES[study])
        ax.title.set_fontsize(11)
    axes[0].set_yticks(range(len(LINES)), [NAMES.get(name, name) for name in LINES])
    axes[0].invert_yaxis()
    plt.tight_layout()
    plt.show()
