"""Random vectors of unit covariance."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["probe"]


def probe(kind: str, like: Tensor, generator: torch.Generator) -> Tensor:
    """A random vector with `E[v v^T] = I`, shaped as `like`: `"rademacher"` (signs) or `"gaussian"`.

    >>> probe("rademacher", torch.zeros(4), torch.Generator().manual_seed(0)).abs()
    tensor([1., 1., 1., 1.])
    """
    if kind == "rademacher":
        bits = torch.randint(0, 2, like.shape, generator=generator, device=like.device)
        return (2 * bits - 1).to(like.dtype)
    if kind == "gaussian":
        return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
    raise ValueError(f"probes must be 'rademacher' or 'gaussian', got {kind!r}")
