"""Where a measure is taken: a landscape, and one point of it."""

from __future__ import annotations

from torch import Tensor

from flatlab.landscape import Landscape

__all__ = ["point"]


def point(landscape: Landscape, w: Tensor) -> Tensor:
    """`w`, detached, as `landscape.point` has it. Raises `TypeError` for a model in place of a landscape, or a `w` that is
    no tensor, and what `landscape.point` raises.

    >>> point([1.0], None)
    Traceback (most recent call last):
    TypeError: a measure takes a landscape, got a list: make one by Landscape.of(model, loss_fn, (x, y))
    """
    if not isinstance(landscape, Landscape):
        kind = type(landscape).__name__
        raise TypeError(f"a measure takes a landscape, got a {kind}: make one by Landscape.of(model, loss_fn, (x, y))")
    if not isinstance(w, Tensor):
        raise TypeError(f"w must be one flat tensor, such as landscape.w0, got a {type(w).__name__}")
    return landscape.point(w)
