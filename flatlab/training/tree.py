"""Nested dicts and lists of numbers and tensors, taken apart into named tensors and JSON, and put together again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["join", "part"]


def part(tree: Any, name: str) -> tuple[dict[str, Tensor], Any]:
    """The tensors of `tree`, named by their path from `name`, and all the rest as JSON knows it.

    >>> tensors, rest = part({"state": {0: {"momentum": torch.ones(2)}}, "lr": 0.1}, "optimizer")
    >>> tensors
    {'optimizer.state.0.momentum': tensor([1., 1.])}
    >>> join(tensors, rest)
    {'state': {0: {'momentum': tensor([1., 1.])}}, 'lr': 0.1}
    """
    tensors: dict[str, Tensor] = {}

    def walk(node: Any, path: str) -> Any:
        if isinstance(node, Tensor):
            tensors[path] = node
            return {"tensor": path}
        if isinstance(node, dict):  # as pairs: JSON would turn numbers into words
            return {"pairs": [[key, walk(value, f"{path}.{key}")] for key, value in node.items()]}
        if isinstance(node, list | tuple):
            return {"items": [walk(value, f"{path}.{i}") for i, value in enumerate(node)]}
        return node

    rest = walk(tree, name)
    return tensors, rest


def join(tensors: dict[str, Tensor], rest: Any) -> Any:
    """The tree that `part` took apart; tuples come back as lists."""
    if not isinstance(rest, dict):
        return rest
    if "tensor" in rest:
        return tensors[rest["tensor"]]
    if "pairs" in rest:
        return {key: join(tensors, value) for key, value in rest["pairs"]}
    return [join(tensors, value) for value in rest["items"]]


def like(p: Tensor, t: Tensor) -> Tensor:
    """`t` with the strides of `p` if they have one shape: a resumed run then takes the very same code paths."""
    return torch.empty_like(p, dtype=t.dtype).copy_(t) if t.shape == p.shape else t
