"""Numbers too small for a CPU to reckon with at full speed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["flushed"]


@contextmanager
def flushed() -> Iterator[None]:
    """Takes results below the smallest normal number, `1.2e-38` in float32, as 0, where the CPU can.

    Weight decay shrinks the weights of a unit that is always off without end. Below that bound each product costs a CPU a
    hundred cycles and more, so that training would slow down by the epoch. A unit all of whose weights have become exactly
    0 never comes back, though. Afterwards the calling thread reckons as before.

    >>> tiny = torch.tensor(1e-30)
    >>> with flushed():
    ...     (tiny * 1e-10).item()
    0.0
    >>> (tiny * 1e-10).item() > 0
    True
    """
    before = (torch.tensor(1e-30) * 1e-10).item() == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
