"""Explorable of the valley of one number factored into two."""

import traitlets

from flatlab.explorable import Explorable, Number

__all__ = ["FactorizationValley"]


class FactorizationValley(Explorable):
    """SGD, SAM and COV from one start on `mean (w1 w2 x - y)^2 / 2`, whose minima are a hyperbola.

    `data` is made with `w1 w2 = 1` ("clear") or `-0.01` ("paper"); `x, y` is the start, in half-widths of the plane, 3.5
    and 0.3; `lr` the learning rate, `batch` the minibatch size, `steps` the length of the runs, `rho` SAM's radius,
    `lam` the weight of COV's penalty `Tr C`, with or without the minibatch's `factor`, `seed` that of data and draws.
    Setting one outside its range raises `traitlets.TraitError`.

    >>> FactorizationValley(lam=0.1).lam
    0.1
    """

    caption = "The valley of minima with the runs of SGD, SAM and COV from a start that you drag, and their norms."

    data = traitlets.Enum(["clear", "paper"], "clear").tag(sync=True)
    x = Number(0.857, -1.0, 1.0)
    y = Number(0.029, -1.0, 1.0)
    lr = Number(0.01, 0.001, 0.05)
    rho = Number(0.05, 0.0, 0.2)
    lam = Number(0.3, 0.0, 1.0)
    factor = traitlets.Enum(["with", "without"], "with").tag(sync=True)
    batch = traitlets.Int(100, min=1, max=500).tag(sync=True)
    steps = traitlets.Int(10_000, min=100, max=10_000).tag(sync=True)
    seed = traitlets.Int(1, min=1, max=9999).tag(sync=True)
