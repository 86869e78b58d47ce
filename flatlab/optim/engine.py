"""The step: the passes that a rule asks for, its direction, and the base optimizer's step along it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

from flatlab.landscape import Landscape
from flatlab.methods import Option
from flatlab.optim.flat import Rows, flat, real, unflat
from flatlab.optim.generators import Foreign
from flatlab.optim.groups import Groups, over_groups, refuse_lazy, sign_of, size, trained
from flatlab.optim.moved import Known
from flatlab.optim.outside import Outside
from flatlab.optim.parts import Batch, PartPasses, told
from flatlab.optim.passes import Passes, all_finite, capturing
from flatlab.optim.split import Elsewhere, Split
from flatlab.optim.trained import Trained
from flatlab.optim.trial import reads_late, splits
from flatlab.optim.wrapper import STEPS, Wrapper, signature

__all__ = ["RuleOptimizer"]


class RuleOptimizer(Wrapper):
    """An optimizer that steps along a method's direction. A subclass names its `method`; nothing more is needed."""

    def __init_subclass__(cls) -> None:
        cls.__doc__ = cls.__doc__ or cls.method.__doc__
        cls.__signature__ = signature(cls.method)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._known, self._foreign = Known(), Foreign()
        self._rows = Rows()
        self._outside = Outside()
        outside = self._outside
        outside.keep(self._all())  # there before this object was
        # Not a method of this object: a cycle would keep the weights alive until it is collected.
        self.base.register_step_post_hook(
            lambda base, *_: outside.keep([p for g in base.param_groups for p in g["params"]])
        )
        self._masks: dict[str, tuple[list[tuple[int, bool]], Tensor]] = {}
        self._running: Passes | None = None
        self._half: tuple[Split, Groups, GradScaler | None] | None = None
        self._splits: bool | None = None
        self._late: bool | None = None
        self.passes = 0
        """Passes that the last step with a closure made."""

    @property
    def first_pass(self) -> bool:
        """Within the closure: whether its samples run for the first time in this step, on their way to a direction.

        That is the pass to count hits in, or to log: it runs at the weights before the step, in LSAM at its first draw.
        """
        return self._running is not None and self._running.count == 1

    @torch._disable_dynamo  # in a compiled training loop: what a pass calls may be compiled, what looks at it not
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
        self._refuse_half("stepped")
        if self._running is not None:
            raise RuntimeError(f"{name}.step runs already: neither its closure nor another thread can call it meanwhile")
        if isinstance(closure, Landscape):
            if data or (scaler is not None and scaler.is_enabled()):
                what = "data of its own and takes none" if data else "no scaled loss"
                raise ValueError(f"{name}.step: a landscape has {what}: write opt.step(closure, x, y, scaler=scaler)")
            return self._step_on(closure)
        if closure is not None and not callable(closure):
            raise TypeError(
                f"{name}.step takes the closure itself, a function that runs forward and backward and returns the loss, "
                f"got a {type(closure).__name__}: write opt.step(closure)"
            )
        if any(isinstance(d, GradScaler) for d in data):
            raise TypeError(f"{name}.step takes a GradScaler by name: write opt.step(closure, scaler=scaler)")
        if closure is None and not data and self._state_is_wanted():
            return self._make_state()
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
                "and opt.step(closure, scaler=scaler) in place of scaler.step(opt); a loop that runs its backward passes "
                "itself calls first_step and second_step"
            )
        elif data:
            closure = functools.partial(closure, *data)
        if self._late is None:
            self._late = reads_late(self.method, self._chosen())
        groups, params = self._begin()
        kind = PartPasses if self.method.cuts else Passes
        passes = self._passes(kind, groups, params, scaler, closure=closure, late=self._late)
        self._running = passes
        try:
            with passes:
                direction, memory = self._direction(passes.w, passes, groups)
                direction, sound = self._sound(passes, direction)
            passes.hand_over(direction, kept=memory is not None)
        finally:
            self._running, self.passes = None, len(passes.losses)
            self._outside.keep(params)
        self._end(params, memory, sound, scaler)
        return passes.loss()

    @torch.no_grad()
    def first_step(self, *, scaler: GradScaler | None = None) -> None:
        """The first half of a step, for a loop without a closure: its backward pass has left the gradient at the weights.

        Moves the weights to where the method wants its second gradient, and clears the gradients. Then the loop runs the
        same batch again, forward and backward, and calls `second_step`. Together they are `step(closure)`, to the bit, but
        for what only a step that runs the passes can see to: each pass draws a dropout mask of its own, and buffers that
        steer a train-mode forward (spectral norm's vectors) enter the second pass as the first one left them. What the
        second pass moves (statistics of norm layers) goes back afterwards, as in `step`. A `scaler` has scaled both losses.

        Raises `TypeError` for a method whose step is not two gradients, the first at the weights; `RuntimeError` if the
        step before has not been finished, or with `every`, where the loop itself knows when to call `opt.base.step()`.

        >>> from flatlab.optim import SAM
        >>> w = torch.tensor([2.0], requires_grad=True)
        >>> opt = SAM(torch.optim.SGD([w], lr=0.1), rho=0.5)
        >>> (1.5 * w**2).sum().backward()
        >>> opt.first_step()
        >>> w.data
        tensor([2.5000])
        >>> (1.5 * w**2).sum().backward()
        >>> opt.second_step()
        >>> w.data                          # 2 - 0.1 * 3 * (2 + 0.5)
        tensor([1.2500])
        """
        name = type(self).__name__
        self._refuse_half("stepped")
        if self.every is not None:
            raise RuntimeError(
                f"{name}: every={self.every} counts steps of a closure; a split loop calls opt.base.step() itself"
            )
        if self._splits is None:
            self._splits = splits(self.method, self._chosen())
        if not self._splits:
            raise TypeError(
                f"{name}.first_step: only a method of two gradients, the first at the weights, has halves: "
                "write opt.step(closure)"
            )
        groups, params = self._begin(looks=False)
        passes = self._passes(Split, groups, params, scaler)
        passes.gradient_is_there()
        passes.leave()
        self._half = passes, groups, scaler
        try:
            self._direction(passes.w, passes, groups)
        except Elsewhere:
            return
        except BaseException:
            self.undo_first_step()
            raise

    @Optimizer.profile_hook_step
    @torch.no_grad()
    def second_step(self) -> None:
        """The second half: takes the weights back and steps along the method's direction. `first_step` says how.

        With a scaler in `first_step` an infinite gradient in either pass skips the step; `scaler.update()` remains to the
        caller. Raises `RuntimeError` without a `first_step`, and `FloatingPointError` as `step` does; then the weights are
        back, too.
        """
        passes, groups, scaler = self._first_half("second_step")
        self._opt_called = True  # what a schedule looks for, to tell whether it came too early
        try:
            passes.gradient_is_there()
            direction, memory = self._direction(passes.w, passes, groups)
            direction, sound = self._sound(passes, direction)
        finally:
            self.undo_first_step()
        passes.hand_over(direction)
        self.passes = passes.count
        self._end(passes.params, memory, sound, scaler)

    @torch.no_grad()
    def undo_first_step(self) -> None:
        """Gives the weights back without a step, where a loop gives up between the halves. The gradients stay.

        Raises `RuntimeError` without a `first_step`.
        """
        passes, _, _ = self._first_half("undo_first_step")
        self._half = None
        passes.come_back()

    def _first_half(self, wanted: str) -> tuple[Split, Groups, GradScaler | None]:
        if self._half is None:
            raise RuntimeError(f"{type(self).__name__}.{wanted} needs a first_step before it: one for every second_step")
        return self._half

    def _step_on(self, landscape: Landscape) -> Tensor:
        groups, params = self._begin()
        if sign_of(params[0], groups) is not None:
            raise ValueError("a landscape is minimized, got a group with maximize=True: write opt.step(closure, x, y)")
        on = Trained(landscape, params)
        w = torch.cat([p.reshape(-1) for p in params])
        loss = on.loss(w)
        direction, memory = self._direction(w, on, groups)
        if self.check_finite and not capturing(w):
            finite = [bool(all_finite(loss)), bool(all_finite(direction))]
            if not all(finite):
                raise FloatingPointError(self._diagnosis(finite))
        self.zero_grad()
        for p, part in zip(params, unflat(direction, params), strict=True):
            p.grad = torch.empty_like(p).copy_(part)
        self._end(params, memory, True, None)
        return loss

    def _begin(self, looks: bool = True) -> tuple[Groups, list[Tensor]]:
        """The groups and parameters to train, once all that a step needs of them is there."""
        name = type(self).__name__
        if not self._known.searched:  # the first step
            refuse_lazy(name, self.param_groups)
        self._complete()
        groups = trained(name, self.param_groups)
        params = [p for _, members in groups for p in members]
        if looks and not capturing(params[0]):
            self._outside.look(name, params)
        return groups, params

    def _passes(
        self, kind: type[Passes], groups: Groups, params: list[Tensor], scaler: GradScaler | None, **more: Any
    ) -> Any:
        scale = scaler.get_scale() if scaler is not None and scaler.is_enabled() else None
        return kind(
            params,
            everything=self._all(),
            known=self._known,
            foreign=self._foreign,
            rows=self._rows,
            no_sync=None if self._plain else self.no_sync,  # the only gradient of a step is that of all workers
            scale=scale,
            sign=sign_of(params[0], groups),
            guard=scale is not None or (self.check_finite and not capturing(params[0])),
            **more,
        )

    def _sound(self, passes: Passes, direction: Tensor) -> tuple[Tensor, bool | Tensor]:
        """The direction, scaled as the base will find it, and whether all was finite: without a scaler it raises if not."""
        if not passes.guard:
            return direction, True
        finite = [*passes.finite, passes.known_finite(direction)]
        if isinstance(finite[0], Tensor):
            finite = torch.stack(finite).tolist() if passes.scale is None else torch.stack(finite)
        if passes.scale is not None:
            sound = torch.as_tensor(finite, device=direction.device).all()
            return torch.where(sound, direction * passes.scale, torch.inf), sound
        if not all(finite):
            raise FloatingPointError(self._diagnosis(finite))
        return direction, True

    def _end(self, params: list[Tensor], memory: Tensor | None, sound: bool | Tensor, scaler: GradScaler | None) -> None:
        """The base's step along what stands in `.grad`. Draws go on, and what the method remembers is kept with it."""
        if STEPS in self.defaults:
            self._steps += 1
        if scaler is None or not scaler.is_enabled():
            self.base.step()
        else:
            scaler.unscale_(self.base)  # scaler.step leaves this to a fused optimizer, whose hooks would come before
            scaler.step(self.base)
        if memory is not None:
            self._remember(params, memory, sound)

    def _state_is_wanted(self) -> bool:
        """Whether this is how torch.distributed.checkpoint has state made: there is none, all rates and gradients are 0."""
        groups = self.param_groups
        return (
            not self.state
            and all(float(group.get("lr", 1.0)) == 0 for group in groups)
            and all(p.grad is not None and not p.grad.any() for p in self._all() if p.requires_grad)
        )

    def _make_state(self) -> float:
        self.base.step()
        if self.method.memory:
            params = [p for p in self._all() if p.requires_grad]
            self._remember(params, flat([torch.zeros_like(real(p)) for p in params]), True)
        return 0.0

    @property
    def _plain(self) -> bool:
        """Whether this step is one of those between that `every` leaves to the base."""
        return self.every is not None and self._steps % self.every != 0

    def _direction(self, w: Tensor, grad: Any, groups: Groups) -> tuple[Tensor, Tensor | None]:
        """The method's direction at the flat weights `w`, `(d,) -> (d,)`, and what it remembers."""
        method, params = self.method, [p for _, members in groups for p in members]
        if self.every is not None:
            if capturing(w):
                raise RuntimeError(f"{method.__name__} with every={self.every} cannot be captured: steps are of two kinds")
            if self._plain:
                return grad(w), None
        if not method.capturable and capturing(w):
            raise RuntimeError(f"{method.__name__} cannot be captured: a CUDA graph would repeat this one step for ever")
        options = self._chosen()
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
        old = [self.state.get(p, {}).get(self._memory_key) for p in params]
        known = any(m is not None for m in old)
        pairs = zip(old, params, strict=True)
        kept = [w.new_zeros(size(p)) if m is None else m.reshape(-1) for m, p in pairs] if known else None
        return method.direction(w, grad, **options, **{method.memory: None if kept is None else torch.cat(kept)})

    def _remember(self, params: list[Tensor], memory: Tensor, sound: bool | Tensor) -> None:
        """What the method remembers, in the state of each parameter, unless the scaler has skipped the step."""
        key, new = self._memory_key, unflat(memory, [real(p) for p in params])
        # A base makes the state of a parameter at its first gradient, and takes any entry for a sign that it has.
        kept = [(p, m) for p, m in zip(params, new, strict=True) if p.grad is not None or key in self.state.get(p, ())]
        if any(key not in self.state.get(p, ()) for p, _ in kept):
            if not sound:  # known to be, or else asked of the device
                return
            for p, m in kept:
                self.state[p].setdefault(key, torch.zeros_like(m))
        old, new = [self.state[p][key] for p, _ in kept], [m for _, m in kept]  # in place: a CUDA graph reads it there
        if sound is not True:
            new = [torch.where(sound, m, o) for m, o in zip(new, old, strict=True)]
        if old:
            torch._foreach_copy_(old, new)

    def _mask(self, option: Option, w: Tensor, groups: Groups) -> Tensor | None:
        """A boolean for every weight, made once and anew where a group's value has changed; None where all are true."""
        values = [(size(p), option.each(p, group[option.name])) for group, params in groups for p in params]
        if all(yes for _, yes in values):
            return None
        known, mask = self._masks.get(option.name, (None, None))
        if known != values or mask.device != w.device:
            mask = torch.cat([w.new_full((n,), yes, dtype=torch.bool) for n, yes in values])
            self._masks[option.name] = values, mask
        return mask

    def _diagnosis(self, finite: list[bool]) -> str:
        bad, passes = finite.index(False) + 1, len(finite) - 1
        what = f"loss or gradient of pass {bad} of {passes}" if bad <= passes else "direction"
        options = [k for k in ("lr", *(o.name for o in self._grouped())) if k in self.defaults]
        told = "; ".join(", ".join(f"{k}={float(group[k]):g}" for k in options) for group in self.param_groups)
        return (
            f"{type(self).__name__}: the {what} is not finite ({told}). Weights and optimizer state are as before the "
            "step: lower lr or rho, or look at the batch"
        )
