"""What a measure takes for granted, checked before it computes."""

from __future__ import annotations

from torch import Tensor

from flatlab.landscape import Landscape

__all__ = ["is_network", "named_weights", "need_sum_over_samples", "one_point"]


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

    >>> import torch
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

    >>> import torch
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

    >>> import torch
    >>> from torch.nn.functional import mse_loss
    >>> data = torch.ones(3, 2), torch.zeros(3, 1)
    >>> net = Landscape.of(torch.nn.Linear(2, 1), lambda a, b: mse_loss(a, b, reduction="sum"), data)
    >>> need_sum_over_samples(net, net.w0 + 1)
    Traceback (most recent call last):
        ...
    ValueError: the loss of 3 samples together, ..., is not the mean of their single losses, ...
    """
    if is_network(landscape):
        landscape.need_mean(w)
