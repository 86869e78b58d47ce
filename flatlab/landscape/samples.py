"""Samples of any form: tensors, trees of them, data sets and loaders, as trees of tensors with one length."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.utils._pytree import tree_flatten, tree_flatten_with_path, tree_leaves, tree_map, tree_unflatten
from torch.utils.data import DataLoader, Dataset

from flatlab.landscape.memory import ran_out

__all__ = ["each", "floats", "gathered", "joined", "length", "passed", "refuse_nan", "rows", "widened"]

AT_ONCE = 256
CONSTANT = (bool, int, float, str, type(None))


def gathered(data: Any) -> tuple[Any, Any]:
    """`(x, y)` of data, each a tensor or a tree (lists, tuples, dicts) of tensors whose first dimension is the samples'.

    `data` is such a pair itself, with arrays or lists of numbers for tensors where one likes, or a `Dataset` or
    `DataLoader` of pairs, which is gone through once. Numbers, texts and None within `x` stay as they are.

    Raises `ValueError` for anything else, for lengths that differ, and for no samples.

    >>> gathered(([[1., 2.], [3., 4.]], [0, 1]))
    (tensor([[1., 2.],
            [3., 4.]]), tensor([0, 1]))
    """
    if isinstance(data, Dataset):
        data = DataLoader(data, batch_size=AT_ONCE)
    if isinstance(data, DataLoader):
        batches = [_pair(batch, "a batch") for batch in data]
        if not batches:
            raise ValueError("data holds no samples")
        try:
            data = tuple(joined([_tensors(batch[part]) for batch in batches]) for part in (0, 1))
        except (RuntimeError, ValueError) as error:
            if ran_out(error):
                raise
            raise ValueError(f"the batches of data cannot be joined: {error}") from error
    x, y = (_tensors(part) for part in _pair(data, "data"))
    n = length("x", x)
    if n != length("y", y):
        raise ValueError(f"x has {n} samples and y has {length('y', y)}; they must be equal")
    if n == 0:
        raise ValueError("data holds no samples")
    return x, y


def refuse_nan(x: Any, y: Any) -> None:
    """Raise `ValueError` if a sample has a nan, with its place."""
    for name, part in (("x", x), ("y", y)):
        for t in tree_leaves(part):
            if isinstance(t, Tensor) and t.is_floating_point() and bool(t.isnan().any()):
                first = int(t.flatten(1).isnan().any(1).nonzero()[0]) if t.ndim > 1 else int(t.isnan().nonzero()[0])
                raise ValueError(f"{name} has a nan, the first in sample {first}")


def _pair(data: Any, what: str) -> tuple[Any, Any]:
    if not isinstance(data, list | tuple) or len(data) != 2:
        count = f" of {len(data)}" if hasattr(data, "__len__") else ""
        raise ValueError(
            f"{what} must be a pair (x, y), a Dataset or a DataLoader of pairs, got {type(data).__name__}{count}"
        )
    return data[0], data[1]


def _tensors(part: Any) -> Any:
    if isinstance(part, Tensor):
        # A tensor of inference mode cannot be saved for a backward pass.
        return part.clone() if part.is_inference() else part
    if isinstance(part, CONSTANT):
        return part
    if isinstance(part, Mapping):
        return {key: _tensors(value) for key, value in part.items()}
    if isinstance(part, list | tuple) and not _numbers(part):
        return type(part)(_tensors(p) for p in part) if type(part) in (list, tuple) else tuple(map(_tensors, part))
    try:
        return torch.as_tensor(part)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"data must be tensors, arrays or lists of numbers, got {type(part).__name__}: {error}") from error


def _numbers(part: Any) -> bool:
    if isinstance(part, list | tuple):
        return all(map(_numbers, part))
    return isinstance(part, bool | int | float)


def length(name: str, part: Any) -> int:
    """The samples of a tree of tensors, which all have as many; else a `ValueError` that names the one that has not."""
    found: dict[str, int] = {}
    for path, t in tree_flatten_with_path(part)[0]:
        if isinstance(t, Tensor):
            where = name + "".join(str(key) for key in path)
            if t.ndim == 0:
                raise ValueError(f"{where} is a single number: its first dimension must be that of the samples")
            found[where] = len(t)
    if not found:
        raise ValueError(f"{name} holds no tensor")
    if len(set(found.values())) > 1:
        raise ValueError(f"the parts of {name} have different numbers of samples: {found}")
    return next(iter(found.values()))


def rows(part: Any, index: Any) -> Any:
    """The samples `index` of a tree of tensors; None is all.

    >>> rows((torch.arange(3), {"mask": torch.arange(3), "causal": True}), slice(1))
    (tensor([0]), {'mask': tensor([0]), 'causal': True})
    """
    if index is None:
        return part
    return tree_map(lambda t: t[index] if isinstance(t, Tensor) else t, part)


def joined(parts: list[Any]) -> Any:
    """Trees of one form, joined along the samples."""
    return tree_map(lambda *ts: torch.cat(ts) if isinstance(ts[0], Tensor) else ts[0], *parts)


def each(f: Callable[[Any, Any], Tensor], x: Any, y: Any) -> Tensor:
    """`f` of every single sample, a batch of one, `f(x[i:i+1], y[i:i+1])`, mapped over: `(n, ...)`.

    >>> each(lambda a, b: (a["u"] * b).sum(), {"u": torch.arange(3), "scale": 2}, torch.arange(3))
    tensor([0, 1, 4])
    """
    leaves, form = tree_flatten((x, y))
    places = [i for i, t in enumerate(leaves) if isinstance(t, Tensor)]

    def one(*tensors: Tensor) -> Tensor:
        own = list(leaves)
        for i, t in zip(places, tensors, strict=True):
            own[i] = t[None]
        return f(*tree_unflatten(own, form))

    return vmap(one)(*(leaves[i] for i in places))


def floats(part: Any, dtype: torch.dtype) -> Any:
    """A tree with its floating-point tensors in `dtype`."""
    return tree_map(lambda t: t.to(dtype) if isinstance(t, Tensor) and t.is_floating_point() else t, part)


def widened(loss_fn: Callable, dtype: torch.dtype) -> Callable:
    """A copy of a loss that is a module, its tensors in `dtype`; any other loss as it is."""
    return copy.deepcopy(loss_fn).to(dtype) if isinstance(loss_fn, nn.Module) else loss_fn


def passed(model: nn.Module, x: Any) -> Callable[[Any], tuple[tuple, dict]]:
    """How the model takes such an `x`: a tuple as several arguments and a dict as named ones, where its `forward` does.

    >>> passed(nn.Bilinear(2, 2, 1), (torch.ones(1, 2), torch.ones(1, 2)))(("a", "b"))
    (('a', 'b'), {})
    """
    forms: list[tuple[bool, Callable[[Any], tuple[tuple, dict]]]] = [
        (isinstance(x, dict), lambda x: ((), x)),
        (isinstance(x, list | tuple), lambda x: (tuple(x), {})),
        (True, lambda x: ((x,), {})),
    ]
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):  # a compiled or scripted forward may have none
        return next(form for fits, form in forms if fits)
    for fits, form in forms:
        if fits:
            args, named = form(x)
            try:
                signature.bind(*args, **named)
            except TypeError:
                continue
            return form
    return forms[-1][1]
