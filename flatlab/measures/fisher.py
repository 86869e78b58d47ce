"""The Fisher-Rao norm."""

from __future__ import annotations

from torch import Tensor

from flatlab.landscape import Landscape
from flatlab.measures.directional import directional_derivatives
from flatlab.measures.estimate import check_whole, finite
from flatlab.measures.point import point
from flatlab.measures.precision import without_autocast

__all__ = ["fisher_rao"]


@without_autocast
def fisher_rao(landscape: Landscape, w: Tensor, chunk: int = 512) -> float:
    """`||w||_fr = sqrt(w^T F w) = sqrt(mean_i <w, grad l_i(w)>^2)`, with the observed labels.

    `F = mean_i g_i g_i^T` at `w`, shape `(d,)`; the value is in units of loss. This is the definition itself, in the
    form `<w, grad>`, valid for any architecture. The form `(L + 1)^2 mean <dl/df, f>^2` found elsewhere is its square
    for networks of L + 1 layers without biases and with homogeneous activations only. All parameters count, biases
    too. Some authors report the square.

    Raises `ValueError` for a loss that is no mean over samples, or a `chunk` below 1; `FloatingPointError` if a gradient is
    not finite. Source: Liang et al. 2019.

    >>> import torch
    >>> from torch.nn.functional import mse_loss
    >>> data = torch.tensor([[1., 2.], [3., 4.]]), torch.zeros(2, 1)
    >>> net = Landscape.of(torch.nn.Linear(2, 1, bias=False), mse_loss, data)
    >>> fisher_rao(net, torch.ones(2))                  # sqrt of the mean of 18^2 and 98^2
    70.4556...
    """
    w = point(landscape, w)
    check_whole("chunk", chunk)
    landscape.need_mean()
    norm = directional_derivatives(landscape, w, w, chunk).double().square().mean().sqrt().item()
    return finite(norm, "a per-sample gradient")
