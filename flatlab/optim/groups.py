"""Parameter groups as a rule sees them: which parameters are trained, and an option for every weight."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor

__all__ = ["Group", "Groups", "over_groups", "refuse_lazy", "refuse_sharded", "refuse_twice", "sign_of", "size", "trained"]

Group = dict[str, Any]
Groups = list[tuple[Group, list[Tensor]]]


def size(p: Tensor) -> int:
    """The real numbers in a parameter.

    >>> size(torch.zeros(3, dtype=torch.complex64))
    6
    """
    return p.numel() * (2 if p.is_complex() else 1)


def trained(name: str, groups: list[Group]) -> Groups:
    """The groups with those of their parameters that require a gradient; no group that has none.

    Raises `ValueError`, for the optimizer called `name`, if there is none at all, or they are on several devices.

    >>> weight, frozen = torch.ones(1, requires_grad=True), torch.ones(1)
    >>> trained("SAM", [{"params": [weight, frozen], "lr": 0.1}, {"params": [frozen]}])
    [({'params': [tensor([1.], requires_grad=True), tensor([1.])], 'lr': 0.1}, [tensor([1.], requires_grad=True)])]
    """
    found = [(group, [p for p in group["params"] if p.requires_grad]) for group in groups]
    found = [(group, params) for group, params in found if params]
    devices = {p.device for _, params in found for p in params}
    if devices and not any(p.numel() for _, params in found for p in params):
        raise ValueError(f"{name} has nothing to train: the parameters in its groups hold no numbers")
    if len(devices) != 1:
        told = ", ".join(sorted(map(str, devices)))
        raise ValueError(
            f"{name} takes a norm over all parameters, which must be on one device, got {told}"
            if devices
            else f"{name} has nothing to train: no parameter in its groups requires a gradient"
        )
    return found


def sign_of(like: Tensor, groups: Groups) -> float | Tensor | None:
    """-1 for what is maximized: None where nothing is, a number where all is, else for every weight, `(d,)`.

    >>> w = torch.ones(2)
    >>> sign_of(w, [({"maximize": True}, [w])])
    -1.0
    """
    signs = [-1.0 if group.get("maximize") else 1.0 for group, _ in groups]
    if len(set(signs)) == 1:
        return None if signs[0] > 0 else signs[0]
    sizes = [sum(map(size, params)) for _, params in groups]
    return torch.cat([like.new_full((n,), sign, dtype=torch.float32) for n, sign in zip(sizes, signs, strict=True)])


def over_groups(option: str, w: Tensor, groups: Groups) -> float | Tensor:
    """An option for the rule: the value that all groups share, or one for each weight, of shape `(d,)`.

    >>> w = torch.ones(3)
    >>> over_groups("rho", w, [({"rho": 0.5}, [w[:1]]), ({"rho": 0.0}, [w[1:]])])
    tensor([0.5000, 0.0000, 0.0000])
    """
    values = [group[option] for group, _ in groups]
    first, numbers = values[0], not any(isinstance(v, Tensor) for v in values)
    if all(v is first or (numbers and v == first) for v in values):  # tensors are not compared: that stalls a device
        return first
    sizes = [sum(map(size, params)) for _, params in groups]
    # Filled on the device: a copy from the host would stall it, too, and fail while a graph is captured.
    return torch.cat([w.new_zeros(n) + v for v, n in zip(values, sizes, strict=True)])


def refuse_sharded(name: str, groups: list[Group]) -> None:
    """A `ValueError` if a parameter is only a shard of one, naming what has cut it.

    >>> refuse_sharded("SAM", [{"params": [torch.ones(1)]}])
    """
    loaded = sys.modules.get("torch.distributed.tensor")  # where nobody has loaded it no parameter is one
    for p in (p for group in groups for p in group["params"]):
        if loaded is not None and isinstance(p, loaded.DTensor):
            what = "a DTensor, of FSDP2's fully_shard or of tensor parallelism"
        elif getattr(p, "_fsdp_flattened", False):
            what = "a parameter that FullyShardedDataParallel has flattened"
        else:
            continue
        raise ValueError(
            f"{name} takes a norm over all parameters, which must be whole on every worker, got {what}: "
            "use DistributedDataParallel"
        )


def refuse_twice(name: str, groups: list[Group]) -> None:
    """A `ValueError` if a parameter's memory is another's, too, or is read with another sign than it is written with.

    >>> weight = torch.ones(2)
    >>> refuse_twice("SAM", [{"params": [torch.nn.Parameter(weight), torch.nn.Parameter(weight)]}])
    Traceback (most recent call last):
    ValueError: SAM got two parameters, of shapes (2,) and (2,), that share their memory: tie them as one parameter
    """
    seen: dict[int, Tensor] = {}
    for p in (p for group in groups for p in group["params"]):
        if not torch.nn.parameter.is_lazy(p) and (p.is_conj() or p.is_neg()):
            raise ValueError(
                f"{name} got a parameter that is a conjugate or negative view: make it of .resolve_conj().resolve_neg()"
            )
        if type(p) not in (Tensor, torch.nn.Parameter) or p.is_meta or p.layout is not torch.strided or not p.numel():
            continue
        other = seen.setdefault(p.data_ptr(), p)
        if other is not p:
            told = f"of shapes {tuple(other.shape)} and {tuple(p.shape)}"
            raise ValueError(f"{name} got two parameters, {told}, that share their memory: tie them as one parameter")


def refuse_lazy(name: str, groups: list[Group]) -> None:
    """A `ValueError` if a parameter of a lazy layer has no size yet.

    >>> refuse_lazy("SAM", [{"params": torch.nn.LazyLinear(2).parameters()}])
    Traceback (most recent call last):
    ValueError: SAM must know the size of its parameters before a step, got a lazy one: call the model on a batch first
    """
    if any(torch.nn.parameter.is_lazy(p) for group in groups for p in group["params"]):
        raise ValueError(
            f"{name} must know the size of its parameters before a step, got a lazy one: call the model on a batch first"
        )
