"""Explorable of the two minima that look equally flat."""

import traitlets

from flatlab.explorable import Explorable, Number

__all__ = ["EscapeSwarm"]


class EscapeSwarm(Explorable):
    """Five hundred runs of a method on `(f1 + f2) / 2`, `f_i = min(x^2, c_i (x - 1)^2)`, from beside the minimum at 1.

    `method` is the optimizer, `lr` its learning rate, `distance` that of the start from 1, `rho` SAM's radius, `steps` the
    length of the runs, `seed` that of the draws. Setting one outside its range raises `traitlets.TraitError`.

    >>> EscapeSwarm(lr=0.54).lr
    0.54
    >>> EscapeSwarm(lr=2)
    Traceback (most recent call last):
        ...
    traitlets.traitlets.TraitError: EscapeSwarm.lr must lie between 0.2 and 0.98, got 2.0
    """

    caption = "Two minima of equal curvature, a swarm of runs on them, and the share that has left one against theory."

    method = traitlets.Enum(["SGD", "Momentum", "Nesterov", "SAM", "SAM as published", "GD"], "SGD").tag(sync=True)
    lr = Number(0.6, 0.2, 0.98)
    distance = Number(1e-4, 1e-6, 0.3)
    rho = Number(0.01, 0.0, 0.1)
    steps = traitlets.Int(200, min=20, max=600).tag(sync=True)
    seed = traitlets.Int(1, min=1, max=9999).tag(sync=True)
