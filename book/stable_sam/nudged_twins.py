"""The figure of SGD's twins: one example differs, one weight was nudged, nothing differs."""

from __future__ import annotations

import matplotlib.pyplot as plt

from book.stable_sam import twins
from book.stable_sam.tables import FIGURES, KINDS, NETWORKS, of_setting
from flatlab import plots

PANELS = [("fcn", "constant"), ("fcn", "decay"), ("fcn", "cosine"), ("lenet5", "constant")]
"""Those of which there are nudged twins."""
LOOKS = {"one example differs": "-", "one weight nudged": ":", "identical": "--"}
LEAST = 1e-8
"""Below it the axis is straight, so that 0 is on it."""


def draw() -> None:
    """The distance over the epochs, a panel a network and setting."""
    figure, axes = plt.subplots(2, 2, figsize=(7.6, 5.6), sharex=True, sharey=True)
    for axis, (network, setting) in zip(axes.flat, PANELS, strict=True):
        for name, config in KINDS.items():
            runs = twins.controls() if config["identical"] else twins.pairs()
            for pair in of_setting(runs, setting, network=network, method="plain", seed=1, **config):
                width = 3.4 if name == "one weight nudged" else 1.6
                colour = "0.45" if name == "one weight nudged" else plots.METHODS["SGD"]
                axis.plot(pair.distances, LOOKS[name], color=colour, linewidth=width, label=name)
        axis.set_yscale("symlog", linthresh=LEAST, linscale=0.5)
        axis.set_xscale("symlog", linthresh=1, linscale=0.6)
        axis.set_xticks([0, 1, 5, 10, 60], [0, 1, 5, 10, 60])
        axis.set_xticks([], minor=True)
        axis.set(ylim=(-LEAST / 4, 3), yticks=[0, 1e-8, 1e-6, 1e-4, 1e-2, 1])
        axis.set_title(f"{NETWORKS[network]}, {FIGURES[setting]}", fontsize=10)
    axes[0, 0].legend(loc="center right", fontsize=9)
    figure.supxlabel("epoch", fontsize=10)
    figure.supylabel("distance of the twins", fontsize=10)
    figure.tight_layout()
    plt.show()
