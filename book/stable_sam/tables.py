"""The chapter's tables of twins."""

from __future__ import annotations

from collections.abc import Callable

from IPython.display import HTML

from book.stable_sam import twins
from book.stable_sam.twins import METHODS, NUDGE, SETTINGS, Pair
from flatlab import plots

NETWORKS = {"fcn": "FCN, MNIST", "lenet5": "LeNet, CIFAR-10"}
FIGURES = {"constant": "constant rate", "decay": "weight decay", "cosine": "cosine"}
KINDS = {"one example differs": {"identical": False}, "one weight nudged": {"identical": True, "nudge": NUDGE}}
KINDS["identical"] = {"identical": True, "nudge": None}
EPOCHS = (0, 1, 5, 10, 60)


def over_seeds(found: list[Pair], what: Callable[[Pair], float], form: str) -> str:
    """The least and the largest, or the only one."""
    values = [what(pair) for pair in found]
    return "–".join(dict.fromkeys(format(v, form) for v in (min(values), max(values))))


def percent_gap(pair: Pair) -> float:
    """The accuracy gap in points."""
    return 100 * twins.accuracy_gap(pair)


def of_setting(runs: list[dict], setting: str, **config) -> list[Pair]:
    """Those of the records that have these settings."""
    asked = SETTINGS[setting] | config
    return [Pair(r) for r in runs if all(r["config"].get(k) == v for k, v in asked.items())]


def ends(*settings: str) -> HTML:
    """Distance, gaps and their correlation in the end, of all pairs of these settings."""
    columns = ((twins.apart, ".3f"), (twins.error, ".3f"), (percent_gap, ".2f"), (lambda pair: pair.tandem, ".2f"))
    several, rows = len(settings) > 1, []
    for network, where in NETWORKS.items():
        for setting in settings:
            for method, name in METHODS.items():
                found = of_setting(twins.pairs(), setting, network=network, method=method)
                numbers = [over_seeds(found, what, form) for what, form in columns]
                rows.append([where.split(",")[0], *([FIGURES[setting]] if several else []), name, *numbers])
    head = ["network", *(["setting"] if several else []), "method", "distance", "generalization<br>error"]
    return plots.table([*head, "accuracy<br>gap, %", "correlation"], rows)


def controls() -> HTML:
    """How SGD's twins part where an example differs, where a weight was nudged, and where nothing differs."""
    rows = []
    for network, where in NETWORKS.items():
        for setting, figure in FIGURES.items():
            for name, config in KINDS.items():
                runs = twins.controls() if config["identical"] else twins.pairs()
                for pair in of_setting(runs, setting, network=network, method="plain", seed=1, **config):
                    rows.append([f"{where}, {figure}", name, *(f"{pair.distances[epoch]:.2g}" for epoch in EPOCHS)])
    return plots.table(["SGD", "twins", *(f"epoch {epoch}" for epoch in EPOCHS)], rows, summary="The numbers")


def nudged() -> HTML:
    """How far a nudge and another example have parted the twins of SAM and of StableSAM after two epochs."""
    rows = []
    for network, where in NETWORKS.items():
        for method in twins.NUDGED:
            pairs = twins.nudged(network, method)
            both = list(pairs.values()), [twins.twins(network, method, seed) for seed in pairs]
            distances = [over_seeds(found, lambda pair: pair.distances[twins.SHORT], ".3f") for found in both]
            ratios = twins.amplified(network, method)
            rows.append([where, METHODS[method], *distances, f"{min(ratios):.2f}–{max(ratios):.2f}"])
    return plots.table(["network", "method", "one weight nudged", "one example differs", "ratio"], rows)
