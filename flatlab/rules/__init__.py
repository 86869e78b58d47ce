"""The direction each method descends along, as its paper's algorithm reads, on flat vectors.

Every rule maps weights `w`, shape `(..., d)`, and a gradient function `grad`, `(..., d) -> (..., d)`, to a direction
of shape `(..., d)`; the step is `w - lr * direction`. Leading dimensions are a batch: ten thousand starting points of
a toy, an ensemble `(S, d)` of networks, or nothing at all. A hyperparameter such as `rho` is a number or a tensor
that broadcasts against `w`, shape `(..., 1)`, so that every row may have its own.

A zero vector has no direction: `unit(0) = 0`, so at a critical point every rule returns zero where the plain gradient
does (`lsam` averages over a ball, and there only its mean does).

`m_sam` and `sam_gcm` look at parts of the batch: `micro_gradients` and `Landscape.per_sample_grads` give them these.
`csam` has a memory, which it takes and returns.
"""

from flatlab.rules.ascent import asam, gd, sam, stable_asam, stable_sam, usam
from flatlab.rules.averaged import ball, lsam, m_sam, micro_gradients
from flatlab.rules.nonuniformity import csam, sam_gcm
from flatlab.rules.vectors import Gradient, non_negative, norm, stepped, unit

__all__ = [
    "Gradient",
    "asam",
    "ball",
    "csam",
    "gd",
    "lsam",
    "m_sam",
    "micro_gradients",
    "non_negative",
    "norm",
    "sam",
    "sam_gcm",
    "stable_asam",
    "stable_sam",
    "stepped",
    "unit",
    "usam",
]
