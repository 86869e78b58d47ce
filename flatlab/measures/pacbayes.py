"""PAC-Bayes sharpness: how little noise it takes to raise the loss by a given amount."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flatlab.landscape import Landscape
from flatlab.measures.estimate import Estimate, check_whole, finite, generator_for
from flatlab.measures.point import point
from flatlab.measures.precision import without_autocast

__all__ = ["pac_bayes"]


@without_autocast
def pac_bayes(
    landscape: Landscape,
    w: Tensor,
    target: float = 0.1,
    samples: int = 20,
    tol: float = 1e-4,
    seed: int | torch.Generator = 0,
) -> Estimate:
    """`1 / sigma^2`, where noise of STANDARD DEVIATION `sigma` a coordinate raises the loss by `target` on average:
    `E[L(w + sigma e)] - L(w) = target`, `e` standard Gaussian.

    On a quadratic it is `Tr H / (2 target)`, in units of one over weight squared; `sigma` itself is `value ** -0.5`.
    `sigma` is found by bisection to a relative `tol`, with the same `samples` antithetic pairs of directions at every
    step, so that the search is not blurred by its own noise. `stderr` is what those directions leave uncertain: the
    rise's standard error at `sigma`, over its slope there.

    `w` has shape `(d,)`. Raises `ValueError` if `target` or `tol` is not positive, `samples` below 2, or the noise that
    raises the loss so far is not between `sigma = 10^-12` and `10^6`; a loss that overflows counts as high enough.
    `FloatingPointError` if the loss at `w` is not finite. Source: the measure
    PAC-Bayes flatness of Jiang et al. 2020, with a rise of the loss in place of the error rate's, as in
    Petzka et al. 2021, Figure 5.

    >>> class Bowl(Landscape):
    ...     d = 1
    ...     def losses(self, w, batch=None):
    ...         return 3 * w * w
    >>> sharp = pac_bayes(Bowl(), torch.zeros(1, dtype=torch.float64), target=0.5, samples=200)    # 6 / (2 * 0.5)
    >>> abs(sharp.value - 6) < 3 * sharp.stderr
    True
    """
    w = point(landscape, w)
    for name, value in (("target", target), ("tol", tol)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")
    check_whole("samples", samples, 2)
    base = landscape.losses_at(w[None])
    finite(base.item(), "the loss")
    given = generator_for(seed, w.device)
    state = given.get_state()

    def rises(sigma: float) -> Tensor:
        # Drawn again from the same state, not kept: `samples` copies of the weights would fill the memory.
        generator = torch.Generator(device=w.device)
        generator.set_state(state)
        values = []
        for _ in range(samples):
            e = sigma * torch.randn(w.shape, dtype=w.dtype, device=w.device, generator=generator)
            values.append(landscape.losses_at(torch.stack([w + e, w - e])).mean() - base)
        given.set_state(generator.get_state())  # a caller's generator goes on, as in the other measures
        return torch.cat(values)

    def enough(sigma: float) -> bool:
        return not rises(sigma).mean().item() < target

    low, high = 0.0, 1e-3
    while not enough(high):
        low, high = high, 4 * high
        if high > 1e6:
            raise ValueError(f"no noise up to sigma = {low:g} raises the loss by target = {target}")
    if low == 0.0:  # the first guess was already too much
        low = high / 4
        while enough(low):
            low, high = low / 4, low
            if low < 1e-12:
                raise ValueError(f"noise of sigma = {high:g} already raises the loss by target = {target}")
    while high / low - 1 > tol:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    sigma, step = math.sqrt(low * high), 0.01
    at = rises(sigma)
    slope = (rises(sigma * (1 + step)).mean() - rises(sigma * (1 - step)).mean()).item() / (2 * step * sigma)
    error = at.std().item() / math.sqrt(samples) / slope if slope > 0 else math.inf
    return Estimate(sigma**-2, 2 * sigma**-3 * error, samples)
