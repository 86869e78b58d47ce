"""Random vectors of unit covariance."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["check_kind", "probe"]

KINDS = ("rademacher", "gaussian")


def check_kind(kind: str) -> None:
    """A `ValueError` for a kind of probe that there is not."""
    if kind not in KINDS:
        raise ValueError(f"probes must be 'rademacher' or 'gaussian', got {kind!r}")


def probe(kind: str, like: Tensor, generator: torch.Generator) -> Tensor:
    """A random vector with `E[v v^T] = I`, shaped as `like`: `"rademacher"` (signs) or `"gaussian"`.

    >>> probe("rademacher", torch.zeros(4), torch.Generator().manual_seed(0)).abs()
    tensor([1., 1., 1., 1.])
    """
    check_kind(kind)
    if kind == "rademacher":
        bits = torch.randint(0, 2, like.shape, generator=generator, device=like.device)
        return (2 * bits - 1).to(like.dtype)
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
