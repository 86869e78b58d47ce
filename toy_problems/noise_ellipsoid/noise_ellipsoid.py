"""Explorable of the noise ellipsoid in the plane."""

from flatlab.explorable import Explorable, Number

__all__ = ["NoiseEllipsoid"]


class NoiseEllipsoid(Explorable):
    """Where SAM's disc and SAMGCM's ellipse have their worst point, on a bowl with noisy gradients that you shape.

    `x, y` is the point, in `[-2, 2]^2`; `rho` the radius of SAM's disc, whose area the ellipses share; `damping` is added
    to the covariance of the single gradients, whose standard deviations are `along` the direction at `angle` degrees
    and `across` it. Setting one outside its range raises `traitlets.TraitError`.

    >>> NoiseEllipsoid(angle=200)
    Traceback (most recent call last):
        ...
    traitlets.traitlets.TraitError: NoiseEllipsoid.angle must lie between 0.0 and 180.0, got 200.0
    """

    caption = "A point on a bowl, SAM's disc and SAMGCM's ellipse around it, and where in each the loss rises most."

    x = Number(-0.9, -2.0, 2.0)
    y = Number(0.5, -2.0, 2.0)
    rho = Number(0.4, 0.0, 0.8)
    damping = Number(0.01, 0.001, 10.0)
    along = Number(1.6, 0.0, 2.0)
    across = Number(0.3, 0.0, 2.0)
    angle = Number(85.0, 0.0, 180.0)
