"""CSAM: climbs to where the noise of the gradient grows."""

from __future__ import annotations

import torch
from torch import Tensor

from flatlab.methods.method import Method, Option
from flatlab.methods.vectors import Gradient, non_negative, own, stepped


def csam(
    w: Tensor,
    grad: Gradient,
    mean: Tensor | None = None,
    rho: float | Tensor = 0.1,
    rho_cov: float | Tensor = 0.2,
    ema: float = 0.9,
) -> tuple[Tensor, Tensor]:
    """Climbs where the gradient noise grows; returns the direction and the moving average for the next step.

    With `g1 = grad(w)`, `g2 = grad(w + rho * g1 / ||g1||)` and `m = ema * mean + (1 - ema) * (g2 - g1)`, the
    direction is `grad(w + rho_cov * d / ||d||)` where `d = g2 - g1 - m`. `mean`, of shape `(..., d)`, is the `m` of
    the step before; None, at the first, counts as 0. `ema` is the paper's alpha; `rho` and `rho_cov` are radii, in
    the units of `w`.

    Three readings of the printed algorithm are settled here. The radius `rho_cov` is applied once, as in equation
    (14): lines 6 and 7 both multiply by it. The sign is that of line 6, the batch's difference minus the average. And
    as `m` holds the new difference already, `d = ema * (g2 - g1 - mean)`: `ema = 0` would leave `0 / 0`, and is
    refused. No constant is added to a norm; a zero `d` has no direction and leaves the plain gradient.

    Raises `ValueError` if `rho` or `rho_cov` is negative or not finite, or `ema` not between 0 and 1.

    Source: Zhou et al. ("Beyond Sharpness"), Algorithm 1.

    >>> import torch
    >>> w, grad = torch.tensor([2.0]), lambda w: 3 * w
    >>> csam(w, grad, None, rho=0.5, rho_cov=1.0, ema=0.5)        # 3 * (2 + 1), and (7.5 - 6) / 2
    (tensor([9.]), tensor([0.7500]))
    """
    non_negative("rho", rho)
    non_negative("rho_cov", rho_cov)
    CSAM.ema.check(ema)
    g1 = grad(w)
    grown = grad(stepped(w, g1, rho)) - g1
    m = (1 - ema) * grown if mean is None else torch.lerp(grown, mean, ema)
    return grad(stepped(w, torch.sub(grown, m, out=own(grown, m)), rho_cov)), m


class CSAM(Method):
    r"""SAM with an ascent to where the gradient noise grows: steps along $\nabla L(w + \rho_{cov}\, d / \|d\|)$.

    `d` is the change of the gradient over SAM's ascent, less the moving average of that change: see
    `flatlab.rules.csam`, also for how the printed algorithm is read. Three closure calls a step.

    - `rho`, `rho_cov`: the radii of the two ascents, in the units of the weights, >= 0.
    - `ema`: the share of the old in the moving average, between 0 and 1 (the paper's alpha; RMSprop has that name).

    All three are group options. The average is a part of the state, `opt.state[p]["rule_mean"]`: it is saved, starts
    anew from a checkpoint without it, and is left as it was by a step that fails or that a scaler skips. Other
    arguments and errors as in `SAM`; `rho_cov` and `ema` are refused where `rho` would be, and any `no_sync` is. With
    both radii 0 it is the base optimizer, to the bit.

    Source: Zhou et al. ("Beyond Sharpness"), Algorithm 1.

    >>> import torch
    >>> from flatlab.optim import CSAM
    >>> w = torch.tensor([2.0], requires_grad=True)
    >>> opt = CSAM(torch.optim.SGD([w], lr=0.1), rho=0.5, rho_cov=1.0, ema=0.5)
    >>> def closure():
    ...     opt.zero_grad()
    ...     loss = (1.5 * w**2).sum()
    ...     loss.backward()
    ...     return loss
    >>> _ = opt.step(closure)
    >>> w.data                          # 2 - 0.1 * 3 * (2 + 1)
    tensor([1.1000])
    >>> opt.state[w]["rule_mean"]       # half of 3 * 2.5 - 3 * 2
    tensor([0.7500])
    """

    rule = staticmethod(csam)
    rho = Option(0.1, "radius of the first ascent", least=0, unit="the weights")
    rho_cov = Option(0.2, "radius of the second ascent", least=0, unit="the weights")
    ema = Option(0.9, "share of the old in the moving average", above=0, below=1)
    source = 'Zhou et al. ("Beyond Sharpness"), Algorithm 1'
    about = "SAM along the noise of the gradient, by a moving average of how it changes, after Zhou et al."
    colour, dash, place = "#e664b2", "dashdot", 6
    local_ascent = False
    memory = "mean"
