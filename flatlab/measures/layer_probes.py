"""Draws of a network's Hessian trace, layer by layer, with random vectors of its own for every sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from flatlab.landscape import Landscape, Network
from flatlab.landscape.curvature import follows, math_attention
from flatlab.landscape.network import Part
from flatlab.measures.per_sample_norms import BLOCK, per_sample_norms, plain_layers, taken
from flatlab.measures.probe import probe

__all__ = ["layer_probes"]


def layer_probes(landscape: Landscape, w: Tensor, kind: str, generator: torch.Generator) -> Callable[[int], Tensor] | None:
    """`draw(k)`, shape `(k,)`: independent draws whose mean is `Tr H(w)`; or None where it does not apply.

    Only the Hessian's diagonal enters its trace, so neither the blocks between two layers nor those between two
    samples need to be probed; in a product `v^T H v` both only add variance. For the outputs `z_i = V a_i` of one
    layer at sample `i`

        Tr H = mean_i sum_layers E[(V_i a_i)^T (d^2 l_i / dz_i^2) (V_i a_i)],    E[V_i V_i^T] = I,

    with a random `V_i` for each sample. A draw takes one backward pass a layer, from the layer upward, through a
    graph of the outputs alone. None where `per_sample_norms` gives none, the loss is no mean over samples, or the second
    derivatives fail a comparison with differences of first ones, once.

    >>> from torch.nn.functional import mse_loss
    >>> data = torch.tensor([[1., 2.], [3., 4.]]), torch.zeros(2, 1)
    >>> net = Landscape.of(nn.Linear(2, 1, bias=False), mse_loss, data)
    >>> layer_probes(net, torch.ones(2), "rademacher", torch.Generator())(3)      # one output: every sign gives it
    tensor([30., 30., 30.], dtype=torch.float64)
    """
    layers = plain_layers(landscape)
    if not layers:
        return None
    try:
        landscape.need_mean()
    except ValueError:
        return None
    if per_sample_norms(landscape, w, torch.zeros(1, dtype=torch.long, device=w.device)) is None:
        return None
    if not landscape.holds("layer probes", lambda: _right(landscape, layers)):
        return None

    def draw(count: int) -> Tensor:
        values = torch.zeros(count, dtype=torch.float64, device=w.device)
        for part in landscape.parts(w):
            recorded = _record(landscape, w.detach(), layers, part)
            share = recorded[0][1].shape[0] / landscape.n
            for k in range(count):
                for layer, a, shift, slope in recorded:
                    if slope.requires_grad:
                        v = _moved(layer, a, kind, generator)
                        (curved,) = torch.autograd.grad(slope, shift, v, retain_graph=True, materialize_grads=True)
                        values[k] += share * torch.dot(v.reshape(-1), curved.reshape(-1)).double()
        return values

    return draw


def _right(landscape: Network, layers: dict[str, nn.Module]) -> bool:
    """Whether second derivatives in the layers' outputs are differences of first ones, on a few samples."""
    few, w = landscape.proving
    recorded = _record(few, w, layers, None)
    shifts, slopes = [shift for *_, shift, _ in recorded], [slope for *_, slope in recorded]
    bent = [i for i, slope in enumerate(slopes) if slope.requires_grad]

    def product(v: list[Tensor]) -> list[Tensor]:
        along = [slopes[i] for i in bent], shifts, [v[i] for i in bent]
        return list(torch.autograd.grad(*along, retain_graph=True, materialize_grads=True)) if bent else v

    def slope(at: list[Tensor]) -> list[Tensor]:
        return [found[-1].detach() for found in _record(few, w, layers, None, at)]

    return not bent or follows(product, slope, [shift.detach() for shift in shifts])


def _record(
    landscape: Network, w: Tensor, layers: dict[str, nn.Module], part: Part, shifts: list[Tensor] | None = None
) -> list[tuple[nn.Module, Tensor, Tensor, Tensor]]:
    """Each layer with its input, a shift (0 unless given) added to its output, and the loss's gradient in that shift."""
    found: list[tuple[nn.Module, Tensor, Tensor]] = []

    def hook(module: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor) -> Tensor:
        shift = torch.zeros_like(output) if shifts is None else shifts[len(found)].detach().clone()
        found.append((module, taken(args, named).detach(), shift.requires_grad_()))
        return output + shift

    handles = [layer.register_forward_hook(hook, with_kwargs=True) for layer in layers.values()]
    x, y = landscape.data(part)

    def backward() -> tuple[Tensor, ...]:
        loss = landscape.scalar(landscape.loss_fn(landscape.forward(x), y))
        return torch.autograd.grad(loss, [shift for *_, shift in found], create_graph=True, materialize_grads=True)

    try:
        with torch.inference_mode(False), torch.enable_grad(), math_attention():
            slopes = landscape.inside(landscape.named(w), backward)
    finally:
        for handle in handles:
            handle.remove()
    return [(*each, slope) for each, slope in zip(found, slopes, strict=True)]


def _moved(layer: nn.Module, a: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """`V_i a_i + c_i` for random `V_i` and `c_i`, shaped as a sample's weight and bias."""

    def random(*shape: int) -> Tensor:
        return probe(kind, a.new_empty(shape), generator)

    b, (rows, *columns) = len(a), layer.weight.shape
    if isinstance(layer, nn.Linear) and a.ndim == 2:  # a random matrix times a vector is a vector of its length
        return random(b, rows) * (a.square().sum(1, keepdim=True) + (layer.bias is not None)).sqrt()
    moved = []
    for x in a.split(max(1, BLOCK // layer.weight.numel())):
        c = random(len(x), rows) if layer.bias is not None else x.new_zeros(len(x), rows)
        if isinstance(layer, nn.Linear):
            v = x.flatten(1, -2) @ random(len(x), rows, *columns).mT + c[:, None]
            moved.append(v.view(*x.shape[:-1], rows))
        else:
            groups = len(x) * layer.groups  # one convolution, with a group a sample
            v = conv2d(
                x.reshape(1, -1, *x.shape[2:]),
                random(len(x) * rows, *columns),
                None,
                layer.stride,
                layer.padding,
                layer.dilation,
                groups,
            )
            moved.append(v.view(len(x), rows, *v.shape[2:]) + c[:, :, None, None])
    return torch.cat(moved)
