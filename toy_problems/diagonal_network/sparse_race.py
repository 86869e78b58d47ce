"""Explorable of sparse regression by a diagonal network."""

import traitlets

from flatlab.explorable import Explorable, Number

__all__ = ["SparseRace"]


class SparseRace(Explorable):
    """SGD, SAM and SAMGCM race on one problem of sparse regression: coefficients, losses and l1 norm, as they come.

    `features`, `samples` (a multiple of the batch of 10) and `nonzeros` make the problem, `seed` draws it; `init` is the
    standard deviation of both factors at the start; `rho` is SAM's radius, `gcm_rho` and `damping` are SAMGCM's. The
    learning rate is 0.05, the noise on the labels 0.2, and 400 epochs are run. Setting one outside its range raises
    `traitlets.TraitError`.

    >>> SparseRace(rho=0.5).rho
    0.5
    >>> SparseRace(damping=0)
    Traceback (most recent call last):
        ...
    traitlets.traitlets.TraitError: SparseRace.damping must lie between 1e-08 and 0.01, got 0.0
    >>> SparseRace(samples=25)
    Traceback (most recent call last):
        ...
    traitlets.traitlets.TraitError: SparseRace.samples must be a multiple of 10, got 25
    """

    caption = "Coefficients that SGD, SAM and SAMGCM recover over the true ones, with test loss, training loss and l1 norm."

    features = traitlets.Int(150, min=20, max=300).tag(sync=True)
    samples = traitlets.Int(100, min=20, max=200).tag(sync=True)
    nonzeros = traitlets.Int(3, min=1, max=20).tag(sync=True)
    init = Number(0.2, 0.01, 1.0)
    rho = Number(0.3, 0.0, 0.8)
    gcm_rho = Number(5e-4, 1e-5, 0.05)
    damping = Number(1e-6, 1e-8, 1e-2)
    seed = traitlets.Int(1, min=1, max=50).tag(sync=True)

    @traitlets.validate("samples")
    def _whole_batches(self, proposal):
        if proposal["value"] % 10:
            raise traitlets.TraitError(f"SparseRace.samples must be a multiple of 10, got {proposal['value']}")
        return proposal["value"]
