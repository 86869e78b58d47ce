"""The Hessian's spectrum: its largest eigenvalues, and its density."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from flatlab.landscape import Landscape
from flatlab.measures.estimate import Estimate, check_whole, finite, generator_for
from flatlab.measures.hessian_product import dense, hessian_product
from flatlab.measures.lanczos import CLOSED, Krylov, lanczos
from flatlab.measures.point import point
from flatlab.measures.precision import without_autocast
from flatlab.measures.probe import probe

__all__ = ["SpectralDensity", "hessian_density", "largest_eigenvalues", "top_eigenvalues"]

SMALL = 64  # up to this dimension the whole matrix is cheaper than an iteration, and exact
MISSED = 1e-3
"""The chance that a random start hides an eigenvalue from `largest_eigenvalues`."""


def largest_eigenvalues(
    product: Callable[[Tensor], Tensor],
    like: Tensor,
    k: int = 1,
    tol: float = 1e-3,
    max_steps: int = 300,
    seed: int | torch.Generator = 0,
) -> tuple[Tensor, Tensor]:
    """The `k` largest eigenvalues of a symmetric `product`, descending, `(k,)`, and unit eigenvectors, `(k, d)`.

    Stops when the error of each value is at most `tol` times the largest `|theta|` seen, and no larger eigenvalue can have
    been missed. See `top_eigenvalues`.

    >>> largest_eigenvalues(lambda v: torch.tensor([1., 5., 3.]) * v, torch.zeros(3), k=2)[0]
    tensor([5., 3.])
    """
    d = len(like)
    if not 1 <= k <= d:
        raise ValueError(f"k must be between 1 and d = {d}, got {k}")
    if not 0 < tol < math.inf:
        raise ValueError(f"tol must be positive and finite, got {tol}")
    check_whole("k", k)
    check_whole("max_steps", max_steps)
    if max_steps < k:
        raise ValueError(f"max_steps must be at least k = {k}, got {max_steps}")
    if d <= SMALL:
        matrix = dense(product, like)
        finite(matrix.abs().amax().item())
        values, vectors = torch.linalg.eigh(matrix)
        return values.flip(0)[:k], vectors.T.flip(0)[:k]

    def error(krylov: Krylov) -> float:
        values, vectors = krylov.eigh()
        if len(values) <= k:
            return 0.0 if krylov.off[-1] == 0 else math.inf
        residual = krylov.off[-1] * vectors[-1].abs()
        # Kato and Temple: an isolated Ritz value errs by the square of its residual over its gap, a closer one by
        # the residual itself. The k-th value's gap counts the next one's own uncertainty.
        near = residual[-k:].norm()
        gap = (values[-k] - values[-k - 1] - residual[-k - 1]).clamp_min(torch.finfo(torch.float64).tiny)
        largest = values.abs().max().item()
        return torch.minimum(near, near**2 / gap).item() / largest if largest > 0 else 0.0

    def seen(krylov: Krylov) -> bool:
        # p_m, the polynomial whose zeros are the Ritz values, has |p_m(H) q| = off_1 ... off_m for the start q. So an
        # eigenvalue t of which q holds a share c obeys |c p_m(t)| <= off_1 ... off_m, and c is small by chance alone.
        values = krylov.eigh()[0]
        largest = values.abs().max().item()
        apart, rounding = tol * largest, CLOSED * torch.finfo(like.dtype).eps * largest
        share = MISSED * math.sqrt(math.pi / (2 * d))
        top = values.flip(0)[:k].tolist()
        places = [t + apart for t in top] + [t - apart for t, below in pairwise(top) if t - below > 2 * apart]
        within = sum(math.log(b) if b > 0 else -math.inf for b in (max(b, rounding) for b in krylov.off))
        return all(math.log(share) + (t - values).abs().log().sum().item() >= within for t in places)

    def enough(krylov: Krylov) -> bool:
        return len(krylov.diagonal) >= k + 2 and error(krylov) <= tol and seen(krylov)

    generator = generator_for(seed, like.device)
    krylov = lanczos(product, probe("gaussian", like, generator), max_steps, enough, generator)
    if error(krylov) > tol or not seen(krylov):
        missed = "" if error(krylov) > tol else ", and a larger eigenvalue may have been missed"
        warnings.warn(
            f"Lanczos reached {max_steps} steps with a relative error of {error(krylov):.1e} for tol {tol}{missed}",
            RuntimeWarning,
            stacklevel=4,
        )
    values, vectors = krylov.eigh()
    top = vectors[:, -k:].flip(1).T.to(like.dtype).to(like.device) @ krylov.basis
    return values[-k:].flip(0).to(like.dtype).to(like.device), top


@without_autocast
def top_eigenvalues(
    landscape: Landscape,
    w: Tensor,
    k: int = 1,
    tol: float = 1e-3,
    max_steps: int = 300,
    seed: int | torch.Generator = 0,
    vectors: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The `k` largest eigenvalues of `H(w)`, descending, shape `(k,)`, by Lanczos with full reorthogonalization.

    `w` has shape `(d,)`; values are in units of loss over weight squared. With `vectors=True` also the unit
    eigenvectors, shape `(k, d)`. The iteration ends when the error of the values is at most `tol` times the largest
    absolute Ritz value, by the smaller of the residual and the Kato-Temple bound (the residual's square over the gap
    to the next Ritz value), and an eigenvalue that is larger by more than that would have shown itself: it can hide only
    from a starting vector that is nearly orthogonal to its eigenvector, at a chance of one in a thousand. It warns if
    `max_steps` Hessian products did not get there. Largest means most positive, not largest in size. Up to `d = 64` the
    values are exact. In larger dimensions one starting vector sees an eigenvalue that repeats exactly only once, unless
    the iteration runs until its Krylov space closes.

    Raises `ValueError` if `k`, `tol` or `max_steps` is out of range, `FloatingPointError` if the Hessian is not finite.
    Source: Lanczos 1950; Golub and Van Loan,
    *Matrix Computations*, chapter 10.

    >>> class Bowl(Landscape):
    ...     d = 2
    ...     def losses(self, w, batch=None):
    ...         return (torch.tensor([1., 3.]) * w * w).sum(-1, keepdim=True)
    >>> top_eigenvalues(Bowl(), torch.zeros(2), k=2)
    tensor([6., 2.])
    """
    w = point(landscape, w)
    values, found = largest_eigenvalues(hessian_product(landscape, w), w, k, tol, max_steps, seed)
    return (values, found) if vectors else values


@dataclass(frozen=True)
class SpectralDensity:
    """A quadrature of the spectrum: `values` and `weights`, shape `(probes, steps)` each; every row of `weights` sums
    to 1. `d` is the number of eigenvalues.
    """

    values: Tensor
    weights: Tensor
    d: int

    def trace(self, f: Callable[[Tensor], Tensor]) -> Estimate:
        """`tr f(H)`, the sum of `f` over the spectrum, with its standard error over the probes."""
        # Where a Krylov space has closed early, values of weight 0 fill the row, at which f may not be finite.
        rows = self.d * (self.weights * torch.where(self.weights > 0, f(self.values), 0.0)).sum(1)
        n = len(rows)
        return Estimate(rows.mean().item(), rows.std().item() / math.sqrt(n) if n > 1 else math.nan, n)

    def density(self, grid: Tensor, width: float) -> tuple[Tensor, Tensor]:
        """The density on `grid`, smoothed by a Gaussian of standard deviation `width`, and its standard error, each
        of the grid's shape `(g,)`. It integrates to 1.
        """
        if not width > 0:
            raise ValueError(f"width must be positive, got {width}")
        z = (grid.double()[:, None, None] - self.values) / width
        rows = (self.weights * torch.exp(-z * z / 2)).sum(-1) / (width * math.sqrt(2 * math.pi))
        n = rows.shape[1]
        stderr = rows.std(1) / math.sqrt(n) if n > 1 else torch.full_like(rows[:, 0], math.nan)
        return rows.mean(1), stderr


@without_autocast
def hessian_density(
    landscape: Landscape, w: Tensor, steps: int = 50, probes: int = 10, seed: int | torch.Generator = 0
) -> SpectralDensity:
    """The density of the eigenvalues of `H(w)`, by stochastic Lanczos quadrature.

    Each of `probes` random unit vectors gives, in `steps` Hessian products, a Gauss quadrature of the spectrum whose
    mean over probes is that of `(1/d) sum_i delta(x - lambda_i)`; polynomials up to degree `2 steps - 1` are exact
    for each probe. `w` has shape `(d,)`; values are in units of loss over weight squared.

    Raises `ValueError` if `steps` or `probes` is less than 1, `FloatingPointError` if the Hessian is not finite. Source:
    Golub and Welsch 1969; Ghorbani, Krishnan and Xiao 2019.

    >>> class Bowl(Landscape):
    ...     d = 2
    ...     def losses(self, w, batch=None):
    ...         return (torch.tensor([1., 3.]) * w * w).sum(-1, keepdim=True)
    >>> spectrum = hessian_density(Bowl(), torch.zeros(2), probes=3)
    >>> spectrum.values[0], spectrum.trace(torch.ones_like).value
    (tensor([2., 6.], dtype=torch.float64), 2.0)
    """
    w = point(landscape, w)
    check_whole("steps", steps)
    check_whole("probes", probes)
    product, generator = hessian_product(landscape, w), generator_for(seed, w.device)
    m = min(steps, landscape.d)
    values, weights = (torch.zeros(probes, m, dtype=torch.float64, device="cpu") for _ in range(2))
    for row in range(probes):
        nodes, ritz = lanczos(product, probe("gaussian", w, generator), m).eigh()
        # A Krylov space that closed early has fewer nodes: the rest keep weight 0.
        values[row, : len(nodes)], weights[row, : len(nodes)] = nodes, ritz[0].square()
    return SpectralDensity(values, weights, landscape.d)
