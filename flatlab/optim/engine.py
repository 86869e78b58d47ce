"""The torch citizen around a rule: groups, state, checks, and the base optimizer's step."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from flatlab.optim.buffers import Buffers
from flatlab.optim.passes import Passes, capturing
from flatlab.rules import Gradient, non_negative

__all__ = ["RuleOptimizer", "over_groups"]

Group = dict[str, Any]
Groups = list[tuple[Group, list[Tensor]]]
NoSync = Callable[[], AbstractContextManager]


class RuleOptimizer(Optimizer):
    """An optimizer that steps along a rule's direction: a method names its `rule`.

    A rule with more hyperparameters declares them to `_wrap` as group options and hands them on in `arguments`.
    """

    rule: ClassVar[Callable[..., Any]]
    local_ascent: ClassVar[bool] = True
    """Whether workers that each take a first gradient of their own still get equal directions."""
    carried: ClassVar[tuple[str, ...]] = ()
    """The names of what a method keeps beside groups and state, for copies and pickles."""

    base: Optimizer
    """The optimizer that was wrapped."""

    def __init__(
        self,
        base_optimizer: Optimizer,
        rho: float | Tensor = 0.05,
        *,
        check_finite: bool = True,
        no_sync: NoSync | None = None,
    ):
        self._wrap(base_optimizer, check_finite, no_sync, rho=rho)

    def _wrap(self, base: Optimizer, check_finite: bool, no_sync: NoSync | None, **options: float | Tensor) -> None:
        name = type(self).__name__
        _check_base(name, base, options)
        if no_sync is not None and not self.local_ascent:
            raise ValueError(
                f"no_sync must be None for {name}, got {no_sync}: the first gradient has a part in the direction or "
                "in what the method remembers, and with one of its own to each worker the replicas would drift apart"
            )
        self._options = tuple(options)
        for group in base.param_groups:
            self._check(options | group)
        # Optimizer.__init__ would make the groups anew; its __setstate__ makes only what else an optimizer needs.
        self.__setstate__({"base": base, "check_finite": check_finite, "no_sync": no_sync})
        base.defaults.update(options)
        self._complete()

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("base", "check_finite", "no_sync", "_options", *self.carried)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._seen: WeakSet[nn.Module] = WeakSet()
        self._norm_layers: WeakSet[nn.Module] = WeakSet()
        self._buffers = Buffers()
        # Saving and loading is the base's work, and so are the hooks on it.
        hooks = {k: v for k, v in vars(self.base).items() if k.startswith("_optimizer") and "state_dict" in k}
        vars(self).update(hooks)

    @property
    def param_groups(self) -> list[Group]:
        """The base optimizer's groups; `rho` and its like are among their options."""
        return self.base.param_groups

    @property
    def state(self) -> dict[Tensor, Any]:
        """The base optimizer's state."""
        return self.base.state

    @property
    def defaults(self) -> dict[str, Any]:
        """The base optimizer's defaults, `rho` and its like among them."""
        return self.base.defaults

    def state_dict(self) -> dict[str, Any]:
        """The base optimizer's `state_dict`: `rho` and its like are in the groups.

        A method with a memory of its own adds an entry `"rule"`, which a bare base optimizer ignores on loading.
        """
        memory = self.memory()
        return self.base.state_dict() | ({"rule": memory} if memory else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads what `state_dict` gave, here or of a bare base optimizer."""
        self.base.load_state_dict(state_dict)
        self._complete()
        self.recall(state_dict.get("rule", {}))

    def memory(self) -> dict[str, Any]:
        """What the method itself remembers from step to step, as numbers and tensors."""
        return {}

    def recall(self, memory: dict[str, Any]) -> None:
        """Takes up what `memory` gave; an empty one where the checkpoint had none."""

    def settle(self, params: list[Tensor], sound: bool | Tensor) -> None:
        """Called when a step is certain: the method may remember it, unless it is not `sound` and will be skipped."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears the gradients of all groups."""
        if set_to_none and type(self.base).zero_grad is Optimizer.zero_grad:
            for group in self.param_groups:  # what that does, without the cost of its entry in the profile
                for p in group["params"]:
                    p.grad = None
        else:
            self.base.zero_grad(set_to_none)

    def add_param_group(self, param_group: Group) -> None:
        """Adds a group. Its options may include `rho` and its like: a `ValueError` names one that is not allowed."""
        self._check(self.defaults | param_group)
        self.base.add_param_group(param_group)

    @torch.no_grad()
    def step(
        self, closure: Callable[..., Tensor] | None = None, *data: Any, scaler: GradScaler | None = None
    ) -> Tensor | float:
        """One step; returns the loss at the weights before it, detached. `flatlab.optim` says how the passes run.

        `closure` clears the gradients, runs forward and backward, and returns the loss. It is called as
        `closure(*data)`. Given a `scaler` it calls `scaler.scale(loss).backward()`; `scaler.update()` remains to the
        caller.

        Raises `TypeError` without a closure, if it returns None, or if a gradient is sparse; `ValueError` if a group
        option is out of range, or the trained parameters are none or on several devices; `FloatingPointError` if
        a loss, gradient or direction is not finite (with a scaler such a step is skipped instead).
        """
        name = type(self).__name__
        if closure is None:
            raise TypeError(
                f"{name}.step needs a closure, to take more than one gradient: write opt.step(closure), "
                "and opt.step(closure, scaler=scaler) in place of scaler.step(opt)"
            )
        self._complete()
        groups = self._trained()
        params = [p for _, members in groups for p in members]
        scale = scaler.get_scale() if scaler is not None and scaler.is_enabled() else None
        guard = scale is not None or (self.check_finite and not capturing(params[0]))
        passes = Passes(
            params,
            functools.partial(closure, *data) if data else closure,
            everything=(p for group in self.param_groups for p in group["params"]),
            seen=self._seen,
            layers=self._norm_layers,
            buffers=self._buffers,
            no_sync=self.no_sync,
            scale=scale,
            guard=guard,
        )
        with passes:
            direction = self.direction(passes.w, passes, groups)
            sound: bool | Tensor = True
            if guard:
                finite = [*passes.finite, passes.known_finite(direction)]
                if isinstance(finite[0], Tensor):
                    finite = torch.stack(finite).tolist() if scale is None else torch.stack(finite)
                if scale is not None:
                    sound = torch.as_tensor(finite, device=direction.device).all()
                    direction = torch.where(sound, direction * scale, torch.inf)
                elif not all(finite):
                    raise FloatingPointError(self._diagnosis(finite))
        passes.hand_over(direction)
        self.settle(params, sound)
        if scale is None:
            self.base.step()
        else:
            scaler.unscale_(self.base)  # scaler.step leaves this to a fused optimizer, whose hooks would come before
            scaler.step(self.base)
        return self.loss(passes)

    def loss(self, passes: Passes) -> Tensor | float:
        """What a step returns: the loss of the first pass, at the weights before the step."""
        return passes.losses[0]

    def direction(self, w: Tensor, grad: Gradient, groups: Groups) -> Tensor:
        """The rule's direction at the flat weights `w`: `(d,) -> (d,)`."""
        return self.rule(w, grad, **self.arguments(w, groups))

    def arguments(self, w: Tensor, groups: Groups) -> dict[str, Any]:
        """The rule's hyperparameters, each a number, or of shape `(d,)` where the groups differ."""
        return {"rho": over_groups("rho", w, groups)}

    def _trained(self) -> Groups:
        """The groups with those of their parameters that require a gradient; no group that has none."""
        groups = [(group, [p for p in group["params"] if p.requires_grad]) for group in self.param_groups]
        groups = [(group, params) for group, params in groups if params]
        devices = {p.device for _, params in groups for p in params}
        if len(devices) != 1:
            name, found = type(self).__name__, ", ".join(sorted(map(str, devices)))
            raise ValueError(
                f"{name} takes a norm over all parameters, which must be on one device, got {found}"
                if devices
                else f"{name} has nothing to train: no parameter in its groups requires a gradient"
            )
        return groups

    def _check(self, group: Group) -> None:
        for option in self._options:
            non_negative(option, group[option])

    def _complete(self) -> None:
        """Gives groups the options they lack and checks the others, which a schedule or a checkpoint may have set."""
        for group in self.param_groups:
            for option in self._options:
                group.setdefault(option, self.defaults[option])
            self._check(group)

    def _diagnosis(self, finite: list[bool]) -> str:
        bad, passes = finite.index(False) + 1, len(finite) - 1
        what = f"loss or gradient of pass {bad} of {passes}" if bad <= passes else "direction"
        options = [k for k in ("lr", *self._options) if k in self.defaults]
        told = "; ".join(", ".join(f"{k}={float(group[k]):g}" for k in options) for group in self.param_groups)
        return (
            f"{type(self).__name__}: the {what} is not finite ({told}). Weights and optimizer state are as before the "
            "step: lower lr or rho, or look at the batch"
        )


def over_groups(option: str, w: Tensor, groups: Groups) -> float | Tensor:
    """An option for the rule: the value that all groups share, or one for each weight, of shape `(d,)`."""
    values = [group[option] for group, _ in groups]
    first, numbers = values[0], not any(isinstance(v, Tensor) for v in values)
    if all(v is first or (numbers and v == first) for v in values):  # tensors are not compared: that stalls a device
        return first
    sizes = [sum(p.numel() for p in params) for _, params in groups]
    # Filled on the device: a copy from the host would stall it, too, and fail while a graph is captured.
    return torch.cat([w.new_zeros(n) + v for v, n in zip(values, sizes, strict=True)])


def _check_base(name: str, base: Optimizer, options: dict[str, Any]) -> None:
    if not isinstance(base, Optimizer):
        is_class = isinstance(base, type)
        given = f"the class {base.__name__}" if is_class else f"a {type(base).__name__}"
        wanted = base.__name__ if is_class and issubclass(base, Optimizer) else "SGD"
        raise TypeError(
            f"base_optimizer must be a torch.optim.Optimizer, got {given}: "
            f"write {name}({wanted}(model.parameters(), lr=...), ...)"
        )
    kind = type(base).__name__
    closure = inspect.signature(type(base).step).parameters.get("closure")
    if isinstance(base, RuleOptimizer) or (closure is not None and closure.default is closure.empty):
        raise TypeError(
            f"base_optimizer must step along a given gradient, got {kind}, which calls a closure: "
            f"{name} needs one like SGD or AdamW"
        )
    for option in options:
        if option in base.defaults:
            raise ValueError(
                f"base_optimizer already has a group option {option!r}, got {kind}: either it is wrapped (make a new "
                f"one, or set {option} in its param_groups), or it means something else by it (choose another)"
            )
