"""Which parameters of a model a landscape is over."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

__all__ = ["chosen"]


def chosen(model: nn.Module, params: Iterable[Tensor | str] | None) -> dict[str, Tensor]:
    """The parameters of `model` by name, in its order: all, or those that `params` gives as tensors or names.

    Raises `ValueError` where there are none, where `params` is neither a tensor, a name nor several of them, where one is
    not the model's or has no size yet, and where all are asked for and lie on several devices.

    >>> list(chosen(nn.Linear(2, 1), ["bias"]))
    ['bias']
    """
    every = dict(model.named_parameters())
    lazy = [name for name, p in every.items() if nn.parameter.is_lazy(p)]
    if lazy:
        raise ValueError(f"parameter {lazy[0]!r} has no size yet, as in a lazy layer: call the model on a batch first")
    if params is None:
        if not every:
            raise ValueError(f"{type(model).__name__} has no parameters")
        devices = {str(p.device) for p in every.values()}
        if len(devices) > 1:
            raise ValueError(f"the weights must be on one device, got {sorted(devices)}")
        return every
    names = {p: name for name, p in every.items()}
    if isinstance(params, str | Tensor):
        params = [params]
    if not isinstance(params, Iterable):
        raise ValueError(f"params must be parameters of the model or their names, got {params!r}")
    wanted = set()
    for p in params:
        name = p if isinstance(p, str) else names.get(p)
        if name not in every:
            what = repr(p) if isinstance(p, str) else f"one of shape {tuple(p.shape)}"
            raise ValueError(f"params must be parameters of the model, got {what}")
        wanted.add(name)
    if not wanted:
        raise ValueError("params must hold at least one parameter")
    return {name: p for name, p in every.items() if name in wanted}
