"""The direction each method descends along, as its paper's algorithm reads, on flat vectors.

Every rule maps weights `w`, shape `(..., d)`, and a gradient function `grad`, `(..., d) -> (..., d)`, to a direction
of shape `(..., d)`; the step is `w - lr * direction`. Leading dimensions are a batch: ten thousand starting points of
a toy, an ensemble `(S, d)` of networks, or nothing at all. A hyperparameter such as `rho` is a number or a tensor
that broadcasts against `w`, shape `(..., 1)`, so that every row may have its own.

A zero vector has no direction: `unit(0) = 0`. So where the plain gradient is zero, `sam`, `usam`, `asam`, their stable
forms and `sam_gcm` return zero, too. `m_sam` (whose parts have gradients of their own), `csam` (by what it remembers)
and `lsam` (at other points of the ball) need not.

`m_sam` and `sam_gcm` look at parts of the batch: `micro_gradients` and `Landscape.per_sample_grads` give them these.
`csam` has a memory, which it takes and returns. Each is written in the file of its method, `flatlab.methods`.
"""

from typing import TYPE_CHECKING, Any

from flatlab.methods import METHODS
from flatlab.methods.gd import gd
from flatlab.methods.lsam import ball
from flatlab.methods.m_sam import micro_gradients
from flatlab.methods.vectors import Gradient, non_negative, norm, stepped, unit

_RULES = {method.rule.__name__: method.rule for method in METHODS.values()}
globals().update(_RULES)
if TYPE_CHECKING:  # what a checker cannot see

    def __getattr__(name: str) -> Any: ...


__all__ = ["Gradient", "ball", "gd", "micro_gradients", "non_negative", "norm", "stepped", "unit", *_RULES]
__all__.sort()
