"""The exact trace of the Hessian of a network that is piecewise linear in each of its layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jacrev

from flatlab.landscape import Landscape, Network
from flatlab.landscape.curvature import follows
from flatlab.landscape.samples import each
from flatlab.measures.estimate import Estimate, exactly, finite
from flatlab.measures.per_sample_norms import per_sample_norms

__all__ = ["piecewise_linear_trace"]

LAYERS = (nn.Linear, nn.Conv2d)
SHAPES = (nn.Flatten, nn.Unflatten, nn.Identity, nn.ReLU, nn.LeakyReLU, nn.MaxPool2d, nn.AvgPool2d)
SHAPES += (nn.AdaptiveAvgPool2d, nn.Dropout, nn.Dropout2d, nn.ZeroPad2d)  # dropout: refused unless switched off
OUTPUTS = 100


def piecewise_linear_trace(landscape: Landscape, w: Tensor, chunk: int = 128) -> Estimate | None:
    """`Tr H(w)` from `C` backward passes for `C` outputs a sample, or None where that is not exact.

    Along the weights of one layer the outputs `f` of a ReLU network are linear (almost everywhere), so the diagonal
    of `H` has no part from their second derivatives: it is the Gauss-Newton matrix's. With the eigenpairs
    `(lambda_c, u_c)` of the loss's second derivative in the outputs, shape `(C, C)` a sample,

        Tr H = mean_i sum_c lambda_ic ||d<u_ic, f_i>/dw||^2,

    and the norms come from `per_sample_norms`. Applies to nested `Sequential` models of `Linear`, `Conv2d`, ReLU,
    pooling and reshaping layers with at most 100 outputs, in whose forward pass nothing can hide; an average over
    samples is checked, and None returned where the loss is none.

    >>> from torch.nn.functional import mse_loss
    >>> data = torch.tensor([[1., 2.], [3., 4.]]), torch.zeros(2, 1)
    >>> net = Landscape.of(nn.Linear(2, 1, bias=False), mse_loss, data)
    >>> piecewise_linear_trace(net, torch.ones(2))
    Estimate(value=30.0, stderr=0.0, samples=2)
    """
    if not isinstance(landscape, Network) or not _piecewise_linear(landscape.model):
        return None
    try:
        landscape.need_mean()
    except ValueError:
        return None
    total, weights = torch.zeros((), dtype=torch.float64, device=w.device), landscape.named(w)

    for index in torch.arange(landscape.n, device=w.device).split(chunk):
        x, y = landscape.data(index)
        with torch.no_grad():
            outputs = landscape.run(weights, x)
        if outputs.ndim != 2 or outputs.shape[1] > OUTPUTS or not landscape.holds("second", lambda: _right(landscape)):
            return None
        # In float64: single precision returns nan for a sample whose second derivative is as small as 1e-13.
        seconds = _seconds(landscape, outputs, y).double()
        finite(seconds.abs().amax().item())
        values, vectors = torch.linalg.eigh(seconds)
        vectors = vectors.to(outputs.dtype)
        scale = values.abs().amax()
        for c in range(outputs.shape[1]):
            if values[:, c].abs().amax() <= torch.finfo(w.dtype).eps * scale:  # softmax: one direction is flat
                continue
            along = landscape.on(x, vectors[:, :, c], _mean_product)
            found = per_sample_norms(along, w, torch.arange(len(index), device=w.device))
            if found is None:
                return None
            total += (values[:, c] * found[0]).sum(dtype=torch.float64)
    return exactly((total / landscape.n).item(), landscape.n)


def _seconds(landscape: Network, outputs: Tensor, y: Any) -> Tensor:
    """Each sample's second derivative of the loss in the outputs, `(b, C, C)`."""
    second = jacrev(jacrev(lambda z, t: landscape.loss_fn(z, t)))
    return each(lambda z, t: second(z, t).reshape(outputs.shape[1], -1), outputs, y).detach()


def _right(landscape: Network) -> bool:
    """Whether these are differences of gradients of the loss on a few samples, and it sees weights by the outputs alone."""
    few, w = landscape.proving
    with torch.no_grad():
        outputs = few.outputs(w, few.x)
        here, there = (few.inside(few.named(v), lambda: few.loss_fn(outputs, few.y)) for v in (w, few.w0))
    if not torch.equal(here, there):  # a penalty on the weights is written into it
        return False
    seconds = _seconds(few, outputs, few.y) / few.n

    def slope(at: list[Tensor]) -> list[Tensor]:
        with torch.enable_grad():
            z = at[0].detach().requires_grad_()
            return list(torch.autograd.grad(few.loss_fn(z, few.y), z))

    return follows(lambda v: [(seconds @ v[0][:, :, None])[:, :, 0]], slope, [outputs])


def _mean_product(outputs: Tensor, directions: Tensor) -> Tensor:
    return (outputs * directions).sum(1).mean()


def _piecewise_linear(model: nn.Module) -> bool:
    if type(model) is nn.Sequential:
        return not model._forward_hooks and not model._forward_pre_hooks and all(map(_piecewise_linear, model))
    return type(model) in LAYERS + SHAPES and not model._forward_hooks and not model._forward_pre_hooks
