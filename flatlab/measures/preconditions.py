"""What a measure takes for granted, checked before it computes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from flatlab.landscape import Landscape

__all__ = ["is_network", "named_weights", "need_sum_over_samples", "one_point"]

PROBED_SAMPLES = 6


def is_network(landscape: Landscape) -> bool:
    """Whether the landscape came from `Landscape.of`, and so has a model, a loss and data.

    >>> is_network(Landscape())
    False
    """
    return hasattr(landscape, "model")


def one_point(landscape: Landscape, w: Tensor) -> Tensor:
    """`w`, detached, if it is one point of shape `(d,)`; else a `ValueError`.

    A network is looked at again: a BatchNorm or dropout layer that was put into train mode after `Landscape.of` is
    refused as it is there.

    >>> class Bowl(Landscape):
    ...     d = 2
    >>> one_point(Bowl(), torch.zeros(3, 2))
    Traceback (most recent call last):
        ...
    ValueError: a measure takes one point of shape (2,), got (3, 2)
    """
    if w.ndim != 1 or w.shape[0] != landscape.d:
        raise ValueError(f"a measure takes one point of shape ({landscape.d},), got {tuple(w.shape)}")
    if not w.is_floating_point():
        raise ValueError(f"a measure takes floating-point weights, got {w.dtype}")
    if is_network(landscape):
        Landscape.of(landscape.model, landscape.loss_fn, (landscape.x[:1], landscape.y[:1]))
    return w.detach()


def named_weights(landscape: Landscape, w: Tensor) -> dict[str, Tensor]:
    """The flat `w` of a network, shape `(d,)`, as views named and shaped as the model's parameters are.

    >>> net = Landscape.of(torch.nn.Linear(2, 1), torch.nn.functional.mse_loss, (torch.ones(1, 2), torch.ones(1, 1)))
    >>> named_weights(net, torch.tensor([1., 2., 3.]))
    {'weight': tensor([[1., 2.]]), 'bias': tensor([3.])}
    """
    named = list(landscape.model.named_parameters())
    parts = w.split([p.numel() for _, p in named])
    return {name: part.view(p.shape) for (name, p), part in zip(named, parts, strict=True)}


def need_sum_over_samples(landscape: Landscape, w: Tensor) -> None:
    """Raise `ValueError` unless the network's loss on a few samples is the mean of their single losses.

    That fails for a sum instead of a mean, a class-weighted mean, an ignored label, a contrastive or otherwise
    coupling loss, a prediction and a target that broadcast against each other, and a layer that mixes or randomizes
    samples. Only six samples are looked at, spread over the data, with as many different labels as there are.

    >>> from torch.nn.functional import mse_loss
    >>> data = torch.ones(3, 2), torch.zeros(3, 1)
    >>> net = Landscape.of(torch.nn.Linear(2, 1), lambda a, b: mse_loss(a, b, reduction="sum"), data)
    >>> need_sum_over_samples(net, net.w0 + 1)
    Traceback (most recent call last):
        ...
    ValueError: the loss of 3 samples together, ..., is not the mean of their single losses, ...
    """
    if not is_network(landscape) or landscape.n < 2:
        return
    n, y = landscape.n, landscape.y
    picks = set(torch.linspace(0, n - 1, min(n, PROBED_SAMPLES // 2)).long().tolist())
    if not y.is_floating_point() and y.ndim == 1:
        order = torch.argsort(y, stable=True)
        first = torch.ones_like(y, dtype=torch.bool)
        first[1:] = y[order][1:] != y[order][:-1]
        picks |= set(order[first][: PROBED_SAMPLES // 2].tolist())
    else:
        picks |= set(torch.linspace(0, n - 1, min(n, PROBED_SAMPLES)).long().tolist())
    index = torch.tensor(sorted(picks), device=y.device)
    x, y = landscape.x[index], y[index]
    weights = named_weights(landscape, w)

    def loss(a, b):
        return landscape.loss_fn(functional_call(landscape.model, weights, (a,)), b)

    with torch.no_grad():
        together = loss(x, y).double()
        if together.ndim:
            raise ValueError(f"loss_fn must average to one number, got shape {tuple(together.shape)}")
        single = torch.stack([loss(a[None], b[None]) for a, b in zip(x, y, strict=True)]).double()
    # Looser than rounding (single samples may run through other kernels than a batch), tighter than any factor.
    slack = 1e3 * torch.finfo(w.dtype).eps * max(1.0, single.abs().max().item())
    if not (together - single.mean()).abs() <= slack:
        raise ValueError(
            f"the loss of {len(index)} samples together, {together.item():g}, is not the mean of their single "
            f"losses, {single.mean().item():g}: this measure needs a plain mean over samples"
        )
