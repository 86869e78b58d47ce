"""The Lanczos iteration with full reorthogonalization."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flatlab.measures.estimate import finite

__all__ = ["CLOSED", "Krylov", "lanczos"]

CLOSED = 100
"""Roundings below which a Krylov space counts as closed."""


class Krylov:
    """What `m` Lanczos steps know: an orthonormal `basis`, shape `(m, d)`, the tridiagonal `diagonal` (m numbers) and
    `off` (m numbers, the last of which couples to what was not visited).
    """

    def __init__(self, basis: Tensor, diagonal: list[float], off: list[float]):
        self.basis, self.diagonal, self.off = basis, diagonal, off

    def eigh(self) -> tuple[Tensor, Tensor]:
        """Ritz values, ascending, shape `(m,)`, and vectors in the basis, shape `(m, m)`, in float64."""
        t = torch.diag(torch.tensor(self.diagonal, dtype=torch.float64, device="cpu"))
        off = torch.tensor(self.off[:-1], dtype=torch.float64, device="cpu")
        return torch.linalg.eigh(t + torch.diag(off, 1) + torch.diag(off, -1))


def lanczos(
    product: Callable[[Tensor], Tensor],
    start: Tensor,
    steps: int,
    enough: Callable[[Krylov], bool] | None = None,
    generator: torch.Generator | None = None,
) -> Krylov:
    """At most `steps` products with a symmetric matrix from `start`, shape `(d,)`, which need not be a unit vector.

    Stops when `enough(krylov)` says so. Where the Krylov space closes, the iteration goes on from a random vector
    orthogonal to it if a `generator` is given (repeated eigenvalues are then found), and ends otherwise. Raises
    `FloatingPointError` for a product that is not finite.

    >>> k = lanczos(lambda v: torch.tensor([1., 2., 3.]) * v, torch.ones(3), 3)
    >>> k.eigh()[0]
    tensor([1., 2., 3.], dtype=torch.float64)
    """
    d, q = len(start), start / start.norm()
    # One buffer, not a growing list: the reorthogonalization is then two matrix products.
    basis = torch.empty(min(steps, d), d, dtype=start.dtype, device=start.device)
    diagonal: list[float] = []
    off: list[float] = []
    scale = 0.0
    for m in range(len(basis)):
        basis[m] = q
        r = product(q)
        diagonal.append(torch.dot(r, q).item())
        known = basis[: m + 1]
        for _ in range(2):  # once is not enough in floating point, twice is
            r = r - known.T @ (known @ r)
        beta = finite(r.norm().item())
        scale = max(scale, abs(diagonal[-1]), beta)
        closed = beta <= CLOSED * torch.finfo(start.dtype).eps * scale
        off.append(0.0 if closed else beta)
        krylov = Krylov(known, diagonal, off)
        if m + 1 == len(basis) or (enough is not None and enough(krylov)):
            break
        if closed:
            if generator is None:
                break
            r = torch.randn(d, dtype=start.dtype, device=start.device, generator=generator)
            for _ in range(2):
                r = r - known.T @ (known @ r)
            beta = r.norm().item()
        q = r / beta
    return krylov
