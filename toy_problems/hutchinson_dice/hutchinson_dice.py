"""Explorable of random probes of a matrix."""

import traitlets

from flatlab.explorable import Explorable, Number

__all__ = ["HutchinsonDice"]


class HutchinsonDice(Explorable):
    """Signs and Gaussian vectors thrown at a symmetric matrix H of three rows, and what they say of its trace.

    `xx, xy, xz, yy, yz, zz` are the entries of H, in `[-4, 4]`; `quantity` is what is estimated, `square` for `tr(H^2)` by
    `||H v||^2` or `trace` for `tr(H)` by `v^T H v`; `seed` that of the throws. Setting one outside its range raises
    `traitlets.TraitError`.

    >>> HutchinsonDice(xy=5.0)
    Traceback (most recent call last):
        ...
    traitlets.traitlets.TraitError: HutchinsonDice.xy must lie between -4.0 and 4.0, got 5.0
    """

    caption = "A symmetric matrix, random signs and Gaussian vectors thrown at it, and the running means of what they say."

    xx = Number(1.0, -4.0, 4.0)
    xy = Number(3.0, -4.0, 4.0)
    xz = Number(0.0, -4.0, 4.0)
    yy = Number(1.0, -4.0, 4.0)
    yz = Number(0.0, -4.0, 4.0)
    zz = Number(1.0, -4.0, 4.0)
    quantity = traitlets.Enum(["square", "trace"], "square").tag(sync=True)
    seed = traitlets.Int(1, min=1, max=9999).tag(sync=True)
