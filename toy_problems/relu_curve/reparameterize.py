"""Explorable of rescaled ReLU networks."""

import traitlets

from flatlab.explorable import Explorable, Number

__all__ = ["Reparameterize"]


class Reparameterize(Explorable):
    """A trained ReLU network of one input, its layers and neurons rescaled, and what measures of flatness make of it.

    `alpha` multiplies the hidden layer and divides the last one, `beta` does so to one `neuron`, 1 to 6; both lie in
    `[0.1, 10]`. `network` is `alive` or `dead`, one with two dead neurons. `normalize` is how relative flatness is drawn:
    `plain`, or with features divided by their `sd` (standard deviation) or `variance`. Setting one outside its range
    raises `traitlets.TraitError`.

    >>> Reparameterize(alpha=3).alpha
    3.0
    """

    caption = "A ReLU network that does not change while its layers are rescaled, and measures of flatness that do."

    network = traitlets.Enum(["alive", "dead"], "alive").tag(sync=True)
    alpha = Number(1.0, 0.1, 10.0)
    neuron = traitlets.Int(2, min=1, max=6).tag(sync=True)
    beta = Number(1.0, 0.1, 10.0)
    normalize = traitlets.Enum(["plain", "sd", "variance"], "plain").tag(sync=True)
