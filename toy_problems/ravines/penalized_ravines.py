"""Explorable of FA-regularization on a sharp and a flat valley."""

import traitlets

from flatlab.explorable import Explorable, Number

__all__ = ["PenalizedRavines"]


class PenalizedRavines(Explorable):
    """Descent on `L + lam / batch * tr(H^2)` and on `L` alone, where `L` has a sharp and a flat valley.

    `x, y` is the start, in `[-2, 2]^2`; `lam` the weight of the penalty and `batch` the batch size that divides it. Setting
    one outside its range raises `traitlets.TraitError`.

    >>> PenalizedRavines(lam=0.01).lam
    0.01
    """

    caption = "Level lines of a loss with a penalty on its curvature, where every start ends, and two runs from a start."

    lam = Number(0.1, 1e-4, 10.0)
    batch = traitlets.Int(128, min=1, max=256).tag(sync=True)
    x = Number(-1.7, -2.0, 2.0)
    y = Number(1.3, -2.0, 2.0)
