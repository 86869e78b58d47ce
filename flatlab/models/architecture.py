"""What a file here declares of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from flatlab.declared import Declared

__all__ = ["Architecture"]


@dataclass(frozen=True, kw_only=True)
class Architecture(Declared):
    """A network by name: `make(shape, classes)` is a new one.

    `width` holds its channels where they can be chosen: `make` then takes others as `width`.
    """

    make: Callable[..., nn.Module]
    width: tuple[int, ...] | None = None
