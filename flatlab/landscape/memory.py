"""An error that says nothing about a model: there was no memory left."""

from __future__ import annotations

import torch

__all__ = ["ran_out"]


def ran_out(error: BaseException) -> bool:
    """Whether memory ran out. On a GPU that has a type of its own; on a processor it is a `RuntimeError`, told by its text.

    A slower way would need as much or more, and would hide why it was taken: such an error goes to the user.

    >>> ran_out(torch.OutOfMemoryError("CUDA out of memory")), ran_out(RuntimeError("not implemented"))
    (True, False)
    """
    told = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in told or "out of memory" in told)
    )
