"""Traces of the Hessian and of its square, from random probes."""

from __future__ import annotations

import torch
from torch import Tensor

from flatlab.landscape import Landscape
from flatlab.measures.estimate import Estimate, generator_for, sample_mean
from flatlab.measures.hessian_product import dense, hessian_product
from flatlab.measures.lanczos import lanczos
from flatlab.measures.piecewise import piecewise_linear_trace
from flatlab.measures.preconditions import one_point

__all__ = ["hessian_frobenius", "hessian_trace", "probe"]


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


def hessian_trace(
    landscape: Landscape,
    w: Tensor,
    samples: int | None = None,
    rtol: float | None = None,
    seed: int | torch.Generator = 0,
    probes: str = "rademacher",
    deflate: int = 10,
    exact: bool = True,
) -> Estimate:
    """`Tr H(w) = E[v^T H v]`, by Hutchinson's probes on what a few Lanczos steps leave of the Hessian.

    With `Q` the `deflate` Lanczos vectors and `P = I - Q Q^T`, `Tr H = tr(Q^T H Q) + E[(P v)^T H (P v)]`. The first
    term is exact and holds the few outlying eigenvalues of a network, which make most of the variance; `deflate=0` is
    Hutchinson's plain estimate. Where `d <= deflate` the trace is exact, with `stderr` 0 and `samples` d. So it is,
    unless `exact=False`, for a network that is piecewise linear in each of its layers, at the price of one
    backward pass an output: see `piecewise_linear_trace`.

    `w` has shape `(d,)`; the value is in units of loss over weight squared. `samples`, `rtol` (relative standard
    error to reach) and errors as in `sample_mean`; `probes` is `"rademacher"` or `"gaussian"`. One Hessian product a
    sample and `deflate` more.

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
    w = one_point(landscape, w)
    if deflate < 0:
        raise ValueError(f"deflate must be >= 0, got {deflate}")
    if landscape.d <= deflate:
        return Estimate(dense(hessian_product(landscape, w), w).double().trace().item(), 0.0, landscape.d)
    if exact:
        found = piecewise_linear_trace(landscape, w)
        if found is not None:
            return found
    product, generator = hessian_product(landscape, w), generator_for(seed, w.device)
    known, basis = 0.0, None
    if deflate:
        krylov = lanczos(product, probe("gaussian", w, generator), deflate)
        known, basis = sum(krylov.diagonal), krylov.basis

    def draw(count: int) -> Tensor:
        values = []
        for _ in range(count):
            v = probe(probes, w, generator)
            if basis is not None:
                v = v - basis.T @ (basis @ v)
            values.append(torch.dot(v, product(v)))
        return torch.stack(values)

    return sample_mean(draw, samples, rtol, known)


def hessian_frobenius(
    landscape: Landscape,
    w: Tensor,
    samples: int | None = None,
    rtol: float | None = None,
    seed: int | torch.Generator = 0,
    probes: str = "rademacher",
) -> Estimate:
    """`tr(H(w)^2) = ||H||_F^2 = E[||H v||^2]`, the squared Frobenius norm of the Hessian.

    `w` has shape `(d,)`; the value is in units of (loss over weight squared) squared. Arguments and errors as in
    `hessian_trace`. One Hessian product a sample.

    Source: "Flat Is the New Sharp" (FA), its flatness `C(theta)` and its Algorithm 2, without the division by the batch
    size of the penalty.

    >>> class Bowl(Landscape):
    ...     d = 2
    ...     def losses(self, w, batch=None):
    ...         return (torch.tensor([1., 3.]) * w * w).sum(-1, keepdim=True)
    >>> hessian_frobenius(Bowl(), torch.zeros(2), samples=5)            # 2^2 + 6^2
    Estimate(value=40.0, stderr=0.0, samples=5)
    """
    w = one_point(landscape, w)
    product, generator = hessian_product(landscape, w), generator_for(seed, w.device)

    def draw(count: int) -> Tensor:
        return torch.stack([product(probe(probes, w, generator)).square().sum() for _ in range(count)])

    return sample_mean(draw, samples, rtol)
