"""Explorable of the StableSAM paper's Table 1."""

import traitlets

from flatlab.explorable import Explorable, Number

__all__ = ["RiskBound"]


class RiskBound(Explorable):
    """Bound on the expected excess risk, and largest learning rate, of SGD, SAM and StableSAM (Tan et al., Table 1).

    For losses that are `mu`-strongly convex, `L`-smooth and `G`-Lipschitz and `n` samples; `rho` is SAM's radius, `C` the
    constant of Assumption 1, `gamma0 <= gamma1` those of Assumption 2. Setting one outside its range raises
    `traitlets.TraitError`.
    """

    caption = "Bounds on the expected excess risk against the learning rate, and each method's largest learning rate."

    mu = Number(0.1, 0.01, 10.0)
    L = Number(10.0, 0.01, 100.0)
    G = Number(1.0, 0.1, 100.0)
    rho = Number(0.05, 0.0, 0.5)
    C = Number(2.0, 1.01, 10.0)
    gamma0 = Number(0.5, 0.05, 0.99)
    gamma1 = Number(0.8, 0.05, 0.99)
    n = traitlets.Int(50_000, min=100, max=1_000_000).tag(sync=True)
