"""An optimizer around another, as torch knows optimizers: groups, state, checkpoints, and the checks of all of them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor
from torch.optim import Optimizer

from flatlab.methods import Method, Option
from flatlab.optim.groups import Group, refuse_sharded, refuse_twice

__all__ = ["STEPS", "Wrapper", "signature"]

BESIDE = ("base_optimizer", "check_finite", "no_sync", "every")
"""What every optimizer takes beside the options of its method."""
OURS = "rule_"
"""How entries of the base's groups and state begin that belong to the method alone."""
SEED, STEPS = OURS + "seed", OURS + "steps"


class Wrapper(Optimizer):
    """The base optimizer with a method's options in its groups, and what the method remembers in its state."""

    method: ClassVar[type[Method]]
    """The rule and what it needs."""
    base: Optimizer
    """The optimizer that was wrapped."""
    _seen: Sequence[dict[str, Any]] = ()
    """The options of each group when they were last complete: a checkpoint of the bare base has none."""
    _half: Any = None
    """What stands between the two halves of a step, while it does."""

    def __init__(self, *args: Any, **options: Any):
        _check_arguments(type(self).__name__, self.__signature__, args, options)
        given = self.__signature__.bind(*args, **options)
        given.apply_defaults()
        base, check_finite, no_sync, every, *seed = (given.arguments.pop(k) for k in (*BESIDE, *_seed_of(self.method)))
        options, method, name = given.arguments, self.method, type(self).__name__
        method.check(**options)
        if every is not None and (every < 1 or every != int(every)):
            raise ValueError(f"every must be None or a whole number of steps >= 1, got {every!r}")
        grouped = {k: v for k, v in options.items() if not method.options[k].shared}
        own = dict(zip((SEED,) * method.draws, seed, strict=True))
        own |= {STEPS: 0} if method.draws or every is not None else {}
        _check_base(name, base, grouped | own)
        refuse_sharded(name, base.param_groups)
        refuse_twice(name, base.param_groups)
        if no_sync is not None and not method.local_ascent:
            raise ValueError(
                f"no_sync must be None for {name}, got {no_sync}: the first gradient has a part in the direction or "
                "in what the method remembers, and with one of its own to each worker the replicas would drift apart"
            )
        for group in base.param_groups:
            self._check(grouped | group)
        # Optimizer.__init__ would make the groups anew; its __setstate__ makes only what else an optimizer needs.
        self.__setstate__(
            {"base": base, "check_finite": check_finite, "no_sync": no_sync, "every": every}
            | {k: v for k, v in options.items() if k not in grouped}
        )
        base.defaults.update(grouped | own)
        self._complete()

    def __getstate__(self) -> dict[str, Any]:
        self._refuse_half("copied")
        kept = ("base", "check_finite", "no_sync", "every", *self._shared())
        return {name: getattr(self, name) for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # Saving and loading is the base's work, and so are the hooks on it.
        hooks = {k: v for k, v in vars(self.base).items() if k.startswith("_optimizer") and "state_dict" in k}
        vars(self).update(hooks)

    @property
    def param_groups(self) -> list[Group]:
        """The base optimizer's groups; `rho` and its like are among their options."""
        return self.base.param_groups

    @param_groups.setter
    def param_groups(self, groups: list[Group]) -> None:
        self.base.param_groups = groups

    @property
    def state(self) -> dict[Tensor, Any]:
        """The base optimizer's state, with what the method remembers of each parameter."""
        return self.base.state

    @state.setter
    def state(self, state: dict[Tensor, Any]) -> None:
        self.base.state = state

    @property
    def defaults(self) -> dict[str, Any]:
        """The base optimizer's defaults, `rho` and its like among them."""
        return self.base.defaults

    @property
    def seed(self) -> int:
        """Of the draws of a method that draws."""
        return self.param_groups[0][SEED]

    def state_dict(self) -> dict[str, Any]:
        """The base optimizer's `state_dict`: `rho` and its like are in the groups, and so are seed and steps of draws.

        What a method remembers stands in the state of each parameter, as `rule_mean` in CSAM. A bare base optimizer that
        loads them carries such entries along. Raises `RuntimeError` between the halves of a step.
        """
        self._refuse_half("saved")
        saved = self.base.state_dict()
        if self.method.memory:  # a copy, for later steps write to it in place
            key = self._memory_key
            state = saved["state"].items()
            saved["state"] = {i: s | {key: s[key].clone()} if key in s else s for i, s in state}
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads what `state_dict` gave, here or of a bare base optimizer."""
        self._refuse_half("loaded")
        self._complete()  # the groups' own options are noted
        own, params = {*self._own(), self._memory_key}, self._all()
        self.base.load_state_dict(state_dict)
        for entries in (*self.param_groups, *self.state.values()):  # those of another method
            for key in [k for k in entries if isinstance(k, str) and k.startswith(OURS) and k not in own]:
                del entries[key]
        self._complete()
        kept = {i: s[self._memory_key] for i, s in state_dict["state"].items() if self._memory_key in s}
        if "rule" in state_dict:  # as version 0.1 saved it
            kept |= state_dict["rule"].get(self.method.memory, {})
            for group in self.param_groups:
                group |= {OURS + k: v for k, v in state_dict["rule"].items() if OURS + k in own}
        of = dict(zip((i for group in state_dict["param_groups"] for i in group["params"]), params, strict=True))
        for i, m in kept.items():  # torch has rounded it to the type of the parameter
            self.state[of[i]][self._memory_key] = m.to(of[i].device, copy=True)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears the gradients of all groups."""
        if set_to_none and type(self.base).zero_grad is Optimizer.zero_grad:
            for group in self.param_groups:  # what that does, without the cost of its entry in the profile
                for p in group["params"]:
                    p.grad = None
        else:
            self.base.zero_grad(set_to_none)

    def add_param_group(self, param_group: Group) -> None:
        """Adds a group. Its options may include `rho` and its like.

        Raises `ValueError`, and adds nothing, for an option that is not allowed, a parameter that is sharded, or one that
        shares its memory with another.
        """
        self._check(self.defaults | param_group)
        if STEPS in self.defaults:
            param_group = {STEPS: self._steps} | param_group
        self.base.add_param_group(param_group)
        try:
            refuse_sharded(type(self).__name__, self.param_groups[-1:])
            refuse_twice(type(self).__name__, self.param_groups)
        except ValueError:
            self.param_groups.pop()
            raise

    def _refuse_half(self, what: str) -> None:
        if self._half is not None:
            raise RuntimeError(
                f"{type(self).__name__} cannot be {what} between first_step and second_step, where the weights are "
                "perturbed: finish the step, or call undo_first_step"
            )

    def _all(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _shared(self) -> list[str]:
        return [name for name, option in self.method.options.items() if option.shared]

    def _chosen(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._shared()}

    @property
    def _memory_key(self) -> str:
        return OURS + self.method.memory

    def _own(self) -> list[str]:
        """What the method keeps in every group beside its options."""
        return [key for key in (SEED, STEPS) if key in self.defaults]

    @property
    def _steps(self) -> int:
        return self.param_groups[0][STEPS]

    @_steps.setter
    def _steps(self, steps: int) -> None:
        for group in self.param_groups:
            group[STEPS] = steps

    def _grouped(self) -> list[Option]:
        return [option for option in self.method.options.values() if not option.shared]

    def _check(self, group: Group) -> None:
        for option in self._grouped():
            option.check(group[option.name])

    def _complete(self) -> None:
        """Gives groups the options they lack and checks the others, which a schedule or a checkpoint may have set."""
        names = [option.name for option in self._grouped()]
        seen = [*self._seen, *[{}] * len(self.param_groups)]
        for group, before in zip(self.param_groups, seen, strict=False):
            for name in names:
                group.setdefault(name, before.get(name, self.defaults[name]))
            for key in self._own():
                group.setdefault(key, self.param_groups[0].get(key, self.defaults[key]))
            self._check(group)
        self._seen = [{name: group[name] for name in names} for group in self.param_groups]


def _seed_of(method: type[Method]) -> tuple[str, ...]:
    return ("seed",) if method.draws else ()


def signature(method: type[Method]) -> inspect.Signature:
    """`(base_optimizer, ..., *, seed, check_finite, no_sync, every)`, with the method's options in its middle."""
    place, named = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    options = [inspect.Parameter(name, place, default=option.default) for name, option in method.options.items()]
    seed = [inspect.Parameter(name, named, default=0) for name in _seed_of(method)]
    others = [
        inspect.Parameter(name, named, default=known) for name, known in zip(BESIDE[1:], (True, None, None), strict=True)
    ]
    return inspect.Signature([inspect.Parameter(BESIDE[0], place), *options, *seed, *others])


def _check_arguments(name: str, known: inspect.Signature, args: tuple, options: dict[str, Any]) -> None:
    """`TypeError` for a call in the manner of other libraries, `SAM(parameters, SGD, rho=...)`, and for a wrong name."""
    given = [*args, *(options[k] for k in BESIDE[:1] if k in options)]
    if given and not isinstance(given[0], Optimizer):
        classes = [v.__name__ for v in given if isinstance(v, type) and issubclass(v, Optimizer)]
        what = f"the class {given[0].__name__}" if isinstance(given[0], type) else f"a {type(given[0]).__name__}"
        raise TypeError(
            f"base_optimizer must be a torch.optim.Optimizer, got {what}: "
            f"write {name}({classes[0] if classes else 'SGD'}(model.parameters(), lr=...), ...)"
        )
    for option in options.keys() - known.parameters.keys():
        raise TypeError(f"{name} has no option {option!r}; there are {', '.join(list(known.parameters)[1:])}")


def _check_base(name: str, base: Optimizer, options: dict[str, Any]) -> None:
    kind = type(base).__name__
    closure = inspect.signature(type(base).step).parameters.get("closure")
    if isinstance(base, Wrapper) or (closure is not None and closure.default is closure.empty):
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
