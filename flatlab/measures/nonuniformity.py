"""Nonuniformity of the single terms' Hessians."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap

from flatlab.landscape import Landscape
from flatlab.landscape.curvature import math_attention
from flatlab.landscape.memory import ran_out
from flatlab.measures.estimate import check_whole, generator_for
from flatlab.measures.hessian_product import hessian_product
from flatlab.measures.point import point
from flatlab.measures.precision import without_autocast
from flatlab.measures.probe import probe
from flatlab.measures.spectrum import largest_eigenvalues

__all__ = ["hessian_nonuniformity"]


@without_autocast
def hessian_nonuniformity(
    landscape: Landscape,
    w: Tensor,
    tol: float = 1e-3,
    max_steps: int = 300,
    seed: int | torch.Generator = 0,
    chunk: int = 32,
) -> float:
    """`s = lambda_max(Sigma^(1/2)) = sqrt(lambda_max(Sigma))`, `Sigma = (1/n) sum_i H_i^2 - H^2`.

    `H_i` is the Hessian of term i at `w`, shape `(d,)`, and `H` their mean; the value is in units of loss over
    weight squared. The square root is the definition's; some of the text around it goes on without. The largest
    eigenvalue by Lanczos (`tol`, `max_steps` and `seed` as in `top_eigenvalues`) on `v -> mean_i H_i H_i v - H H v`,
    `chunk` terms at a time, each of two Hessian products. The difference of the two means loses digits where the terms are
    nearly alike, and the root brings that up: about `sqrt(eps) lambda_max(H)` is its floor, 3e-4 of it in float32.

    Raises `ValueError` for a loss that is no mean over samples, or if `tol`, `max_steps` or `chunk` is out of range;
    `FloatingPointError` if a Hessian is not finite. Source: Wu, Ma and E 2018; Zhou et al.
    ("Beyond Sharpness"), Definition 2.

    >>> class Two(Landscape):                           # l_i = c_i w^2 / 2 with c = (1, 3)
    ...     d, n = 1, 2
    ...     def losses(self, w, batch=None):
    ...         c = torch.tensor([1., 3.])
    ...         return (c if batch is None else c[batch]) * w * w / 2
    >>> hessian_nonuniformity(Two(), torch.zeros(1))    # the standard deviation of 1 and 3
    1.0
    """
    w = point(landscape, w)
    check_whole("chunk", chunk)
    landscape.need_mean()
    n, indices = landscape.n, torch.arange(landscape.n, device=w.device)

    def twice(i: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        of_one_term = vjp(grad(lambda u: landscape.loss(u, i[None])), w)[1]
        once = of_one_term(v)[0]
        return once, of_one_term(once)[0]

    product = hessian_product(landscape, w)

    def mapped(index: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        with math_attention():
            return vmap(twice, in_dims=(0, None))(index, v)

    def one_by_one(index: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        first = [landscape.hvp(w, v, i[None]) for i in index]
        return torch.stack(first), torch.stack([landscape.hvp(w, u, i[None]) for u, i in zip(first, index, strict=True)])

    def both(products: Callable, v: Tensor) -> tuple[Tensor, Tensor]:
        once, again = torch.zeros_like(w), torch.zeros_like(w)
        for index in indices.split(chunk):
            first, second = products(index, v)
            once, again = once + first.sum(0) / n, again + second.sum(0) / n
        return once, again

    def right() -> bool:
        v = probe("gaussian", w, generator_for(0, w.device))
        try:
            truth, found = product(v), both(mapped, v)[0]
        except (RuntimeError, NotImplementedError) as error:  # what torch.func cannot take
            if ran_out(error):
                raise
            return False
        return not bool((found - truth).norm() > 30 * torch.finfo(w.dtype).eps ** 0.5 * truth.norm())

    def sigma(v: Tensor) -> Tensor:
        once, again = both(products, v)
        return again - product(once)

    if n == 1:
        return 0.0
    products = mapped if right() else one_by_one
    values, _ = largest_eigenvalues(sigma, w, 1, tol, max_steps, seed)
    return max(0.0, values.item()) ** 0.5
