"""The methods, one class each: a rule of `flatlab.rules` and its hyperparameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from flatlab import rules
from flatlab.optim.engine import Groups, NoSync, RuleOptimizer, over_groups

__all__ = ["ASAM", "SAM", "USAM", "StableASAM", "StableSAM"]


class SAM(RuleOptimizer):
    r"""Sharpness-aware minimization: steps along $\nabla L(w + \rho\, g / \|g\|)$ with $g = \nabla L(w)$.

    - `base_optimizer`: the optimizer that makes the step, `SGD(...)` or `AdamW(...)`, say.
    - `rho`: the radius of the ascent step, in the units of the weights, >= 0. Each group may have its own.
    - `check_finite`: whether a loss or gradient that is not finite raises `FloatingPointError`.
    - `no_sync`: `ddp.no_sync`, to let each worker ascend along its own gradient.

    With `rho = 0` it is the base optimizer, to the bit. Where the gradient is zero, so is the ascent step.

    Raises `TypeError` if `base_optimizer` is no optimizer, or calls a closure itself (LBFGS); `ValueError` if `rho` is
    negative or not finite, or the base optimizer has an option of that name. For the errors of a step see `step`.

    Source: Foret et al. 2021, equation (2) and Algorithm 1.

    >>> w = torch.tensor([2.0], requires_grad=True)
    >>> opt = SAM(torch.optim.SGD([w], lr=0.1), rho=0.5)
    >>> def closure():
    ...     opt.zero_grad()
    ...     loss = (1.5 * w**2).sum()
    ...     loss.backward()
    ...     return loss
    >>> opt.step(closure)               # the loss at 2
    tensor(6.)
    >>> w.data                          # 2 - 0.1 * 3 * (2 + 0.5)
    tensor([1.2500])
    """

    rule = staticmethod(rules.sam)


class USAM(RuleOptimizer):
    r"""Unnormalized SAM: steps along $\nabla L(w + \rho\, \nabla L(w))$.

    Arguments and errors as in `SAM`, but `rho` multiplies the gradient and is no radius; its unit is that of weights
    over gradients. With `rho = 0` it is the base optimizer, to the bit.

    Source: Andriushchenko and Flammarion 2022, equation (3).

    >>> w = torch.tensor([2.0], requires_grad=True)
    >>> opt = USAM(torch.optim.SGD([w], lr=0.1), rho=0.5)
    >>> def closure():
    ...     opt.zero_grad()
    ...     loss = (1.5 * w**2).sum()
    ...     loss.backward()
    ...     return loss
    >>> _ = opt.step(closure)
    >>> w.data                          # 2 - 0.1 * 3 * (2 + 0.5 * 6)
    tensor([0.5000])
    """

    rule = staticmethod(rules.usam)


class StableSAM(RuleOptimizer):
    r"""SAM's direction with the plain gradient's length: $\|g\|\, s / \|s\|$, $s = \nabla L(w + \rho\, g / \|g\|)$.

    Arguments and errors as in `SAM`, but `no_sync` raises `ValueError`: each worker would give the averaged direction
    the length of its own first gradient, and the replicas would drift apart. With `rho = 0` it is the base optimizer
    up to rounding.

    Source: Tan et al. 2025, Algorithm 1.

    >>> w = torch.tensor([2.0], requires_grad=True)
    >>> opt = StableSAM(torch.optim.SGD([w], lr=0.1), rho=0.5)
    >>> def closure():
    ...     opt.zero_grad()
    ...     loss = (1.5 * w**2).sum()
    ...     loss.backward()
    ...     return loss
    >>> _ = opt.step(closure)
    >>> w.data                          # 2 - 0.1 * 6
    tensor([1.4000])
    """

    rule = staticmethod(rules.stable_sam)
    local_ascent = False


class _Adaptive(RuleOptimizer):
    def __init__(
        self,
        base_optimizer: Optimizer,
        rho: float | Tensor = 0.5,
        eta: float | Tensor = 0.01,
        scale_1d: bool = False,
        *,
        check_finite: bool = True,
        no_sync: NoSync | None = None,
    ):
        self._wrap(base_optimizer, check_finite, no_sync, rho=rho, eta=eta, scale_1d=scale_1d)

    def arguments(self, w: Tensor, groups: Groups) -> dict[str, Any]:
        scaled = [(p.numel(), p.ndim >= 2 or bool(group["scale_1d"])) for group, params in groups for p in params]
        mask = [w.new_full((n,), yes, dtype=torch.bool) for n, yes in scaled]
        return {
            "rho": over_groups("rho", w, groups),
            "eta": over_groups("eta", w, groups),
            "scaled": None if all(yes for _, yes in scaled) else torch.cat(mask),
        }


class ASAM(_Adaptive):
    r"""Adaptive SAM: steps along $\nabla L(w + \rho\, T^2 g / \|T g\|)$ with $T = \mathrm{diag}(|w| + \eta)$.

    - `rho`: the radius of the ascent step relative to the weights' own size, >= 0.
    - `eta`: what keeps a weight of zero from standing still, in the units of the weights, >= 0.
    - `scale_1d`: whether biases and the weights of norm layers (parameters of fewer than two dimensions) are measured
      against their own size, too. False gives them `T = 1` and goes with `rho` about 0.5, True with about 2.0.

    All three are group options. Other arguments and errors as in `SAM`; `eta` is refused where `rho` would be. With
    `rho = 0` it is the base optimizer, to the bit.

    Source: Kwon et al. 2021, equation (10) and Algorithm 1.

    >>> w = torch.tensor([[2.0]], requires_grad=True)
    >>> opt = ASAM(torch.optim.SGD([w], lr=0.1), rho=0.5, eta=0.0)
    >>> def closure():
    ...     opt.zero_grad()
    ...     loss = (1.5 * w**2).sum()
    ...     loss.backward()
    ...     return loss
    >>> _ = opt.step(closure)
    >>> w.data                          # 2 - 0.1 * 3 * (2 + 0.5 * 2)
    tensor([[1.1000]])
    """

    rule = staticmethod(rules.asam)


class StableASAM(_Adaptive):
    r"""ASAM's direction with the plain gradient's length: $\|g\|\, s / \|s\|$ with $s$ what `ASAM` steps along.

    Arguments and errors as in `ASAM`, but `no_sync` raises `ValueError`, as in `StableSAM`. With `rho = 0` it is the
    base optimizer up to rounding.

    Source: Tan et al. 2025, section 5.3.

    >>> w = torch.tensor([[2.0]], requires_grad=True)
    >>> opt = StableASAM(torch.optim.SGD([w], lr=0.1), rho=0.5)
    >>> def closure():
    ...     opt.zero_grad()
    ...     loss = (1.5 * w**2).sum()
    ...     loss.backward()
    ...     return loss
    >>> _ = opt.step(closure)
    >>> w.data                          # 2 - 0.1 * 6
    tensor([[1.4000]])
    """

    rule = staticmethod(rules.stable_asam)
    local_ascent = False
