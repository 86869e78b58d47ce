"""Gradient noise: how much the gradients of single samples, or of minibatches, scatter around their mean."""

from __future__ import annotations

import torch
from torch import Tensor

from flatlab.landscape import Landscape
from flatlab.measures.directional import directional_derivatives
from flatlab.measures.estimate import check_whole, finite
from flatlab.measures.per_sample_norms import per_sample_norms
from flatlab.measures.point import point
from flatlab.measures.precision import without_autocast

__all__ = ["gradient_noise", "minibatch_factor", "noise_energy"]

NUMBERS = 2**24
"""Numbers of per-sample gradients held at a time where the gradients themselves are needed."""


def minibatch_factor(n: int, batch_size: int) -> float:
    """`(n - b) / (b (n - 1))`: the covariance of the mean of `b` of `n` samples drawn without replacement, over that
    of one sample. Exact, 1 for `b = 1`, 0 for `b = n`. Raises `ValueError` unless `1 <= batch_size <= n`.

    >>> minibatch_factor(5, 2)
    0.375
    """
    check_whole("batch_size", batch_size)
    if batch_size > n:
        raise ValueError(f"batch_size must be between 1 and n = {n}, got {batch_size}")
    return 0.0 if n == 1 else (n - batch_size) / (batch_size * (n - 1))


@without_autocast
def gradient_noise(landscape: Landscape, w: Tensor, batch_size: int = 1, chunk: int = 128) -> float:
    """`Tr C(w)`, the trace of the covariance of the gradient of a minibatch drawn without replacement.

    `Tr C = a (mean_i ||g_i||^2 - ||g||^2)` over the `n` terms, with divisor `n` (not n - 1) and the exact factor
    `a = (n - b) / (b (n - 1))`, which is 1 for `batch_size` b = 1, a single sample. `w` has shape `(d,)`; the value
    is in units of (loss over weight) squared. For the noise of SGD's step multiply by the squared learning rate.

    The norms of a network of `Linear` and `Conv2d` layers come from one forward and backward pass over `chunk`
    samples at a time (see `per_sample_norms`); of anything else from its per-sample gradients, some at a time. The
    difference of the two means loses digits where the noise is far below `||g||^2`: about `eps ||g||^2` is its floor.

    Raises `ValueError` if `batch_size` is not within 1 and n, if `chunk` is not positive, or if the loss is no mean
    over samples; `FloatingPointError` if a gradient is not finite. Source: Zhou et al. ("Beyond Sharpness"),
    Definition 3, equation (4), with its `alpha-hat` made exact.

    >>> from torch.nn.functional import mse_loss
    >>> data = torch.tensor([[1., 2.], [3., 4.]]), torch.zeros(2, 1)
    >>> net = Landscape.of(torch.nn.Linear(2, 1, bias=False), mse_loss, data)
    >>> gradient_noise(net, torch.ones(2))              # (180 + 4900) / 2 - (24^2 + 34^2)
    808.0
    >>> gradient_noise(net, torch.ones(2), batch_size=2)
    0.0
    """
    w = point(landscape, w)
    factor = minibatch_factor(landscape.n, batch_size)
    check_whole("chunk", chunk)
    landscape.need_mean()
    indices = torch.arange(landscape.n, device=w.device)
    squares, mean = torch.zeros((), dtype=torch.float64, device=w.device), torch.zeros_like(w, dtype=torch.float64)
    for index in indices.split(chunk):
        found = per_sample_norms(landscape, w, index)
        if found is None:
            break
        squares += found[0].sum(dtype=torch.float64)
        mean += found[1] * len(index)
    else:
        return _spread(squares, mean, landscape.n, factor)
    squares.zero_(), mean.zero_()
    for index in indices.split(max(1, min(chunk, NUMBERS // landscape.d))):
        gradients = landscape.per_sample_grads(w, index).detach().double()
        squares += gradients.square().sum()
        mean += gradients.sum(0)
    return _spread(squares, mean, landscape.n, factor)


def _spread(squares: Tensor, total: Tensor, n: int, factor: float) -> float:
    spread = finite((squares / n - (total / n).square().sum()).item(), "a per-sample gradient")
    return factor * max(0.0, spread)  # rounding may leave a tiny negative number where all gradients agree


@without_autocast
def noise_energy(landscape: Landscape, w: Tensor, v: Tensor, batch_size: int = 1, chunk: int = 512) -> float:
    """`v^T C(w) v`, the variance of the minibatch gradient's component along `v`: the spread of `<g_i, v>`.

    `w` and `v` have shape `(d,)`; `v` is taken as it is, not normalized. The covariance `C` and `batch_size` are
    those of `gradient_noise`, whose value is the sum of the energies along an orthonormal basis. No gradient is
    formed: see `directional_derivatives`, `chunk` terms at a time.

    Raises what `gradient_noise` does, and `ValueError` if `v` has another shape. Source: Zhou et al. ("Beyond Sharpness"),
    Definition 4, equation (9).

    >>> from torch.nn.functional import mse_loss
    >>> data = torch.tensor([[1., 2.], [3., 4.]]), torch.zeros(2, 1)
    >>> net = Landscape.of(torch.nn.Linear(2, 1, bias=False), mse_loss, data)
    >>> noise_energy(net, torch.ones(2), torch.tensor([1., 0.]))        # the variance of 6 and 42
    324.0
    """
    w = point(landscape, w)
    factor = minibatch_factor(landscape.n, batch_size)
    if v.shape != w.shape:
        raise ValueError(f"v must have the shape of w, {tuple(w.shape)}, got {tuple(v.shape)}")
    check_whole("chunk", chunk)
    landscape.need_mean()
    along = directional_derivatives(landscape, w, v.detach().to(w.dtype), chunk).double()
    return factor * finite(along.var(unbiased=False).item(), "a per-sample gradient")
