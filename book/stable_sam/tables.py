"""The chapter's tables of twins."""

from __future__ import annotations

from collections.abc import Callable

from book.stable_sam import twins
from book.stable_sam.twins import METHODS, SETTINGS, Pair

NETWORKS = {"fcn": ("FCN", "MNIST"), "lenet5": ("LeNet", "CIFAR-10")}
FIGURES = {"constant": "constant rate (Figure 5)", "decay": "weight decay (Figure 6)", "cosine": "cosine (Figure 7)"}


def over_seeds(found: list[Pair], what: Callable[[Pair], float], form: str) -> str:
    """The least and the largest, or the only one."""
    values = [what(pair) for pair in found]
    return "–".join(format(v, form) for v in sorted({min(values), max(values)}))


def of_setting(runs: list[dict], setting: str, **config) -> list[Pair]:
    """Those of the records that have these settings."""
    asked = SETTINGS[setting] | config
    return [Pair(r) for r in runs if all(r["config"].get(k) == v for k, v in asked.items())]


def print_ends() -> None:
    """Distance, gaps and their correlation of all pairs in the end."""
    runs = twins.pairs()
    print("after 60 epochs seeds  distance     gener. error accuracy gap   correlation")
    for network, (label, data) in NETWORKS.items():
        for setting, figure in FIGURES.items():
            print(f"{label} on {data}, {figure}")
            for method, name in METHODS.items():
                found = of_setting(runs, setting, network=network, method=method)
                ends = f"{over_seeds(found, twins.apart, '.3f'):13}{over_seeds(found, twins.error, '.3f'):13}"
                ends += f"{over_seeds(found, twins.accuracy_gap, '.2%'):15}"
                print(f"  {name:14}{len(found):5}  {ends}{over_seeds(found, lambda pair: pair.tandem, '.2f')}")


def print_controls() -> None:
    """How SGD's twins part where an example differs, where a weight was nudged, and where nothing differs."""
    kinds = {"example differs": (twins.pairs(), {}), "nudged by 1e-6": (twins.controls(), {"nudge": twins.NUDGE})}
    kinds["identical"] = (twins.controls(), {"nudge": None})
    print(f"{'distance of SGD’s twins after epoch':37}      0      1      5     10     60")
    for network, (label, _) in NETWORKS.items():
        for setting, figure in FIGURES.items():
            for name, (runs, more) in kinds.items():
                for pair in of_setting(runs, setting, network=network, method="plain", seed=1, **more):
                    shown = [f"{pair.distances[epoch]:7.2g}" for epoch in (0, 1, 5, 10, 60)]
                    print(f"{label}, {figure.split(' (')[0]}, {name}".ljust(37), *shown, sep="")
