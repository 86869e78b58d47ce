"""The exact trace of the Hessian of a network that is piecewise linear in each of its layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from flatlab.landscape import Landscape
from flatlab.measures.estimate import Estimate
from flatlab.measures.per_sample_norms import per_sample_norms
from flatlab.measures.preconditions import is_network, named_weights, need_sum_over_samples

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
    if not is_network(landscape) or not _piecewise_linear(landscape.model):
        return None
    try:
        need_sum_over_samples(landscape, w)
    except ValueError:
        return None
    total, weights = torch.zeros((), dtype=torch.float64, device=w.device), named_weights(landscape, w)

    def second(z: Tensor, y: Tensor) -> Tensor:
        return jacrev(jacrev(lambda a: landscape.loss_fn(a[None], y[None])))(z)

    for index in torch.arange(landscape.n, device=w.device).split(chunk):
        x = landscape.x[index]
        with torch.no_grad():
            outputs = functional_call(landscape.model, weights, (x,))
        if outputs.ndim != 2 or outputs.shape[1] > OUTPUTS:
            return None
        # In float64: single precision returns nan for a sample whose second derivative is as small as 1e-13.
        values, vectors = torch.linalg.eigh(vmap(second)(outputs, landscape.y[index]).detach().double())
        vectors = vectors.to(outputs.dtype)
        scale = values.abs().amax()
        for c in range(outputs.shape[1]):
            if values[:, c].abs().amax() <= torch.finfo(w.dtype).eps * scale:  # softmax: one direction is flat
                continue
            along = Landscape.of(landscape.model, _mean_product, (x, vectors[:, :, c]))
            found = per_sample_norms(along, w, torch.arange(len(index), device=w.device))
            if found is None:
                return None
            total += (values[:, c] * found[0]).sum(dtype=torch.float64)
    return Estimate((total / landscape.n).item(), 0.0, landscape.n)


def _mean_product(outputs: Tensor, directions: Tensor) -> Tensor:
    return (outputs * directions).sum(1).mean()


def _piecewise_linear(model: nn.Module) -> bool:
    if type(model) is nn.Sequential:
        return not model._forward_hooks and not model._forward_pre_hooks and all(map(_piecewise_linear, model))
    return type(model) in LAYERS + SHAPES and not model._forward_hooks and not model._forward_pre_hooks
