"""LSAM: descends along the mean of gradients at points drawn from a ball."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flatlab.methods.method import Method, Option
from flatlab.methods.vectors import Gradient, moving, non_negative, own, unit


def ball(w: Tensor, rho: float | Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Uniform in the ball of radius `rho` about 0, one draw for each row of `w`: `(..., d) -> (..., d)`.

    A Gaussian vector over its norm, times `rho * U^(1/d)` with `U` uniform on (0, 1). A `rho` of `(d,)` stretches the
    ball; coordinates where it is 0 stand still and are no dimension of it. `generator` must be on the device of `w`;
    None takes torch's own.

    >>> length = ball(torch.zeros(100_000, 2), 3.0, torch.Generator().manual_seed(0)).norm(dim=-1)
    >>> bool((length < 3).all()), (length < 1.5).float().mean().round(decimals=2)       # a quarter of the area
    (True, tensor(0.2500))
    """
    direction = torch.randn(w.shape, generator=generator, dtype=w.dtype, device=w.device)
    u = torch.rand((*w.shape[:-1], 1), generator=generator, dtype=w.dtype, device=w.device)
    d = w.shape[-1]
    if isinstance(rho, Tensor) and rho.ndim and rho.shape[-1] == d > 1:
        d, direction = (rho > 0).sum(-1, keepdim=True, dtype=w.dtype).clamp_min(1), moving(direction, rho)
    direction, length = unit(direction, own(direction)), rho * u ** (1 / d)
    return torch.mul(length, direction, out=own(direction, length))


def check_draws(k: int, antithetic: bool) -> None:
    """A `ValueError` if `k` draws cannot be made: fewer than 1, or an odd number of antithetic ones."""
    if k < 1 or k != int(k) or (antithetic and k % 2):
        raise ValueError(f"k must be a whole number >= 1{', and even with antithetic=True' * antithetic}, got {k}")


def lsam(
    w: Tensor,
    grad: Gradient,
    rho: float | Tensor = 0.05,
    k: int = 2,
    *,
    antithetic: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Local-average SAM: `mean_i grad(w + u_i)` over `k` draws `u_i`, uniform in the ball of radius `rho`.

    An unbiased estimate of the gradient of the loss averaged over that ball, which on a quadratic of Hessian `H` is
    $L(w) + \frac{\rho^2}{2 (d + 2)} \mathrm{Tr}\, H$. `antithetic` draws pairs `u, -u`: half the draws, and no
    error of odd order in `u`, so on a quadratic none at all. `rho` is in the units of `w`; every row of `w` has draws
    of its own. `grad` is called `k` times.

    Raises `ValueError` if `rho` is negative or not finite, `k` is below 1, or odd with `antithetic`.

    Source: "Local-Integrability Flatness" (LSAM), Algorithm 1 and equation (4).

    >>> lsam(torch.tensor([2.0]), lambda w: 3 * w, rho=0.5, k=2, antithetic=True)       # 3 * mean(2 + u, 2 - u)
    tensor([6.])
    """
    non_negative("rho", rho)
    check_draws(k, antithetic)
    total = 0.0
    for _ in range(k // 2 if antithetic else k):
        u = ball(w, rho, generator)
        if antithetic:
            total = total + grad(w + u)
            total = total + grad(w - u)
        else:
            total = total + grad(torch.add(w, u, out=own(u, w)))
    return total / k


class LSAM(Method):
    r"""Local-average SAM: steps along $\frac{1}{k} \sum_i \nabla L(w + u_i)$, $u_i$ uniform in a ball.

    - `rho`: the radius of the ball, in the units of the weights, >= 0.
    - `k`: the number of draws, so of closure calls a step, >= 1.
    - `antithetic`: whether the draws come in pairs `u, -u` (then `k` is even), which cancels all errors of odd order.
    - `seed`: of the draws. Those of a step follow from it and the number of steps before, both of which are saved:
      torch's own generators are left alone, a resumed run draws what it would have drawn, and workers draw alike.

    A step returns the mean loss of its `k` passes, as the algorithm does; at the weights themselves none is run. On a
    landscape it returns the loss at the weights.
    Groups with their own `rho` stretch the ball along their weights. Other arguments and errors as in `SAM`;
    `ValueError` also for a `k` that is not as above, or any `no_sync`; `RuntimeError` while a CUDA graph is captured,
    which would repeat one draw for ever. With `rho = 0` it is the base optimizer up to rounding, for `k = 2^j` to
    the bit.

    Source: "Local-Integrability Flatness" (LSAM), Algorithm 1.

    >>> import torch
    >>> from flatlab.optim import LSAM
    >>> w = torch.tensor([2.0], requires_grad=True)
    >>> opt = LSAM(torch.optim.SGD([w], lr=0.1), rho=0.5, k=2, antithetic=True)
    >>> def closure():
    ...     opt.zero_grad()
    ...     loss = (1.5 * w**2).sum()
    ...     loss.backward()
    ...     return loss
    >>> bool(opt.step(closure) > 6)     # the mean of two points on either side of 2
    True
    >>> w.data                          # 2 - 0.1 * 3 * mean(2 + u, 2 - u)
    tensor([1.4000])
    """

    rule = staticmethod(lsam)
    rho = Option(0.05, "radius of the ball", least=0, unit="the weights")
    k = Option(2, "draws a step", least=1, shared=True)
    antithetic = Option(False, "whether draws come in pairs u, -u", shared=True)
    source = '"Local-Integrability Flatness" (LSAM), Algorithm 1'
    about = "steps along the mean of gradients at k points drawn from the ball"
    colour, dash, place = "#009e73", "longdash", 5
    local_ascent = capturable = False
    draws = True

    @classmethod
    def check(cls, **options: Any) -> None:
        """`k` must suit `antithetic`, too."""
        super().check(**options)
        check_draws(options["k"], options["antithetic"])
