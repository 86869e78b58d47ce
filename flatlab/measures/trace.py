"""Traces of the Hessian and of its square, from random probes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flatlab.landscape import Landscape
from flatlab.measures.estimate import Estimate, check_sampling, check_whole, exactly, generator_for, sample_mean
from flatlab.measures.hessian_product import dense, hessian_product
from flatlab.measures.lanczos import Krylov, lanczos
from flatlab.measures.layer_probes import layer_probes
from flatlab.measures.piecewise import piecewise_linear_trace
from flatlab.measures.point import point
from flatlab.measures.precision import without_autocast
from flatlab.measures.probe import check_kind, probe

__all__ = ["hessian_frobenius", "hessian_trace"]


@without_autocast
def hessian_trace(
    landscape: Landscape,
    w: Tensor,
    samples: int | None = None,
    rtol: float | None = None,
    seed: int | torch.Generator = 0,
    probes: str = "rademacher",
    deflate: int = 10,
    exact: bool = True,
    layerwise: bool = True,
) -> Estimate:
    """`Tr H(w) = E[v^T H v]`, exactly where that is cheap, and else from random probes with little variance.

    The first of these that applies, each unbiased:

    1. `d <= deflate`, or a network that is piecewise linear in each of its layers (unless `exact=False`): the exact
       trace, with `stderr` 0; at the price of one backward pass an output, see `piecewise_linear_trace`.
    2. A network of `Linear` and `Conv2d` layers (unless `layerwise=False`): a probe of its own for each layer and
       each sample, see `layer_probes`. A draw costs about one Hessian product.
    3. Anything else: Hutchinson's probes on what a few Lanczos steps leave of the Hessian. With `Q` the `deflate`
       Lanczos vectors and `P = I - Q Q^T`, `Tr H = tr(Q^T H Q) + E[(P v)^T H (P v)]`. The first term is exact and
       holds the few outlying eigenvalues; `deflate=0` is Hutchinson's plain estimate. One Hessian product a
       sample and `deflate` more.

    `w` has shape `(d,)`; the value is in units of loss over weight squared. `samples`, `rtol` (relative standard
    error to reach) and errors as in `sample_mean`; `probes` is `"rademacher"` or `"gaussian"`. Raises `ValueError` for
    another kind of probe or a negative `deflate`, too.

    Sources: Hutchinson 1989; deflation after Meyer et al. 2021 (Hutch++), with a Krylov in place of a random space.

    >>> class Bowl(Landscape):
    ...     d = 2
    ...     def losses(self, w, batch=None):
    ...         return (torch.tensor([1., 3.]) * w * w).sum(-1, keepdim=True)
    >>> hessian_trace(Bowl(), torch.zeros(2))
    Estimate(value=8.0, stderr=0.0, samples=2)
    >>> hessian_trace(Bowl(), torch.zeros(2), samples=5, deflate=0)     # diagonal: every sign vector gives the trace
    Estimate(value=8.0, stderr=0.0, samples=5)
    """
    w = point(landscape, w)
    _check(samples, rtol, probes, deflate)
    if landscape.d <= deflate:
        return exactly(dense(hessian_product(landscape, w), w).double().trace().item(), landscape.d)
    if exact:
        found = piecewise_linear_trace(landscape, w)
        if found is not None:
            return found
    generator = generator_for(seed, w.device)
    if layerwise:
        draw = layer_probes(landscape, w, probes, generator)
        if draw is not None:
            return sample_mean(draw, samples, rtol)
    product = hessian_product(landscape, w)
    krylov = _outliers(product, w, deflate, generator)

    def value(v: Tensor) -> Tensor:
        return torch.dot(v, product(v))

    return sample_mean(_probed(value, krylov, probes, w, generator), samples, rtol, sum(krylov.diagonal))


@without_autocast
def hessian_frobenius(
    landscape: Landscape,
    w: Tensor,
    samples: int | None = None,
    rtol: float | None = None,
    seed: int | torch.Generator = 0,
    probes: str = "rademacher",
    deflate: int = 10,
) -> Estimate:
    """`tr(H(w)^2) = ||H||_F^2 = E[||H v||^2]`, the squared Frobenius norm of the Hessian.

    With `Q` the `deflate` Lanczos vectors and `P = I - Q Q^T`, `||H||_F^2 = ||H Q||_F^2 + E[||H P v||^2]`. The first
    term is exact: by the Lanczos relation it is the sum of squares of the tridiagonal matrix and of its last
    coupling. The outlying eigenvalues, whose fourth powers make the variance, are in it; `deflate=0` is the plain
    estimate. Exact, with `stderr` 0 and `samples` d, where `d <= deflate`.

    `w` has shape `(d,)`; the value is in units of (loss over weight squared) squared. Arguments and errors as in
    `hessian_trace`. One Hessian product a sample and `deflate` more.

    Source: "Flat Is the New Sharp" (FA), its flatness `C(theta)` and its Algorithm 2, without the division by the batch
    size of the penalty; deflation as in `hessian_trace`.

    >>> class Bowl(Landscape):
    ...     d = 2
    ...     def losses(self, w, batch=None):
    ...         return (torch.tensor([1., 3.]) * w * w).sum(-1, keepdim=True)
    >>> hessian_frobenius(Bowl(), torch.zeros(2))                       # 2^2 + 6^2
    Estimate(value=40.0, stderr=0.0, samples=2)
    >>> hessian_frobenius(Bowl(), torch.zeros(2), samples=5, deflate=0)
    Estimate(value=40.0, stderr=0.0, samples=5)
    """
    w = point(landscape, w)
    _check(samples, rtol, probes, deflate)
    product, generator = hessian_product(landscape, w), generator_for(seed, w.device)
    if landscape.d <= deflate:
        return exactly(dense(product, w).double().square().sum().item(), landscape.d)
    krylov = _outliers(product, w, deflate, generator)
    coupled = sum(2 * b * b for b in krylov.off[:-1]) + sum(b * b for b in krylov.off[-1:])

    def value(v: Tensor) -> Tensor:
        return product(v).square().sum()

    known = sum(a * a for a in krylov.diagonal) + coupled
    return sample_mean(_probed(value, krylov, probes, w, generator), samples, rtol, known)


def _outliers(product: Callable[[Tensor], Tensor], w: Tensor, steps: int, generator: torch.Generator) -> Krylov:
    if not steps:
        return Krylov(w.new_empty(0, len(w)), [], [])
    return lanczos(product, probe("gaussian", w, generator), steps)


def _probed(
    value: Callable[[Tensor], Tensor], krylov: Krylov, kind: str, w: Tensor, generator: torch.Generator
) -> Callable[[int], Tensor]:
    """`draw(k)`: `value` of `k` random vectors without their part in the Krylov space."""

    def one() -> Tensor:
        v = probe(kind, w, generator)
        return value(v - krylov.basis.T @ (krylov.basis @ v) if len(krylov.basis) else v)

    return lambda count: torch.stack([one() for _ in range(count)])


def _check(samples: int | None, rtol: float | None, probes: str, deflate: int) -> None:
    check_sampling(samples, rtol)
    check_kind(probes)
    check_whole("deflate", deflate, 0)
