"""The proof that a loss is the mean of its single losses, by value, on what can differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from flatlab.landscape.memory import ran_out
from flatlab.landscape.samples import each, floats, joined, rows, widened

if TYPE_CHECKING:
    from flatlab.landscape.network import Network

__all__ = ["need_mean", "splits"]

Loss = Callable[[Any, Any], Tensor]

AT_ONCE = 256
ALONE = 4
RANDOM = 1024
"""Samples beside one of every label, where the targets are labels."""


def need_mean(net: Network, w: Tensor) -> None:
    """Raise `ValueError` unless the loss of many samples at `w` is the mean of their single losses.

    Where targets are labels, one sample of each label and 1024 others; for any other targets all samples, since one
    padded row is enough to make a mean none. They are mixed, and the loss of every 256 of them together is compared with
    the mean of their single ones, in float64 where the loss allows it. Some samples go through the model alone.
    """
    if net.n < 2:
        return
    alone = torch.linspace(0, net.n - 1, min(net.n, ALONE), device="cpu").long()
    x, y = net.data(alone)
    with torch.no_grad():
        compare(net.loss(w, alone), torch.stack([net.loss(w, i[None]) for i in alone]), net.coarsest)
        for index in mixed(net.y, net.n):
            x, y = net.data(index.to(w.device))
            if not net.splits:
                compare(net.loss(w, index), torch.stack([net.loss(w, i[None]) for i in index]), net.coarsest)
                continue
            outputs = net.outputs(w, x)
            try:
                wide, targets = floats(outputs, torch.float64), floats(y, torch.float64)
                compare(*losses(net, widened(net.loss_fn, torch.float64), wide, targets), torch.float64)
            except (RuntimeError, TypeError) as error:  # a function with tensors of its own, in float32
                if ran_out(error):
                    raise
                # What rounding does to a small loss goes by the outputs: its terms are as large, and cancel.
                largest = max((t.abs().max().item() for t in tree_leaves(outputs) if t.is_floating_point()), default=1.0)
                compare(*losses(net, net.loss_fn, outputs, y), net.coarsest, floor=4e-3 * max(1.0, largest))


def losses(net: Network, loss: Loss, outputs: Any, y: Any) -> tuple[Tensor, Tensor]:
    together = net.scalar(loss(outputs, y))
    try:
        return together, each(lambda a, b: net.scalar(loss(a, b)), outputs, y)
    except (RuntimeError, NotImplementedError) as error:  # what cannot be mapped over
        if ran_out(error):
            raise
        count = len(tree_leaves(y)[0])
        single = [loss(rows(outputs, slice(i, i + 1)), rows(y, slice(i, i + 1))) for i in range(count)]
        return together, torch.stack(single)


def mixed(y: Any, n: int) -> list[Tensor]:
    """Places of samples, mixed, 256 at a time."""
    places = torch.randperm(n, generator=torch.Generator().manual_seed(0), device="cpu")
    if isinstance(y, Tensor) and y.ndim == 1 and not y.is_floating_point() and n > RANDOM:
        shuffled = y.cpu()[places]
        order = torch.argsort(shuffled, stable=True)
        first = torch.ones_like(order, dtype=torch.bool)
        first[1:] = shuffled[order][1:] != shuffled[order][:-1]
        chosen = torch.zeros(n, dtype=torch.bool, device="cpu")
        chosen[order[first]] = True
        chosen[:RANDOM] = True
        # Those of every label stand together, and not at the end, where they could be alone.
        rare = torch.zeros(n, dtype=torch.bool, device="cpu")
        rare[order[first]] = True
        places = torch.cat([places[rare], places[chosen & ~rare]])
    parts = list(places.split(AT_ONCE))
    if len(parts) > 1 and len(parts[-1]) < 2:  # one sample alone would be the mean of itself
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def compare(together: Tensor, single: Tensor, dtype: torch.dtype, floor: float = 1.0) -> None:
    together, single = together.double(), single.double()
    if not together.isfinite():
        raise ValueError(f"the loss of {len(single)} samples is {together.item():g}")
    # Looser than rounding (single samples may run through other kernels than a batch), tighter than any factor.
    slack = min(1e3 * torch.finfo(dtype).eps, 0.05) * max(floor, single.abs().max().item())
    if not (together - single.mean()).abs() <= slack:
        raise ValueError(
            f"the loss of {len(single)} samples together, {together.item():g}, is not the mean of their single "
            f"losses, {single.mean().item():g}: a plain mean over samples is needed here"
        )


def splits(net: Network, w: Tensor) -> bool:
    """Whether the model's outputs are tensors whose rows are those of the samples alone, by value on some."""
    alone = torch.linspace(0, net.n - 1, min(net.n, ALONE), device="cpu").long()
    with torch.no_grad():
        outputs = net.outputs(w, net.data(alone)[0])
        leaves = tree_leaves(outputs)
        if not leaves or not all(isinstance(t, Tensor) and t.ndim and len(t) == len(alone) for t in leaves):
            return False
        single = joined([net.outputs(w, net.data(i[None])[0]) for i in alone])
    slack = min(1e3 * torch.finfo(net.coarsest).eps, 0.05)
    return all(
        a.shape == b.shape and bool(((a - b).abs() <= slack * b.abs().max().clamp_min(1)).all())
        for a, b in zip(leaves, tree_leaves(single), strict=True)
    )
