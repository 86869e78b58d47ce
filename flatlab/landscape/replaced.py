"""A model run with other tensors in place of its own."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["replaced"]


def replaced(model: nn.Module, tensors: dict[str, Tensor], args: Any, kwargs: dict[str, Any] | None = None) -> Any:
    """`model(*args, **kwargs)` with `tensors` for its parameters and buffers of those names, wherever it uses them.

    That is `torch.func.functional_call`, which alone would leave the new tensors in a module that has several names.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Tanh())
    >>> _ = model.append(model[0])
    >>> own = model[0].weight
    >>> replaced(model, {"0.weight": torch.zeros(1, 1)}, (torch.ones(1),)), model[2].weight is own
    (tensor([0.]), True)
    """
    places: dict[int, list[str]] = {}
    for prefix, module in model.named_modules():  # each once
        for name, t in (*module._parameters.items(), *module._buffers.items()):
            if t is not None:
                places.setdefault(id(t), []).append(f"{prefix}.{name}" if prefix else name)
    named = {names[0]: names for names in places.values()}
    own = {place: t for name, t in tensors.items() for place in named.get(name, [name])}
    return functional_call(model, own, args, kwargs, tie_weights=False)
