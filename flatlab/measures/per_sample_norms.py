"""Norms of per-sample gradients from one backward pass, without the gradients themselves."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import unfold
from torch.nn.grad import conv2d_weight

from flatlab.landscape import Landscape
from flatlab.measures.preconditions import is_network, named_weights

__all__ = ["per_sample_norms"]

BLOCK = 2**19
"""Numbers in a temporary: small enough to stay in the processor's cache."""


def per_sample_norms(landscape: Landscape, w: Tensor, index: Tensor) -> tuple[Tensor, Tensor] | None:
    """`||g_i||^2`, shape `(b,)`, and the mean gradient, shape `(d,)`, of the samples `index`, shape `(b,)`; or None.

    A linear layer with input `a_i` and output gradient `delta_i` has the gradient `delta_i a_i^T`, whose squared norm
    is `||a_i||^2 ||delta_i||^2`. With several positions (a sequence, or the patches of a convolution) it is the sum
    over pairs of positions of `<a_s, a_t> <delta_s, delta_t>`, or the layer's own gradients are formed for a few
    samples at a time, whichever is cheaper.

    None where this does not apply: no network; a parameter outside of `Linear` and zero-padded `Conv2d` layers; a
    layer that runs not exactly once, is tied to another, or carries hooks; and wherever the layers' gradients do not
    add up to what backward itself returns.

    Source: Goodfellow 2015, "Efficient per-example gradient computations"; Rochette et al. 2019 for convolutions.

    >>> net = Landscape.of(torch.nn.Linear(2, 1, bias=False), torch.nn.functional.mse_loss,
    ...                    (torch.tensor([[1., 2.], [3., 4.]]), torch.zeros(2, 1)))
    >>> per_sample_norms(net, torch.ones(2), torch.arange(2))           # |(6, 12)|^2 and |(42, 56)|^2
    (tensor([ 180., 4900.]), tensor([24., 34.]))
    """
    layers = _layers(landscape) if is_network(landscape) else None
    if layers is None:
        return None
    point = w.detach().requires_grad_()
    inputs: dict[str, list[Tensor]] = {name: [] for name in layers}
    deltas: dict[str, list[Tensor]] = {name: [] for name in layers}

    def record(name: str) -> Callable:
        def hook(module, args, output):
            inputs[name].append(args[0].detach())
            # On the tensor as it is now: a ReLU in place would otherwise replace what the gradient belongs to.
            output.register_hook(lambda delta: deltas[name].append(delta.detach()))

        return hook

    handles = [layer.register_forward_hook(record(name)) for name, layer in layers.items()]
    try:
        with torch.enable_grad():
            weights = named_weights(landscape, point)
            outputs = functional_call(landscape.model, weights, (landscape.x[index],))
            loss = landscape.loss_fn(outputs, landscape.y[index])
            (gradient,) = torch.autograd.grad(loss, point)
    finally:
        for handle in handles:
            handle.remove()
    b, pieces = len(index), named_weights(landscape, gradient)
    total = torch.zeros(b, dtype=torch.promote_types(w.dtype, torch.float32), device=w.device)
    for name, layer in layers.items():
        if len(inputs[name]) != 1 or len(deltas[name]) != 1:
            return None
        a, delta = inputs.pop(name)[0], deltas.pop(name)[0]  # freed layer by layer
        if a.shape[0] != b or delta.shape[0] != b:
            return None
        prefix = f"{name}." if name else ""
        norms, probed, expected = _norms(layer, a, delta, pieces[f"{prefix}weight"])
        if not torch.allclose(probed, expected, rtol=0, atol=_slack(a, delta, layer)):
            return None
        total += norms
    return total * b * b, gradient  # delta belongs to the mean over b samples


def _layers(landscape: Landscape) -> dict[str, nn.Module] | None:
    layers, names = {}, []
    for name, module in landscape.model.named_modules():
        own = [p for p, _ in module.named_parameters(recurse=False)]
        if not own:
            continue
        known = type(module) is nn.Linear or (
            type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)
        )
        if not known or module._forward_hooks or module._forward_pre_hooks:
            return None
        layers[name] = module
        names += own
    every = list(landscape.model.named_parameters(remove_duplicate=False))
    return layers if len(names) == len(every) == len(list(landscape.model.parameters())) else None


def _slack(a: Tensor, delta: Tensor, layer: nn.Module) -> float:
    # Rounding against the largest that the probed sum could be, by Cauchy-Schwarz; a kernel sees an input repeatedly.
    repeats = layer.weight[0, 0].numel() ** 0.5
    tensor_float = a.is_cuda and a.dtype == torch.float32
    eps = 2.0**-11 if tensor_float else torch.finfo(a.dtype).eps
    return max(20 * eps * repeats * (a.norm() * delta.norm()).item(), torch.finfo(a.dtype).tiny)


def _norms(layer: nn.Module, a: Tensor, delta: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Squared norms `(b,)`; and `p^T G q` for unit `p` and `q`, by the samples and by the gradient itself."""
    gradient = gradient.flatten(1)
    rows, columns = gradient.shape
    p = torch.linspace(0.5, 1.5, rows, dtype=a.dtype, device=a.device)
    q = torch.linspace(1.5, 0.5, columns, dtype=a.dtype, device=a.device)
    p, q = p / p.norm(), q / q.norm()
    expected = p @ gradient @ q
    if isinstance(layer, nn.Linear) and a.ndim == 2:
        squares = a.square().sum(1) + (layer.bias is not None)
        return squares * delta.square().sum(1), (delta @ p) @ (a @ q), expected
    if isinstance(layer, nn.Linear):
        a, delta = a.flatten(1, -2), delta.flatten(1, -2)
        positions, groups, conv = delta.shape[1], 1, False
    else:
        positions, groups, conv = delta[0, 0].numel(), layer.groups, True
    # Pairs of positions, or each sample's gradient itself: whichever is cheaper to form.
    by_pairs = positions * (rows + groups * columns) < rows * columns
    numbers = groups * columns * positions if by_pairs else max(a[0].numel(), rows * columns)
    norms, probed = [], torch.zeros((), dtype=a.dtype, device=a.device)
    for x, d in zip(a.split(max(1, BLOCK // numbers)), delta.split(max(1, BLOCK // numbers)), strict=True):
        if by_pairs:
            if conv:
                x = unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
                x = x.view(len(d), groups, columns, positions).mT
                t = d.reshape(len(d), groups, rows // groups, positions).mT
            else:
                x, t = x[:, None], d[:, None]
            square = ((x @ x.mT) * (t @ t.mT)).sum((1, 2, 3))
            # (groups, rows / groups) rows of p, each group with its own inputs
            along = (t * p.view(groups, 1, -1)).sum(-1)
            probed = probed + (along * (x @ q)).sum()
        else:
            each = _conv_gradients(layer, x, d) if conv else d.mT @ x
            square = each.square().sum((1, 2))
            probed = probed + p @ each.sum(0) @ q
        if layer.bias is not None:
            square = square + (d.sum((2, 3)) if conv else d.sum(1)).square().sum(1)
        norms.append(square)
    return torch.cat(norms), probed, expected


def _conv_gradients(layer: nn.Conv2d, x: Tensor, delta: Tensor) -> Tensor:
    """Each sample's weight gradient, shape `(b, rows, columns)`, by one convolution with a group a sample."""
    b, size = len(x), layer.weight.shape
    joined = conv2d_weight(
        x.reshape(1, -1, *x.shape[2:]),
        (b * size[0], *size[1:]),
        delta.reshape(1, -1, *delta.shape[2:]),
        layer.stride,
        layer.padding,
        layer.dilation,
        b * layer.groups,
    )
    return joined.view(b, size[0], -1)
