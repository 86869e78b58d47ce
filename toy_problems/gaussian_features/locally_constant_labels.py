"""Explorable of feature robustness with labels held and with true labels."""

import traitlets

from flatlab.explorable import Explorable, Number

__all__ = ["LocallyConstantLabels"]


class LocallyConstantLabels(Explorable):
    """Four Gaussians in feature space, a linear classifier, and how its loss rises when features are perturbed.

    `separation` of the centres lies in `[0.25, 8]`, `delta`, the perturbation as a share of a feature's length, in
    `[0, 1]`; `sample`, 1 to 50, numbers the draw of 120 features. `classes` is `rectangle` or `crossed`, `loss` is
    `squared` or `logistic`. Setting one outside its range raises `traitlets.TraitError`.

    >>> LocallyConstantLabels(delta=2)
    Traceback (most recent call last):
        ...
    traitlets.traitlets.TraitError: LocallyConstantLabels.delta must lie between 0.0 and 1.0, got 2.0
    """

    caption = "Features of four Gaussians and how a classifier’s loss rises with labels held and with true labels."

    classes = traitlets.Enum(["rectangle", "crossed"], "rectangle").tag(sync=True)
    loss = traitlets.Enum(["squared", "logistic"], "squared").tag(sync=True)
    separation = Number(4.0, 0.25, 8.0)
    delta = Number(0.2, 0.0, 1.0)
    sample = traitlets.Int(1, min=1, max=50).tag(sync=True)
