"""How far the loss rises nearby: at worst, and on average."""

from __future__ import annotations

import torch
from torch import Tensor

from flatlab.landscape import Landscape
from flatlab.measures.estimate import Estimate, check_whole, generator_for, sample_mean
from flatlab.measures.point import point
from flatlab.measures.precision import without_autocast
from flatlab.rules import non_negative, unit

__all__ = ["average_sharpness", "sam_sharpness"]


@without_autocast
def sam_sharpness(
    landscape: Landscape,
    w: Tensor,
    rho: float = 0.05,
    steps: int = 1,
    step_size: float = 0.5,
    adaptive: bool = False,
    eta: float = 0.01,
    restarts: int = 0,
    seed: int | torch.Generator = 0,
) -> float:
    """`max L(w + T z) - L(w)` over `||z|| <= rho`, bounded from below by ascent; `T = 1`, or `diag(|w| + eta)` if
    `adaptive`.

    One step goes to `z = rho T g / ||T g||` with `g` the gradient, as SAM (ASAM) does; that value itself is returned,
    also where it is negative. More `steps` go on along the normalized gradient in `z`, by `step_size` (in units of
    `rho`), are projected back into the ball, and the highest loss met counts, so the value
    never falls below that of one step. At a critical point, where one step gives 0, `restarts` further ascents start
    from random points of the sphere.

    `w` has shape `(d,)`; the value is in units of the loss, `rho` in units of `w` (a fraction of `|w|` if adaptive).
    Raises `ValueError` if `rho`, `eta` or `restarts` is negative, `steps` below 1, or `step_size` not positive;
    `FloatingPointError` if a loss met on the way is not finite.
    Sources: Foret et al. 2021, equation (2); Kwon et al. 2021, equation (10); projected ascent: Madry et al. 2018.

    >>> class Bowl(Landscape):
    ...     d = 2
    ...     def losses(self, w, batch=None):
    ...         return (w * w).sum(-1, keepdim=True)
    >>> sam_sharpness(Bowl(), torch.tensor([2., 0.]), rho=0.5)          # 2.5^2 - 2^2
    2.25
    """
    w = point(landscape, w)
    non_negative("rho", rho)
    non_negative("eta", eta)
    check_whole("steps", steps)
    check_whole("restarts", restarts, 0)
    if not step_size > 0:
        raise ValueError(f"step_size must be positive, got {step_size}")
    stride = step_size * rho
    scale = w.abs() + eta if adaptive else torch.ones_like(w)
    generator = generator_for(seed, w.device)

    def highest(start: Tensor, updates: int) -> float:
        z, points = start, [w + scale * start]
        for _ in range(updates):
            z = z + stride * unit(scale * landscape.grad(w + scale * z).detach())
            z = z * (rho / z.norm().clamp_min(rho) if rho else 0.0)
            points.append(w + scale * z)
        losses = torch.cat([landscape.losses_at(p[None]) for p in points])
        if not torch.isfinite(losses).all():
            raise FloatingPointError(f"the loss is not finite within rho = {rho} of this point")
        return losses.max().item()

    found = [highest(rho * unit(scale * landscape.grad(w).detach()), steps - 1)]
    for _ in range(restarts):
        direction = torch.randn(w.shape, dtype=w.dtype, device=w.device, generator=generator)
        found.append(highest(rho * unit(direction), steps))
    return max(found) - landscape.losses_at(w[None]).item()


@without_autocast
def average_sharpness(
    landscape: Landscape,
    w: Tensor,
    sigma: float = 0.01,
    samples: int | None = None,
    rtol: float | None = None,
    seed: int | torch.Generator = 0,
    adaptive: bool = False,
    antithetic: bool = True,
) -> Estimate:
    """`E[L(w + e)] - L(w)` with Gaussian `e` of standard deviation `sigma` a coordinate (`sigma |w|` if `adaptive`).

    On a quadratic it is `sigma^2 / 2 Tr H`. `w` has shape `(d,)`; the value is in units of the loss. With
    `antithetic` a sample is the mean rise at `w + e` and `w - e` (two losses): the gradient's part cancels. In
    float32 a rise below about `1e-7 L(w)` is rounding.

    `samples`, `rtol` and errors as in `sample_mean`; `ValueError` if `sigma` is negative. Source: the averaged
    counterpart of `sam_sharpness`, as in Andriushchenko et al. 2023.

    >>> class Line(Landscape):
    ...     d = 1
    ...     def losses(self, w, batch=None):
    ...         return 4 * w
    >>> average_sharpness(Line(), torch.ones(1), sigma=0.5, samples=3).value
    0.0
    """
    w = point(landscape, w)
    non_negative("sigma", sigma)
    generator = generator_for(seed, w.device)
    base = landscape.losses_at(w[None])
    spread = sigma * (w.abs() if adaptive else torch.ones_like(w))

    def draw(count: int) -> Tensor:
        values = []
        for _ in range(count):
            e = spread * torch.randn(w.shape, dtype=w.dtype, device=w.device, generator=generator)
            points = torch.stack([w + e, w - e]) if antithetic else (w + e)[None]
            values.append(landscape.losses_at(points).mean() - base)
        return torch.cat(values)

    return sample_mean(draw, samples, rtol)
