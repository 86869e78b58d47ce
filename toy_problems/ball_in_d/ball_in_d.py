"""Explorable of the uniform distribution on a ball of many dimensions."""

import traitlets

from flatlab.explorable import Explorable, Number

__all__ = ["BallInD"]


class BallInD(Explorable):
    """How long draws from a ball of radius `rho` in `d` dimensions and their coordinates are, and how far a gradient moves.

    The loss is a quadratic with curvature `curvature` along `stiff` directions and 0 along the others; `k` is the number of
    draws that LSAM averages. Setting one outside its range raises `traitlets.TraitError`.

    >>> BallInD(d=272474).d
    272474
    """

    caption = "Lengths of draws from a ball and of their coordinates by dimension, and how far averaging moves a gradient."

    d = traitlets.Int(2, min=1, max=1_000_000).tag(sync=True)
    rho = Number(0.05, 0.01, 1.0)
    k = traitlets.Int(1, min=1, max=16).tag(sync=True)
    stiff = traitlets.Int(10, min=1, max=1000).tag(sync=True)
    curvature = Number(10.0, 0.1, 1000.0)
