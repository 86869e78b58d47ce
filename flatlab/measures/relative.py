"""Relative flatness of one layer, and the feature robustness it predicts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from flatlab.landscape import Landscape, Network
from flatlab.landscape.curvature import follows, math_attention, refusal
from flatlab.measures.estimate import Estimate, check_whole, finite, generator_for, sample_mean
from flatlab.measures.hessian_product import dense, hessian_product
from flatlab.measures.output_hessian import FORMS, everywhere
from flatlab.measures.per_sample_norms import taken
from flatlab.measures.point import point
from flatlab.measures.precision import without_autocast
from flatlab.rules import non_negative

__all__ = ["feature_robustness", "relative_flatness"]


@without_autocast
def relative_flatness(
    landscape: Landscape,
    w: Tensor,
    layer: str | None = None,
    normalize: bool = False,
    dead: str = "error",
    shape: tuple[int, int] | None = None,
    chunk: int = 2048,
) -> float:
    """`kappa = sum_{s,s'} <W_s, W_s'> Tr(H_{s,s'})` of one linear layer `W`, shape `(out, m)`; exact.

    `H_{s,s'}`, shape `(m, m)`, is the Hessian of the loss with respect to rows s and s' of `W`. With inputs `phi_i`
    and outputs `z_i = W phi_i` of the layer, `H_{s,s'} = mean_i (d^2 l_i / dz_s dz_s') phi_i phi_i^T`, so that

        kappa = mean_i ||phi_i||^2 tr(W^T (d^2 l_i / dz^2) W).

    For the layer of the outputs and cross-entropy the second derivative is `diag(p) - p p^T`, for squared loss
    `2 / out`: a closed form, taken where it is found to be right on all samples. For any other layer or loss it takes
    `min(out, m)` Hessian products with respect to all `z_i` at once, which are held once against differences. For one
    output and squared loss `kappa = c ||W||^2` with `c = 2 mean_i ||phi_i||^2` (ridge).

    `layer` names a `Linear` layer of the network, as in `model.named_modules()`; None is the one that makes the outputs,
    found by running, or the last to run of those that the loss depends on. Biases are no part of `W`. `w` has shape
    `(d,)`; the value is in units of the loss. It does not change when one ReLU layer is multiplied by a positive number
    and another divided by it. With `normalize=True` it does not change either when the neurons of the feature layer are
    rescaled one by one: features are divided by their standard deviation over the samples, columns of `W` multiplied by
    it. A feature that never varies has none: `dead="error"` raises `ValueError` that counts them, `dead="drop"` leaves
    such features and their columns out of the sum.

    A closed-form landscape has no layers: all its weights are taken as one matrix of `shape` `(out, m)`, by default
    `(1, d)`, for which `kappa = ||w||^2 Tr H`; this takes `d` Hessian products.

    Raises `ValueError` for a name that is no `Linear` layer, a layer that does not run exactly once on inputs of
    shape `(n, m)`, a loss that is no mean over samples, and options that do not fit the landscape;
    `FloatingPointError` if a second derivative is not finite. Source: Petzka et al. 2021, Definition 3, equation (9), and
    Theorem 4, whose "variance" has to read standard deviation.

    >>> from torch.nn.functional import mse_loss
    >>> data = torch.tensor([[1., 2.], [3., 4.]]), torch.zeros(2, 1)
    >>> net = Landscape.of(nn.Linear(2, 1, bias=False), mse_loss, data)
    >>> relative_flatness(net, torch.ones(2))           # 2 * (5 + 25) / 2 * ||w||^2
    60.0
    """
    w = point(landscape, w)
    if dead not in ("error", "drop"):
        raise ValueError(f"dead must be 'error' or 'drop', got {dead!r}")
    check_whole("chunk", chunk)
    if not isinstance(landscape, Network):
        if normalize or layer is not None:
            raise ValueError("layer and normalize need a network: a closed-form landscape has no features")
        matrix = _matrix(landscape, w, shape)
        hessian = dense(hessian_product(landscape, w), w).view(*matrix.shape, *matrix.shape)
        return finite(torch.einsum("at,bt,ajbj->", matrix.double(), matrix.double(), hessian.double()).item())
    if shape is not None:
        raise ValueError("shape is for closed-form landscapes: name a layer of the network instead")
    name, module = _linear(landscape, layer)
    landscape.need_mean()
    weights = landscape.named(w)
    matrix = weights[_parameter(name)]
    scale = _spread(landscape, weights, module, dead, chunk) if normalize else None
    if scale is not None:
        matrix = matrix * scale
    total = torch.zeros((), dtype=torch.float64, device=w.device)
    for index in torch.arange(landscape.n, device=w.device).split(chunk):
        phi, curvature = _features_and_curvature(landscape, w, name, module, matrix, index)
        if scale is not None:
            phi = torch.where(scale > 0, phi / torch.where(scale > 0, scale, 1.0), 0.0)
        total += (phi.square().sum(1) * curvature).sum(dtype=torch.float64)
    return finite((total / landscape.n).item(), "a sample's curvature")


@without_autocast
def feature_robustness(
    landscape: Landscape,
    w: Tensor,
    delta: float = 0.1,
    layer: str | None = None,
    samples: int | None = None,
    rtol: float | None = None,
    seed: int | torch.Generator = 0,
    antithetic: bool = True,
    shape: tuple[int, int] | None = None,
) -> Estimate:
    """`E_A[L(W + delta W A)] - L(W)` over random orthogonal `A`, shape `(m, m)`: the mean rise of the loss when every
    feature vector is moved by `delta` times its own length in a random direction, labels kept.

    Moving the features, `phi -> phi + delta A phi`, is moving the layer, `W -> W + delta W A`, which is what is
    computed. For small `delta` it is `delta^2 / (2 m) kappa` with `kappa` the relative flatness, exactly so for a
    quadratic loss; with `A` and `-A` in pairs (`antithetic`, two losses a sample) the part that is linear in `delta`
    cancels in every sample, and on average it vanishes anywhere, not only at a minimum.

    `w` has shape `(d,)`; the value is in units of the loss; `layer`, `shape` as in `relative_flatness`; `samples`,
    `rtol` as in `sample_mean`. Raises `ValueError` as these do, and if `delta` is negative. Source:
    Petzka et al. 2021, equations (4) and (7) and Theorem 5.

    >>> class Bowl(Landscape):
    ...     d = 1
    ...     def losses(self, w, batch=None):
    ...         return w * w
    >>> robust = feature_robustness(Bowl(), torch.ones(1), delta=0.5, samples=4)    # A is 1 or -1
    >>> robust, 0.5**2 / 2 * relative_flatness(Bowl(), torch.ones(1))
    (Estimate(value=0.25, stderr=0.0, samples=4), 0.25)
    """
    w = point(landscape, w)
    non_negative("delta", delta)
    if not isinstance(landscape, Network):
        if layer is not None:
            raise ValueError("layer needs a network: a closed-form landscape has no layers")
        start, matrix = 0, _matrix(landscape, w, shape)
    else:
        if shape is not None:
            raise ValueError("shape is for closed-form landscapes: name a layer of the network instead")
        landscape.need_mean()
        parameter = _parameter(_linear(landscape, layer)[0])
        weights = landscape.named(w)
        matrix = weights[parameter].to(w.dtype)
        before = list(weights)[: list(weights).index(parameter)]
        start = sum(weights[name].numel() for name in before)
    m, generator = matrix.shape[1], generator_for(seed, w.device)
    base = landscape.losses_at(w[None])

    def draw(count: int) -> Tensor:
        values = []
        for _ in range(count):
            a = torch.randn(m, m, dtype=w.dtype, device=w.device, generator=generator)
            q, r = torch.linalg.qr(a)
            q = q * (1 - 2 * (r.diagonal() < 0).to(q))  # without the signs the law would not be Haar's
            move = delta * (matrix @ q).reshape(-1)
            points = w.repeat(2 if antithetic else 1, 1)
            points[0, start : start + len(move)] += move
            if antithetic:
                points[1, start : start + len(move)] -= move
            values.append(landscape.losses_at(points).mean() - base)
        return torch.cat(values)

    return sample_mean(draw, samples, rtol)


def _matrix(landscape: Landscape, w: Tensor, shape: tuple[int, int] | None) -> Tensor:
    rows, columns = shape or (1, landscape.d)
    if rows * columns != landscape.d or rows < 1:
        raise ValueError(f"shape must hold d = {landscape.d} weights, got {shape}")
    return w.view(rows, columns)


def _parameter(name: str) -> str:
    return f"{name}.weight" if name else "weight"


def _linear(landscape: Network, layer: str | None) -> tuple[str, nn.Linear]:
    found = {name: m for name, m in landscape.layers().items() if isinstance(m, nn.Linear)}
    if layer is None:
        if not found:
            raise ValueError("the network has no Linear layer")
        layer = _last(landscape, found)
    if layer not in found:
        raise ValueError(f"layer must be one of the Linear layers {list(found)}, got {layer!r}")
    every = list(landscape.model.named_parameters(remove_duplicate=False))
    weight = dict(every).get(_parameter(layer))
    if weight is None or sum(p is weight for _, p in every) != 1:
        raise ValueError(f"the weight of layer {layer!r} is shared or reparametrized, so it is not one layer's")
    if _parameter(layer) not in landscape.parameters:
        raise ValueError(f"the weight of layer {layer!r} is none of the chosen parameters")
    return layer, found[layer]


def _last(landscape: Network, layers: dict[str, nn.Linear]) -> str:
    """The layer whose outputs are the model's, or else the last to run of those that the loss depends on."""
    few, w = landscape.proving
    seen: list[tuple[str, Tensor, Tensor]] = []

    def watch(name: str) -> Callable:
        def hook(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
            through = output + 0  # a tensor of its own, which nothing in place can replace
            seen.append((name, output.detach().clone(), through))
            return through + 0

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in layers.items()]
    weights = {name: v.detach().requires_grad_() for name, v in few.named(w).items()}
    try:
        with torch.enable_grad():
            outputs = few.run(weights, few.x)
            loss = few.scalar(few.loss_fn(outputs, few.y))
    finally:
        for handle in handles:
            handle.remove()
    made = [t for t in tree_leaves(outputs) if isinstance(t, Tensor)]
    if len(made) == 1:
        for name, z, _ in reversed(seen):
            if z.shape == made[0].shape and torch.equal(z, made[0]):
                return name
    for name, _, through in reversed(seen):
        used = through.requires_grad and torch.autograd.grad(loss, through, retain_graph=True, allow_unused=True)[0]
        if isinstance(used, Tensor):
            return name
    raise ValueError("the loss depends on no Linear layer of the network")


def _run(landscape: Network, weights: dict[str, Tensor], module: nn.Linear, index: Tensor, shift: Tensor | None):
    """The network's outputs, and the layer's input and output, the latter moved by `shift`, as they left the layer."""
    seen = []

    def hook(_, args, named, output):
        output = output if shift is None else output + shift
        seen.append((taken(args, named).detach(), output.detach().clone()))
        return output

    handle = module.register_forward_hook(hook, with_kwargs=True)
    try:
        outputs = landscape.forward(landscape.data(index)[0])
    finally:
        handle.remove()
    if len(seen) != 1:
        raise ValueError(f"the layer runs {len(seen)} times in a forward pass; relative flatness needs exactly one")
    phi, z = seen[0]
    if phi.ndim != 2 or len(phi) != len(index):
        raise ValueError(f"the layer's input must have shape (n, m), got {tuple(phi.shape)}")
    return outputs, phi, z


def _still(landscape: Network, weights: dict[str, Tensor], module: nn.Linear, index: Tensor):
    with torch.no_grad():
        return landscape.inside(weights, lambda: _run(landscape, weights, module, index, None))


def _spread(landscape: Network, weights: dict[str, Tensor], module: nn.Linear, dead: str, chunk: int) -> Tensor:
    indices = torch.arange(landscape.n, device=landscape.w0.device).split(chunk)
    phi = torch.cat([_still(landscape, weights, module, index)[1] for index in indices])
    spread = phi.std(0, unbiased=False)
    # A constant feature's computed spread is rounding, not zero.
    still = spread <= 10 * torch.finfo(phi.dtype).eps * phi.abs().amax(0)
    if still.any() and dead == "error":
        raise ValueError(
            f"{int(still.sum())} of {len(still)} features do not vary over the samples, so they cannot be normalized "
            "(dead='drop' leaves them out)"
        )
    return torch.where(still, 0.0, spread)


def _features_and_curvature(
    landscape: Network, w: Tensor, name: str, module: nn.Linear, matrix: Tensor, index: Tensor
) -> tuple[Tensor, Tensor]:
    """`phi`, shape `(b, m)`, and `tr(W^T (d^2 l_i / dz^2) W)`, shape `(b,)`, for the samples `index`."""
    outputs, phi, z = _still(landscape, landscape.named(w), module, index)
    # By value: what is done to the outputs in place leaves them the same tensor.
    if isinstance(outputs, Tensor) and outputs.shape == z.shape and torch.equal(outputs, z):
        y = landscape.data(index)[1]
        for form, product in FORMS:
            known = landscape.holds(form.__name__, lambda form=form: _known(landscape, name, module, form))
            if known and everywhere(landscape, outputs, y, product):
                return phi, form(outputs, y, matrix).to(phi.dtype)
    if not landscape.holds(f"curvature at {name}", lambda: _right(landscape, module)):
        raise refusal("the Hessian product")
    return phi, _curvature(landscape, w, module, matrix, index)


def _known(landscape: Network, name: str, module: nn.Linear, form: Callable) -> bool:
    """Whether a closed form gives what second derivatives give, on a few samples."""
    few, w = landscape.proving
    index = torch.arange(few.n, device=w.device)
    matrix = few.named(w)[_parameter(name)]
    outputs, *_ = _still(few, few.named(w), module, index)
    closed = form(outputs, few.y, matrix)
    found = _curvature(few, w, module, matrix, index)
    slack = 1e-6 if w.dtype == torch.float64 else 1e-3 if w.dtype == torch.float32 else 0.1
    return _right(landscape, module) and bool(((closed - found).abs() <= slack * found.abs().max()).all())


def _sloped(landscape: Network, w: Tensor, module: nn.Linear, index: Tensor, shift: Tensor | None):
    """A shift of the layer's outputs, of 0 unless given, and the gradient in it of the sum of the losses."""
    weights = landscape.named(w.detach())
    start = torch.zeros_like(_still(landscape, weights, module, index)[2]) if shift is None else shift
    moved = start.detach().clone().requires_grad_()

    def backward() -> Tensor:
        outputs, *_ = _run(landscape, weights, module, index, moved)
        loss = landscape.scalar(landscape.loss_fn(outputs, landscape.data(index)[1])) * len(index)
        return torch.autograd.grad(loss, moved, create_graph=True, materialize_grads=True)[0]

    with torch.inference_mode(False), torch.enable_grad(), math_attention():
        return moved, landscape.inside(weights, backward)


def _right(landscape: Network, module: nn.Linear) -> bool:
    """Whether second derivatives in the layer's outputs are differences of first ones, on a few samples."""
    few, w = landscape.proving
    index = torch.arange(few.n, device=w.device)
    shift, gradient = _sloped(few, w, module, index, None)

    def product(v: list[Tensor]) -> list[Tensor]:
        if not gradient.requires_grad:
            return [torch.zeros_like(v[0])]
        return list(torch.autograd.grad(gradient, shift, v[0], retain_graph=True, materialize_grads=True))

    return follows(product, lambda at: [_sloped(few, w, module, index, at[0])[1].detach()], [shift.detach()])


def _curvature(landscape: Network, w: Tensor, module: nn.Linear, matrix: Tensor, index: Tensor) -> Tensor:
    shift, gradient = _sloped(landscape, w, module, index, None)
    factor = matrix  # tr(W^T D W) needs W only up to a rotation of its columns
    if matrix.shape[1] > matrix.shape[0]:
        factor = torch.linalg.qr(matrix.T.to(torch.promote_types(matrix.dtype, torch.float32)))[1].T.to(matrix.dtype)
    curvature = torch.zeros(len(index), dtype=shift.dtype, device=shift.device)
    if not gradient.requires_grad:
        return curvature
    for column in factor.T:
        direction = column.expand_as(shift)
        (product,) = torch.autograd.grad(gradient, shift, direction, retain_graph=True, materialize_grads=True)
        curvature += (product * column).sum(1)
    return curvature
