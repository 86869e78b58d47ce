"""Which measure of a minimum predicts its generalization gap: records of minima as columns, and their correlations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flatlab.stats.correlation import cluster_bootstrap, kendall_within, partial_spearman, pearson, spearman

__all__ = ["GAPS", "LEAST", "MEASURES", "SETTINGS", "Interval", "Predictor"]
__all__ += ["columns", "gaps", "predictors", "set_up", "within"]

Record = dict[str, Any]

MEASURES: dict[str, Callable[[dict[str, Any]], float]] = {
    "κ": lambda m: m["relative_flatness"],
    "κ, Theorem 4": lambda m: m["relative_flatness_normalized"],
    "Tr H": lambda m: m["trace"]["value"],
    "Tr H, last layer": lambda m: m["last_layer_trace"],
    "PAC-Bayes 1/σ²": lambda m: m["pac_bayes"]["value"],
    "PAC-Bayes ‖w‖²/σ²": lambda m: m["pac_bayes"]["value"] * m["weight_norm"] ** 2,
    "Fisher-Rao": lambda m: m["fisher_rao"],
    "‖w‖": lambda m: m["weight_norm"],
    "‖w‖, last layer": lambda m: m["last_layer_norm"],
    "−margin": lambda m: -m["margin_tenth"] / m["norm_product"],
    "training loss": lambda m: m["whole_train_loss"],
    "random": lambda m: m["random"],
}
"""What may predict a gap, read off the `measures` or the `rescaled` of a `Minimum`, its scores and its random number.

The margin is the 10% quantile of the margins over the product of the layers' norms. Its sign is turned: all but the
training loss and the random number are meant to grow with the gap.
"""
SETTINGS = ("base", "lr", "batch", "weight_decay", "seed")
"""What the minima of one study differ in."""
GAPS = ("loss_gap", "accuracy_gap")
LEAST = 8
"""Set-ups below which nothing is said of correlations."""


class Interval(NamedTuple):
    """A number and the ends of its 95% interval."""

    value: float
    low: float
    high: float


class Predictor(NamedTuple):
    """How well a measure predicts the gap over minima, each number with its interval over resampled set-ups."""

    pearson: Interval
    spearman: Interval
    given_loss: Interval
    """Spearman's correlation once the training loss is accounted for."""
    behind_pearson: Interval
    behind_spearman: Interval
    """What relative flatness has more of the correlation."""
    rescaled_pearson: Interval
    rescaled_spearman: Interval
    """The correlation of the measures after the layers were rescaled."""
    lost_pearson: Interval
    lost_spearman: Interval
    """How much of the correlation's size the rescaling takes."""


def columns(minima: Sequence[Record], rescaled: bool = False) -> NDArray:
    """All of `MEASURES` at all minima, as found or with their layers rescaled; shape `(minima, measures)`."""
    which = "rescaled" if rescaled else "measures"
    known = [r["result"][which] | r["result"]["scores"] | {"random": r["result"]["random"]} for r in minima]
    return np.array([[read(m) for read in MEASURES.values()] for m in known], dtype=float).reshape(-1, len(MEASURES))


def gaps(minima: Sequence[Record], gap: str = "loss_gap") -> NDArray:
    """The gap of each, of the loss (test less training) or of the accuracy (training less test); shape `(minima,)`."""
    if gap not in GAPS:
        raise ValueError(f"gap must be one of {', '.join(GAPS)}, got {gap!r}")
    return np.array([r["result"]["scores"][gap] for r in minima], dtype=float)


def set_up(minimum: Record) -> tuple:
    """The settings of a minimum but for its seed.

    >>> set_up({"config": {"base": "SGD", "lr": 0.1, "batch": 32, "weight_decay": 0.0, "seed": 1}})
    ('SGD', 0.1, 32, 0.0)
    """
    return tuple(minimum["config"][name] for name in SETTINGS if name != "seed")


def predictors(minima: Sequence[Record], gap: str = "loss_gap", **how: Any) -> dict[str, Predictor]:
    """Each measure's correlations with the gap, with 95% intervals from a bootstrap over set-ups, by its name.

    Minima of one set-up from other seeds are not independent, so that set-ups are drawn. `how` goes to `cluster_bootstrap`:
    `samples`, `seed`. Raises `ValueError` for fewer than `LEAST` set-ups.
    """
    clusters = [set_up(r) for r in minima]
    if len(set(clusters)) < LEAST:
        raise ValueError(f"correlations need minima of at least {LEAST} set-ups, got {len(set(clusters))}")
    names = list(MEASURES)
    both, y = np.hstack([columns(minima), columns(minima, rescaled=True)]), gaps(minima, gap)
    loss, first = names.index("training loss"), names.index("κ")

    def coefficients(rows: NDArray) -> NDArray:
        x, z = both[rows], y[rows]
        here, there = np.split(np.stack([pearson(x, z), spearman(x, z)]), 2, axis=1)
        given = partial_spearman(x[:, : len(names)], z, x[:, loss])[None]
        return np.concatenate([here, given, here[:, [first]] - here, there, abs(here) - abs(there)])

    value, (low, high) = coefficients(np.arange(len(y))), cluster_bootstrap(coefficients, clusters, **how)
    numbers = np.stack([value, low, high], -1).tolist()
    return {name: Predictor(*(Interval(*row[k]) for row in numbers)) for k, name in enumerate(names)}


def within(minima: Sequence[Record], *varies: str, gap: str = "loss_gap") -> tuple[dict[str, float], int]:
    """Kendall's tau of each measure with the gap over pairs of minima that differ in no setting but `varies`; their number.

    A setting is one of `SETTINGS`. `within(minima, "seed")` compares minima of one set-up; with all but the learning rate,
    those of one learning rate. Where there is no such pair, it is nan. Raises `ValueError` for an unknown setting.
    """
    unknown = set(varies) - set(SETTINGS)
    if unknown:
        raise ValueError(f"settings are {', '.join(SETTINGS)}, got {', '.join(sorted(unknown))}")
    held = [name for name in SETTINGS if name not in varies]
    tau, pairs = kendall_within(columns(minima), gaps(minima, gap), [tuple(r["config"][h] for h in held) for r in minima])
    return dict(zip(MEASURES, map(float, tau), strict=True)), pairs
