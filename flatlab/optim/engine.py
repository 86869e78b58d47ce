"""The torch citizen around a rule: groups, state, checks, and the base optimizer's step."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

from flatlab.landscape import Landscape
from flatlab.methods import Method, Option
from flatlab.optim.buffers import Buffers, real, unflat
from flatlab.optim.generators import Foreign
from flatlab.optim.moved import Known
from flatlab.optim.parts import Batch, PartPasses, told
from flatlab.optim.passes import Passes, all_finite, capturing
from flatlab.optim.trained import Trained

__all__ = ["RuleOptimizer", "over_groups"]

Group = dict[str, Any]
Groups = list[tuple[Group, list[Tensor]]]
BESIDE = ("base_optimizer", "check_finite", "no_sync")
"""What every optimizer takes beside the options of its method."""


class RuleOptimizer(Optimizer):
    """An optimizer that steps along a method's direction. A subclass names its `method`; nothing more is needed."""

    method: ClassVar[type[Method]]
    """The rule and what it needs."""
    base: Optimizer
    """The optimizer that was wrapped."""

    def __init_subclass__(cls) -> None:
        cls.__doc__ = cls.__doc__ or cls.method.__doc__
        cls.__signature__ = _signature(cls.method)

    def __init__(self, *args: Any, **options: Any):
        given = self.__signature__.bind(*args, **options)
        given.apply_defaults()
        base, check_finite, no_sync, *seed = (given.arguments.pop(k) for k in (*BESIDE, *_seed_of(self.method)))
        options, method, name = given.arguments, self.method, type(self).__name__
        method.check(**options)
        grouped = {k: v for k, v in options.items() if not method.options[k].shared}
        _check_base(name, base, grouped)
        if no_sync is not None and not method.local_ascent:
            raise ValueError(
                f"no_sync must be None for {name}, got {no_sync}: the first gradient has a part in the direction or "
                "in what the method remembers, and with one of its own to each worker the replicas would drift apart"
            )
        for group in base.param_groups:
            self._check(grouped | group)
        # Optimizer.__init__ would make the groups anew; its __setstate__ makes only what else an optimizer needs.
        self.__setstate__(
            {"base": base, "check_finite": check_finite, "no_sync": no_sync, "_steps": 0, "_memory": {}}
            | {k: v for k, v in options.items() if k not in grouped}
            | dict(zip(_seed_of(method), seed, strict=True))
        )
        base.defaults.update(grouped)
        self._complete()

    def __getstate__(self) -> dict[str, Any]:
        kept = ("base", "check_finite", "no_sync", "_steps", "_memory", *_seed_of(self.method), *self._shared())
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._known, self._foreign = Known(), Foreign()
        self._buffers = Buffers()
        self._masks: dict[str, tuple[list[tuple[int, bool]], Tensor]] = {}
        self._running: Passes | None = None
        self.passes = 0
        """Passes that the last step made."""
        # Saving and loading is the base's work, and so are the hooks on it.
        hooks = {k: v for k, v in vars(self.base).items() if k.startswith("_optimizer") and "state_dict" in k}
        vars(self).update(hooks)

    @property
    def first_pass(self) -> bool:
        """Within the closure: whether its samples run for the first time in this step, on their way to a direction.

        That is the pass to count hits in, or to log: it runs at the weights before the step, in LSAM at its first draw.
        """
        return self._running is not None and self._running.count == 1

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

        A method that remembers or draws adds an entry `"rule"`, which a bare base optimizer ignores on loading.
        """
        rule: dict[str, Any] = {"seed": self.seed, "steps": self._steps} if self.method.draws else {}
        kept = {i: self._memory[p].clone() for i, p in enumerate(self._all()) if p in self._memory}
        if kept:
            rule[self.method.memory] = kept
        return self.base.state_dict() | ({"rule": rule} if rule else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads what `state_dict` gave, here or of a bare base optimizer."""
        self.base.load_state_dict(state_dict)
        self._complete()
        rule = state_dict.get("rule", {})
        if self.method.draws:
            self.seed, self._steps = rule.get("seed", self.seed), rule.get("steps", 0)
        params, kept = self._all(), rule.get(self.method.memory, {})
        self._memory = {params[i]: m.to(params[i].device, copy=True) for i, m in kept.items()}

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
        self, closure: Callable[..., Tensor] | Landscape | None = None, *data: Any, scaler: GradScaler | None = None
    ) -> Tensor | float:
        """One step; returns the loss at the weights before it, detached. `flatlab.optim` says how the passes run.

        `closure` clears the gradients, runs forward and backward, and returns the loss. It is called as
        `closure(*data)`. Given a `scaler` it calls `scaler.scale(loss).backward()`; `scaler.update()` remains to the
        caller. Within the closure `first_pass` tells which pass it is; afterwards `passes` is their number.

        A method that cuts the batch needs `data`, the tensors of the batch, `(n, ...)` each. They are cut along their
        first dimension and handed on part by part; a closure that needs something else takes indices,
        `torch.arange(n)`. In place of closure and data, a landscape, `opt.step(Landscape.of(model, loss_fn, (x, y)))`:
        all parts in one batched pass, for a network without BatchNorm and dropout in train mode. There a parameter that
        the loss does not use gets a zero gradient.

        Raises `TypeError` without a closure, if it returns None, or if a gradient is sparse, and where a method cuts
        the batch without data, or with data that are no tensors; `ValueError` if a group option is out of range, the
        trained parameters are none or on several devices, the data do not suit the method, or a landscape comes with
        data or a scaler, with a model wrapped for several workers, or without a trained parameter; `RuntimeError` while
        a CUDA graph is captured, if the method cannot be; `FloatingPointError` if a loss, gradient or direction is not
        finite (with a scaler such a step is skipped instead).
        """
        name = type(self).__name__
        if isinstance(closure, Landscape):
            if data or (scaler is not None and scaler.is_enabled()):
                what = "data of its own and takes none" if data else "no scaled loss"
                raise ValueError(f"{name}.step: a landscape has {what}: write opt.step(closure, x, y, scaler=scaler)")
            return self._step_on(closure)
        if self.method.cuts:
            if closure is None or not data:
                raise TypeError(
                    f"{name}.step needs the batch beside the closure, to cut it, got {told(closure)} alone: "
                    "write opt.step(closure, x, y), with closure(x, y) on a part of the batch"
                )
            closure = Batch(name, closure, data)
        elif closure is None:
            raise TypeError(
                f"{name}.step needs a closure, to take more than one gradient: write opt.step(closure), "
                "and opt.step(closure, scaler=scaler) in place of scaler.step(opt)"
            )
        elif data:
            closure = functools.partial(closure, *data)
        self._complete()
        groups = self._trained()
        params = [p for _, members in groups for p in members]
        scale = scaler.get_scale() if scaler is not None and scaler.is_enabled() else None
        guard = scale is not None or (self.check_finite and not capturing(params[0]))
        passes = (PartPasses if self.method.cuts else Passes)(
            params,
            closure,
            everything=(p for group in self.param_groups for p in group["params"]),
            known=self._known,
            foreign=self._foreign,
            buffers=self._buffers,
            no_sync=self.no_sync,
            scale=scale,
            sign=_sign(params[0], groups),
            guard=guard,
        )
        self._running = passes
        try:
            with passes:
                direction, memory = self._direction(passes.w, passes, groups)
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
        finally:
            self._running, self.passes = None, len(passes.losses)
        self._settle(params, memory, sound)
        if scale is None:
            self.base.step()
        else:
            scaler.unscale_(self.base)  # scaler.step leaves this to a fused optimizer, whose hooks would come before
            scaler.step(self.base)
        return passes.loss()

    def _step_on(self, landscape: Landscape) -> Tensor:
        self._complete()
        groups = self._trained()
        params = [p for _, members in groups for p in members]
        if _sign(params[0], groups) is not None:
            raise ValueError("a landscape is minimized, got a group with maximize=True: write opt.step(closure, x, y)")
        trained = Trained(landscape, params)
        w = torch.cat([p.reshape(-1) for p in params])
        loss = trained.loss(w)
        direction, memory = self._direction(w, trained, groups)
        if self.check_finite and not capturing(w):
            finite = [bool(all_finite(loss)), bool(all_finite(direction))]
            if not all(finite):
                raise FloatingPointError(self._diagnosis(finite))
        self.zero_grad()
        for p, part in zip(params, unflat(direction, params), strict=True):
            p.grad = torch.empty_like(p).copy_(part)
        self._settle(params, memory, True)
        self.base.step()
        return loss

    def _direction(self, w: Tensor, grad: Any, groups: Groups) -> tuple[Tensor, Tensor | None]:
        """The method's direction at the flat weights `w`, `(d,) -> (d,)`, and what it remembers."""
        method, params = self.method, [p for _, members in groups for p in members]
        if not method.capturable and capturing(w):
            raise RuntimeError(f"{method.__name__} cannot be captured: a CUDA graph would repeat this one step for ever")
        options = {name: getattr(self, name) for name in self._shared()}
        for name, option in method.options.items():
            if option.each is not None:
                options[option.mask] = self._mask(option, w, groups)
            elif not option.shared:
                options[name] = over_groups(name, w, groups)
        if method.draws:
            # A generator has 32 bits of seed on a CPU: the golden ratio keeps runs with neighbouring seeds apart.
            seed = (self.seed * 2_654_435_769 + self._steps) % 2**32
            options["generator"] = torch.Generator(w.device).manual_seed(seed)
        if not method.memory:
            return method.direction(w, grad, **options), None
        old = [self._memory.get(p) for p in params]
        known = any(m is not None for m in old)
        pairs = zip(old, params, strict=True)
        flat = [w.new_zeros(_size(p)) if m is None else m.reshape(-1) for m, p in pairs] if known else None
        return method.direction(w, grad, **options, **{method.memory: None if flat is None else torch.cat(flat)})

    def _settle(self, params: list[Tensor], memory: Tensor | None, sound: bool | Tensor) -> None:
        """The step is certain: draws go on, and what the method remembers is kept unless the step will be skipped."""
        self._steps += 1
        if memory is None:
            return
        new = unflat(memory, [real(p) for p in params])
        for p, m in zip(params, new, strict=True):
            if p not in self._memory:
                self._memory[p] = torch.zeros_like(m)
        old = [self._memory[p] for p in params]  # changed in place: a CUDA graph reads it there
        if sound is not True:
            new = unflat(torch.where(sound, memory, torch.cat([m.reshape(-1) for m in old])), old)
        torch._foreach_copy_(old, new)

    def _mask(self, option: Option, w: Tensor, groups: Groups) -> Tensor | None:
        """A boolean for every weight, made once and anew where a group's value has changed; None where all are true."""
        values = [(_size(p), option.each(p, group[option.name])) for group, params in groups for p in params]
        if all(yes for _, yes in values):
            return None
        known, mask = self._masks.get(option.name, (None, None))
        if known != values or mask.device != w.device:
            mask = torch.cat([w.new_full((n,), yes, dtype=torch.bool) for n, yes in values])
            self._masks[option.name] = values, mask
        return mask

    def _all(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _shared(self) -> list[str]:
        return [name for name, option in self.method.options.items() if option.shared]

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

    def _grouped(self) -> list[Option]:
        return [option for option in self.method.options.values() if not option.shared]

    def _check(self, group: Group) -> None:
        for option in self._grouped():
            option.check(group[option.name])

    def _complete(self) -> None:
        """Gives groups the options they lack and checks the others, which a schedule or a checkpoint may have set."""
        for group in self.param_groups:
            for option in self._grouped():
                group.setdefault(option.name, self.defaults[option.name])
            self._check(group)

    def _diagnosis(self, finite: list[bool]) -> str:
        bad, passes = finite.index(False) + 1, len(finite) - 1
        what = f"loss or gradient of pass {bad} of {passes}" if bad <= passes else "direction"
        options = [k for k in ("lr", *(o.name for o in self._grouped())) if k in self.defaults]
        told = "; ".join(", ".join(f"{k}={float(group[k]):g}" for k in options) for group in self.param_groups)
        return (
            f"{type(self).__name__}: the {what} is not finite ({told}). Weights and optimizer state are as before the "
            "step: lower lr or rho, or look at the batch"
        )


def _seed_of(method: type[Method]) -> tuple[str, ...]:
    return ("seed",) if method.draws else ()


def _signature(method: type[Method]) -> inspect.Signature:
    """`(base_optimizer, ..., *, seed, check_finite, no_sync)`, with the method's options in its middle."""
    place, named = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    options = [inspect.Parameter(name, place, default=option.default) for name, option in method.options.items()]
    seed = [inspect.Parameter(name, named, default=0) for name in _seed_of(method)]
    others = [inspect.Parameter("check_finite", named, default=True), inspect.Parameter("no_sync", named, default=None)]
    return inspect.Signature([inspect.Parameter(BESIDE[0], place), *options, *seed, *others])


def _size(p: Tensor) -> int:
    return p.numel() * (2 if p.is_complex() else 1)


def _sign(like: Tensor, groups: Groups) -> float | Tensor | None:
    """-1 for what is maximized: None where nothing is, a number where all is, else for every weight, `(d,)`."""
    signs = [-1.0 if group.get("maximize") else 1.0 for group, _ in groups]
    if len(set(signs)) == 1:
        return None if signs[0] > 0 else signs[0]
    sizes = [sum(map(_size, params)) for _, params in groups]
    return torch.cat([like.new_full((n,), sign, dtype=torch.float32) for n, sign in zip(sizes, signs, strict=True)])


def over_groups(option: str, w: Tensor, groups: Groups) -> float | Tensor:
    """An option for the rule: the value that all groups share, or one for each weight, of shape `(d,)`."""
    values = [group[option] for group, _ in groups]
    first, numbers = values[0], not any(isinstance(v, Tensor) for v in values)
    if all(v is first or (numbers and v == first) for v in values):  # tensors are not compared: that stalls a device
        return first
    sizes = [sum(map(_size, params)) for _, params in groups]
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
