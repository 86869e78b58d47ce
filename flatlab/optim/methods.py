"""The methods, one class each: a rule of `flatlab.rules` and its hyperparameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from flatlab import rules
from flatlab.optim.buffers import unflat
from flatlab.optim.engine import Group, Groups, NoSync, RuleOptimizer, over_groups
from flatlab.optim.passes import Passes, capturing
from flatlab.rules import Gradient

__all__ = ["ASAM", "CSAM", "LSAM", "SAM", "USAM", "StableASAM", "StableSAM"]


class SAM(RuleOptimizer):
    r"""Sharpness-aware minimization: steps along $\nabla L(w + \rho\, g / \|g\|)$ with $g = \nabla L(w)$.

    - `base_optimizer`: the optimizer that makes the step, `SGD(...)` or `AdamW(...)`, say.
    - `rho`: the radius of the ascent step, in the units of the weights, >= 0. Each group may have its own.
    - `check_finite`: whether a loss or gradient that is not finite raises `FloatingPointError`.
    - `no_sync`: `ddp.no_sync`, to let each worker ascend along its own gradient.

    With `rho = 0` it is the base optimizer, to the bit. Where the gradient is zero, so is the ascent step.

    Raises `TypeError` if `base_optimizer` is no optimizer, or calls a closure itself (LBFGS); `ValueError` if `rho`
    is negative or not finite, or the base optimizer has an option of that name. For the errors of a step see `step`.

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


class LSAM(RuleOptimizer):
    r"""Local-average SAM: steps along $\frac{1}{k} \sum_i \nabla L(w + u_i)$, $u_i$ uniform in a ball.

    - `rho`: the radius of the ball, in the units of the weights, >= 0.
    - `k`: the number of draws, so of closure calls a step, >= 1.
    - `antithetic`: whether the draws come in pairs `u, -u` (then `k` is even), which cancels all errors of odd order.
    - `seed`: of the draws. Those of a step follow from it and the number of steps before, both of which are saved:
      torch's own generators are left alone, a resumed run draws what it would have drawn, and workers draw alike.

    A step returns the mean loss of its `k` passes, as the algorithm does; at the weights themselves none is run.
    Groups with their own `rho` stretch the ball along their weights. Other arguments and errors as in `SAM`;
    `ValueError` also for a `k` that is not as above, or any `no_sync`; `RuntimeError` while a CUDA graph is captured,
    which would repeat one draw for ever. With `rho = 0` it is the base optimizer up to rounding, for `k = 2^j` to
    the bit.

    Source: "Local-Integrability Flatness" (LSAM), Algorithm 1.

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

    rule = staticmethod(rules.lsam)
    local_ascent = False
    carried = ("k", "antithetic", "seed", "_steps")

    def __init__(
        self,
        base_optimizer: Optimizer,
        rho: float | Tensor = 0.05,
        k: int = 2,
        antithetic: bool = False,
        *,
        seed: int = 0,
        check_finite: bool = True,
        no_sync: NoSync | None = None,
    ):
        rules.averaged.check_draws(k, antithetic)
        self.k, self.antithetic, self.seed, self._steps = k, antithetic, seed, 0
        self._wrap(base_optimizer, check_finite, no_sync, rho=rho)

    def direction(self, w: Tensor, grad: Gradient, groups: Groups) -> Tensor:
        """The rule's direction, with the draws of this step."""
        if capturing(w):
            raise RuntimeError("LSAM cannot be captured: the CUDA graph would repeat one draw for ever")
        # A generator has 32 bits of seed on a CPU: the golden ratio keeps runs with neighbouring seeds apart.
        generator = torch.Generator(w.device).manual_seed((self.seed * 2_654_435_769 + self._steps) % 2**32)
        options = {"k": self.k, "antithetic": self.antithetic, "generator": generator}
        return self.rule(w, grad, **options, **self.arguments(w, groups))

    def loss(self, passes: Passes) -> Tensor | float:
        """The mean over the passes."""
        return sum(passes.losses) / len(passes.losses)

    def settle(self, params: list[Tensor], sound: bool | Tensor) -> None:
        """Goes on to the next draws."""
        self._steps += 1

    def memory(self) -> dict[str, Any]:
        """Where the draws stand."""
        return {"seed": self.seed, "steps": self._steps}

    def recall(self, memory: dict[str, Any]) -> None:
        """Goes on with the draws from where they stood."""
        self.seed, self._steps = memory.get("seed", self.seed), memory.get("steps", 0)


class CSAM(RuleOptimizer):
    r"""SAM with an ascent to where the gradient noise grows: steps along $\nabla L(w + \rho_{cov}\, d / \|d\|)$.

    `d` is the change of the gradient over SAM's ascent, less the moving average of that change: see
    `flatlab.rules.csam`, also for how the printed algorithm is read. Three closure calls a step.

    - `rho`, `rho_cov`: the radii of the two ascents, in the units of the weights, >= 0.
    - `ema`: the share of the old in the moving average, between 0 and 1 (the paper's alpha; RMSprop has that name).

    All three are group options. The average is a part of the state: it is saved as `state_dict()["rule"]`, starts
    anew from a checkpoint without it, and is left as it was by a step that fails or that a scaler skips. Other
    arguments and errors as in `SAM`; `rho_cov` and `ema` are refused where `rho` would be, and any `no_sync` is. With
    both radii 0 it is the base optimizer, to the bit.

    Source: Zhou et al. ("Beyond Sharpness"), Algorithm 1.

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
    >>> opt.state_dict()["rule"]        # half of 3 * 2.5 - 3 * 2
    {'mean': {0: tensor([0.7500])}}
    """

    rule = staticmethod(rules.csam)
    local_ascent = False
    carried = ("_mean",)

    def __init__(
        self,
        base_optimizer: Optimizer,
        rho: float | Tensor = 0.1,
        rho_cov: float | Tensor = 0.2,
        ema: float = 0.9,
        *,
        check_finite: bool = True,
        no_sync: NoSync | None = None,
    ):
        self._mean: dict[Tensor, Tensor] = {}
        self._new: Tensor | None = None
        self._wrap(base_optimizer, check_finite, no_sync, rho=rho, rho_cov=rho_cov, ema=ema)

    def _check(self, group: Group) -> None:
        super()._check(group)
        if not 0 < group["ema"] < 1:
            raise ValueError(f"ema must be between 0 and 1, got {group['ema']}")

    def arguments(self, w: Tensor, groups: Groups) -> dict[str, Any]:
        """The two radii and the share of the old in the average."""
        return {option: over_groups(option, w, groups) for option in ("rho", "rho_cov", "ema")}

    def direction(self, w: Tensor, grad: Gradient, groups: Groups) -> Tensor:
        """The rule's direction; the new average waits until the step is certain."""
        old = [self._mean.get(p) for _, params in groups for p in params]
        mean = None
        if any(m is not None for m in old):
            sizes = [p.numel() for _, params in groups for p in params]
            pairs = zip(old, sizes, strict=True)
            mean = torch.cat([w.new_zeros(n) if m is None else m.reshape(-1) for m, n in pairs])
        direction, self._new = self.rule(w, grad, mean, **self.arguments(w, groups))
        return direction

    def settle(self, params: list[Tensor], sound: bool | Tensor) -> None:
        """Makes the new average the average."""
        for p, new in zip(params, unflat(self._new, params), strict=True):
            old = self._mean.get(p)
            if old is None:
                old = self._mean[p] = torch.zeros_like(new)
            old.copy_(new if sound is True else torch.where(sound, new, old))  # in place: a CUDA graph reads it there
        self._new = None

    def memory(self) -> dict[str, Any]:
        """The average for each parameter, by its place in the groups."""
        mean = {i: self._mean[p].clone() for i, p in enumerate(self._all()) if p in self._mean}
        return {"mean": mean} if mean else {}

    def recall(self, memory: dict[str, Any]) -> None:
        """Goes on with a saved average, or starts a new one."""
        params = self._all()
        self._mean = {params[i]: m.to(params[i].device, copy=True) for i, m in memory.get("mean", {}).items()}

    def _all(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]
