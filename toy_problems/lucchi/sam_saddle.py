"""Explorable of Lucchi's saddle."""

import traitlets

from flatlab.explorable import Explorable, Number

__all__ = ["SamSaddle"]


class SamSaddle(Explorable):
    """GD, SAM and StableSAM from one start on `x^4/4 - x y + y^2/2`, and where every start of the square ends.

    `lr` and `rho` are the learning rate and the radius of the ascent step; `steps` the length of the runs; `radius` the
    distance from a minimum that counts as having reached it; `method` the one whose basin map is shown; `x, y` the start,
    in `[-2, 2]^2`. Setting one outside its range raises `traitlets.TraitError`.

    >>> SamSaddle(lr=0.2).lr
    0.2
    >>> SamSaddle(rho=-1)
    Traceback (most recent call last):
        ...
    traitlets.traitlets.TraitError: SamSaddle.rho must lie between 0.0 and 0.5, got -1.0
    """

    caption = "Contours of f with the runs of GD, SAM and StableSAM from a start that you drag, over their basin map."

    lr = Number(0.1, 0.001, 0.3)
    rho = Number(0.2, 0.0, 0.5)
    steps = traitlets.Int(300, min=10, max=1000).tag(sync=True)
    radius = Number(0.1, 0.01, 0.5)
    method = traitlets.Enum(["GD", "SAM", "StableSAM"], "SAM").tag(sync=True)
    x = Number(-0.6, -2.0, 2.0)
    y = Number(1.6, -2.0, 2.0)
