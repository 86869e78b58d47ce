"""The precision that a measure runs in: that of the weights, whatever is around it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from flatlab.landscape import Landscape

__all__ = ["without_autocast"]

P, R = ParamSpec("P"), TypeVar("R")


def without_autocast(measure: Callable[P, R]) -> Callable[P, R]:
    """`measure`, with autocast off: in half precision a small perturbation, or a difference, is lost in rounding.

    >>> with torch.autocast("cpu", dtype=torch.bfloat16):
    ...     without_autocast(lambda landscape, w: w @ w)(None, torch.tensor([1.001]))
    tensor(1.0020)
    """

    @functools.wraps(measure)
    def measured(landscape: Landscape, w: Tensor, *args: Any, **options: Any) -> Any:
        kind = w.device.type if isinstance(w, Tensor) else "cpu"  # what is none is refused by the measure
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            with torch.autocast(kind, enabled=False):
                return measure(landscape, w, *args, **options)
        return measure(landscape, w, *args, **options)

    return measured
