"""Norms of per-sample gradients from one backward pass, without the gradients themselves."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.functional import unfold
from torch.nn.grad import conv2d_weight

from flatlab.landscape import Landscape, Network

__all__ = ["per_sample_norms", "plain_layers", "taken"]

BLOCK = 2**19
"""Numbers in a temporary: small enough to stay in the processor's cache."""


def per_sample_norms(landscape: Landscape, w: Tensor, index: Tensor) -> tuple[Tensor, Tensor] | None:
    """`||g_i||^2`, shape `(b,)`, and the mean gradient, shape `(d,)`, of the samples `index`, shape `(b,)`; or None.

    A linear layer with input `a_i` and output gradient `delta_i` has the gradient `delta_i a_i^T`, whose squared norm
    is `||a_i||^2 ||delta_i||^2`. With several positions (a sequence, or the patches of a convolution) it is the sum
    over pairs of positions of `<a_s, a_t> <delta_s, delta_t>`, or the layer's own gradients are formed for a few
    samples at a time, whichever is cheaper.

    None where this does not apply: no network; a parameter outside of `Linear` and zero-padded `Conv2d` layers; a
    layer that runs not exactly once, is tied to another, or carries hooks; and a weight that anything but its layer
    makes use of, by the graph of the loss; or where the gradients of a few samples are others, by value.

    Source: Goodfellow 2015, "Efficient per-example gradient computations"; Rochette et al. 2019 for convolutions.

    >>> net = Landscape.of(torch.nn.Linear(2, 1, bias=False), torch.nn.functional.mse_loss,
    ...                    (torch.tensor([[1., 2.], [3., 4.]]), torch.zeros(2, 1)))
    >>> per_sample_norms(net, torch.ones(2), torch.arange(2))           # |(6, 12)|^2 and |(42, 56)|^2
    (tensor([ 180., 4900.]), tensor([24., 34.]))
    """
    layers = plain_layers(landscape)
    if layers is None or not landscape.holds("norms", lambda: _right(landscape, layers)):
        return None
    return _by_layers(landscape, w, layers, index)


def _right(landscape: Network, layers: dict[str, nn.Module]) -> bool:
    """Whether norms and mean gradient of a few samples are those of their gradients."""
    few, w = landscape.proving
    index = torch.arange(few.n, device=w.device)
    found = _by_layers(few, w, layers, index)
    if found is None:
        return False
    gradients = torch.stack([few.slope(w, i[None]) for i in index])
    slack = 1e-6 if w.dtype == torch.float64 else 0.02 if w.dtype == torch.float32 else 0.2
    squares, mean = gradients.square().sum(1), gradients.mean(0)
    if not bool(squares.isfinite().all()):  # an overflow is for the caller to find
        return True
    near = (found[0] - squares).abs() <= slack * squares.max()
    return bool(near.all()) and bool((found[1] - mean).norm() <= slack * squares.max().sqrt())


def _by_layers(landscape: Network, w: Tensor, layers: dict[str, nn.Module], index: Tensor) -> tuple[Tensor, Tensor] | None:
    recorded = _passed(landscape, w, layers, index)
    if recorded is None:
        return None
    b = len(index)
    total = torch.zeros(b, dtype=torch.promote_types(w.dtype, torch.float32), device=w.device)
    gradients = {}
    for name, layer in layers.items():
        a, delta = recorded.pop(name)  # freed layer by layer
        norms, gradients[name] = _norms(layer, a, delta)
        total += norms
    return total * b * b, _flat(layers, gradients)  # delta belongs to the mean over b samples


def _passed(
    landscape: Network, w: Tensor, layers: dict[str, nn.Module], index: Tensor
) -> dict[str, tuple[Tensor, Tensor]] | None:
    """Every layer's input and output gradient; None if a layer has not one each, or its weights have another use."""
    runs: list[str] = []
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, GradientEdge] = {}

    def record(name: str) -> Callable:
        def hook(module, args, named, output):
            runs.append(name)
            if output.requires_grad:
                inputs[name] = taken(args, named).detach()
                # Of the tensor as it is now: a ReLU in place would otherwise replace what the gradient belongs to.
                outputs[name] = get_gradient_edge(output)

        return hook

    handles = [layer.register_forward_hook(record(name), with_kwargs=True) for name, layer in layers.items()]
    weights = {name: part.detach().requires_grad_() for name, part in landscape.named(w).items()}
    x, y = landscape.data(index)

    def backward() -> tuple[Tensor | None, ...] | None:
        loss = landscape.scalar(landscape.loss_fn(landscape.forward(x), y))
        if sorted(runs) != sorted(outputs) or outputs.keys() != layers.keys() or not _used_once(loss, weights):
            return None
        # Not the weights' own gradients: those of a convolution cost as much as all that is needed here.
        return torch.autograd.grad(loss, [outputs[name] for name in layers], allow_unused=True)

    try:
        with torch.enable_grad():
            deltas = landscape.inside(weights, backward)
    finally:
        for handle in handles:
            handle.remove()
    if deltas is None:
        return None
    recorded = {name: (inputs.pop(name), delta) for name, delta in zip(layers, deltas, strict=True)}
    fits = all(delta is not None and len(a) == len(delta) == len(index) for a, delta in recorded.values())
    return recorded if fits else None


def _used_once(loss: Tensor, weights: dict[str, Tensor]) -> bool:
    """Whether the graph of `loss` leads to each of the `weights` on one edge: that of its layer."""
    if loss.grad_fn is None:
        return False
    edges: dict[Tensor, int] = {}
    ahead, seen = [loss.grad_fn], {loss.grad_fn}
    while ahead:
        for node, _ in ahead.pop().next_functions:
            leaf = getattr(node, "variable", None)
            if leaf is not None:
                edges[leaf] = edges.get(leaf, 0) + 1
            elif node is not None and node not in seen:
                seen.add(node)
                ahead.append(node)
    return all(edges.get(p) == 1 for p in weights.values())


def _flat(layers: dict[str, nn.Module], gradients: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
    parts = []
    for name, layer in layers.items():  # in the order of model.parameters()
        own = dict(zip(("weight", "bias"), gradients[name], strict=True))
        parts += [own[key].reshape(-1) for key, _ in layer.named_parameters(recurse=False)]
    return torch.cat(parts)


def taken(args: tuple, named: dict[str, Tensor]) -> Tensor:
    """The input of a layer, by place or by name."""
    return args[0] if args else next(iter(named.values()))


def plain_layers(landscape: Landscape) -> dict[str, nn.Module] | None:
    """The `Linear` and zero-padded `Conv2d` layers that hold a network's weights, by name; None if it has any other
    weights, a tied one, a part of a layer's, or a layer with hooks, and for a closed form.
    """
    if not isinstance(landscape, Network):
        return None
    layers, names = {}, []
    chosen = {id(p) for p in landscape.parameters.values()}
    for name, module in landscape.layers().items():
        own = [p for _, p in module.named_parameters(recurse=False) if id(p) in chosen]
        if not own:
            continue
        if len(own) < len(list(module.named_parameters(recurse=False))):
            return None
        known = type(module) is nn.Linear or (
            type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)
        )
        if not known or module._forward_hooks or module._forward_pre_hooks:
            return None
        layers[name] = module
        names += own
    every = [p for _, p in landscape.model.named_parameters(remove_duplicate=False) if id(p) in chosen]
    return layers if len(names) == len(every) == len(chosen) else None


def _norms(layer: nn.Module, a: Tensor, delta: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Squared norms `(b,)`, and the samples' summed gradients of weight, `(rows, columns)`, and bias, `(rows,)`."""
    rows, columns = len(layer.weight), layer.weight[0].numel()
    if isinstance(layer, nn.Linear) and a.ndim == 2:
        squares = a.square().sum(1) + (layer.bias is not None)
        return squares * delta.square().sum(1), (delta.mT @ a, delta.sum(0))
    if isinstance(layer, nn.Linear):
        a, delta = a.flatten(1, -2), delta.flatten(1, -2)
        positions, groups, conv = delta.shape[1], 1, False
    else:
        positions, groups, conv = delta[0, 0].numel(), layer.groups, True
    # Pairs of positions, or each sample's gradient itself: whichever is cheaper to form.
    by_pairs = positions * (rows + groups * columns) < rows * columns
    numbers = groups * columns * positions if by_pairs else max(a[0].numel(), rows * columns)
    size = max(1, BLOCK // numbers)
    each_bias = delta.sum((2, 3)) if conv else delta.sum(1)
    norms, weight = [], torch.zeros(rows, columns, dtype=a.dtype, device=a.device)
    for x, d in zip(a.split(size), delta.split(size), strict=True):
        if by_pairs:
            if conv:
                x = unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
                x = x.view(len(d), groups, columns, positions).mT
                t = d.reshape(len(d), groups, rows // groups, positions).mT
            else:
                x, t = x[:, None], d[:, None]
            norms.append(((x @ x.mT) * (t @ t.mT)).sum((1, 2, 3)))
            weight += torch.einsum("bgpr,bgpc->grc", t, x).reshape(rows, columns)
        else:
            each = _conv_gradients(layer, x, d) if conv else d.mT @ x
            norms.append(each.square().sum((1, 2)))
            weight += each.sum(0)
    squares = torch.cat(norms)
    return squares if layer.bias is None else squares + each_bias.square().sum(1), (weight, each_bias.sum(0))


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
