"""Which training samples are held out for tuning."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["held_out"]


def held_out(n: int, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Indices `(train, validation)` of `n` samples with `count` of them, drawn at random, held out for tuning.

    Shapes `(n - count,)` and `(count,)`, int64, ascending, disjoint; together all of `0 .. n - 1`. A function of the
    three numbers alone: not of the machine, the device or the state of any generator. A larger `count` with the same
    `n` and `seed` holds out the same samples and more.

    Raises `ValueError` unless `0 < count < n`.

    >>> train, validation = held_out(10, 3, seed=0)
    >>> train.tolist(), validation.tolist()
    ([0, 2, 3, 5, 6, 8, 9], [1, 4, 7])
    """
    if not 0 < count < n:
        raise ValueError(f"count must be between 1 and n - 1 = {n - 1}, got {count}")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed), device="cpu")
    return order[count:].sort().values, order[:count].sort().values
