"""Flatness and gradient noise as terms of the loss, for any `torch.optim` optimizer.

    loss = loss_fn(model(x), y)
    loss = loss + 0.01 * hessian_frobenius_penalty(model, loss_fn, (x, y), step=step, every=10)
    loss.backward()

Each penalty is a scalar that can be differentiated with respect to the model's parameters. It is computed in a
forward pass of its own, on `data = (x, y)` (a tuple `x` is several inputs, a dict named ones), with the loss
`loss_fn(outputs, y)`, a mean over samples. In that pass dropout is off, and the model's buffers do not move.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import grad
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.conv import _ConvNd

from flatlab.landscape.curvature import follows, math_attention, moved, refusal, shifted
from flatlab.landscape.memory import ran_out
from flatlab.landscape.replaced import replaced
from flatlab.landscape.samples import each, floats, gathered, length, passed, rows

__all__ = ["gradient_noise_penalty", "hessian_frobenius_penalty"]

Loss = Callable[[Any, Any], Tensor]

FEW = 4
"""Samples on which a model's second derivatives are proved."""
PROVED: weakref.WeakSet[nn.Module] = weakref.WeakSet()
"""Models whose second derivatives were found to be right."""


def hessian_frobenius_penalty(
    model: nn.Module,
    loss_fn: Loss,
    data: tuple[Any, Any],
    *,
    probes: int = 5,
    distribution: Literal["rademacher", "gaussian"] = "rademacher",
    generator: torch.Generator | None = None,
    step: int = 0,
    every: int = 1,
) -> Tensor:
    r"""FA-regularization: $\mathrm{tr}(H^2) / B$, estimated by the mean of $\|H v\|^2 / B$ over random vectors `v`.

    `H` is the Hessian of the mean loss over the `B` samples of `data` in the trained parameters. The estimate
    is unbiased, and so is its gradient; with Rademacher probes (entries of +1 or -1) it has no more variance than
    with Gaussian ones. It is 0 in a step that `every` does not divide. Norm layers in train mode normalize by the
    batch, as they do in the loss. `generator` must be on the model's device; None takes torch's own.

    Raises `ValueError` if `probes` or `every` is below 1, `distribution` is another, `x` and `y` differ in length, the
    model has nothing to train, or its second derivatives, compared once with differences of first ones, are wrong.

    Source: "Flat Is the New Sharp" (FA), equations (2) and (3), Algorithms 1 and 2.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.ones_(model.weight)
    >>> x, y = torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1)
    >>> fourth = lambda out, y: (out - y).pow(4).mean()         # (1 + 16) / 2 * w^4
    >>> penalty = hessian_frobenius_penalty(model, fourth, (x, y))
    >>> penalty                                                 # (12 * 8.5 * w^2)^2 / 2
    tensor(5202., grad_fn=<DivBackward0>)
    >>> penalty.backward()
    >>> model.weight.grad                                       # it grows with w^4
    tensor([[20808.]])
    """
    for name, value in (("probes", probes), ("every", every)):
        if value < 1 or value != int(value):
            raise ValueError(f"{name} must be a whole number >= 1, got {value}")
    if distribution not in ("rademacher", "gaussian"):
        raise ValueError(f"distribution must be 'rademacher' or 'gaussian', got {distribution!r}")
    params = _trained(model)
    x, y = gathered(data)
    if step % every:
        return params[0].new_zeros(())
    if model not in PROVED:
        _prove(model, loss_fn, rows(x, slice(FEW)), rows(y, slice(FEW)))
        PROVED.add(model)
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad(), _still(model), math_attention():
        loss = loss_fn(_outputs(model, {}, x), y)
        slopes = torch.autograd.grad(loss, params, create_graph=True, materialize_grads=True)
        # A slope that does not depend on the weights has no second derivative.
        bent = [(g, p) for g, p in zip(slopes, params, strict=True) if g.requires_grad]
        if not bent:
            return loss * 0.0
        vs = [_probe(p, probes, distribution, generator) for _, p in bent]
        # All probes at once, but for convolutions: mapped over, those of one grouped convolution are many times slower.
        one_by_one = any(isinstance(m, _ConvNd) for m in model.modules())
        norms = []
        for v in zip(*vs, strict=True) if one_by_one else [vs]:
            hvs = torch.autograd.grad(
                [g for g, _ in bent],
                params,
                v,
                create_graph=differentiable,
                retain_graph=True,
                is_grads_batched=not one_by_one,
                allow_unused=True,
            )
            norms += [_SquaredNorm.apply(hv) for hv in hvs if hv is not None]
        total = torch.stack(norms).sum()
    return total / (probes * length("x", x))


def gradient_noise_penalty(
    model: nn.Module,
    loss_fn: Loss,
    data: tuple[Any, Any],
    *,
    batch_size: int | None = None,
    population: int | None = None,
) -> Tensor:
    r"""COV: $\mathrm{Tr}\, C = \frac{1}{n} \sum_i \|\nabla l_i - \nabla L\|^2$ over the `n` samples of `data`.

    With `batch_size = b` it is multiplied by $\hat\alpha = \frac{n - b}{b (n - 1)}$, and is then exactly the trace of
    the covariance of the gradient of `b` samples drawn from these `n` without replacement. Where `data` is itself but
    a part of the training set, `population` puts the size of that in place of `n` in the factor.

    All per-sample gradients are held at once, and differentiated. Raises `ValueError` if a norm layer in train
    mode couples the samples (call its `eval()`), `batch_size` is not within 1 and `n`, `population` is smaller than
    the data, `x` and `y` differ in length, or the model has nothing to train.

    Source: Zhou et al. ("Beyond Sharpness"), section 2.2 (the covariance) and section 3.1 (the penalty).

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.ones_(model.weight)
    >>> x, y = torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1)
    >>> penalty = gradient_noise_penalty(model, nn.functional.mse_loss, (x, y))
    >>> penalty                                                 # gradients 2 w and 8 w, 3 w off their mean
    tensor(9., grad_fn=<DivBackward0>)
    >>> penalty.backward()
    >>> model.weight.grad
    tensor([[18.]])
    """
    _trained(model)
    x, y = gathered(data)
    samples = length("x", x)
    n = samples if population is None else population
    if n < samples:
        raise ValueError(f"population must be at least the {samples} samples of the data, got {population}")
    if batch_size is not None and not 1 <= batch_size <= n:
        raise ValueError(f"batch_size must be between 1 and the {n} samples, got {batch_size}")
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.training:
            raise ValueError(
                f"layer {name!r} ({type(module).__name__}) is in train mode and couples the samples, so they have no "
                "gradients of their own; call its eval() first"
            )
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}

    def one(weights: dict[str, Tensor], a: Any, b: Any) -> Tensor:
        return loss_fn(_outputs(model, weights, a), b)

    with _still(model), math_attention():
        gs = each(lambda a, b: grad(one)(trained, a, b), x, y)
    noise = torch.stack([(g - g.mean(0)).square().sum() for g in gs.values()]).sum() / samples
    if batch_size is None:
        return noise
    return noise * (0.0 if n == 1 else (n - batch_size) / (batch_size * (n - 1)))  # one sample has no noise


def _trained(model: nn.Module) -> list[Tensor]:
    params = [p for p in model.parameters() if p.requires_grad]
    if not params:
        raise ValueError("the model has nothing to train: no parameter requires a gradient")
    return params


def _outputs(model: nn.Module, weights: dict[str, Tensor], x: Any) -> Any:
    """What the model makes of `x`, with copies of its buffers, so that no pass of a penalty moves them."""
    args, named = passed(model, x)(x)
    return replaced(model, {name: b.clone() for name, b in model.named_buffers()} | weights, args, named)


def _prove(model: nn.Module, loss_fn: Loss, x: Any, y: Any) -> None:
    """Raise `ValueError` unless second derivatives are differences of first ones, in float64 if the model runs in it."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if next(iter(trained.values())).device.type == "meta":  # shapes alone: there are no numbers to compare
        return
    every = dict(model.named_parameters()) | dict(model.named_buffers())

    def own(t: Any) -> Any:
        return floats(t, torch.float64) if wide else t

    def slopes(at: list[Tensor], graph: bool = False) -> list[Tensor]:
        weights = {name: own(t.detach().clone()) for name, t in every.items()} | dict(zip(trained, at, strict=True))
        args, named = passed(model, x)(own(x))
        loss = loss_fn(replaced(model, weights, args, named), own(y))
        return list(torch.autograd.grad(loss, at, create_graph=graph, materialize_grads=True))

    def leaves(at: list[Tensor]) -> list[Tensor]:
        return [a.detach().clone().requires_grad_() for a in at]

    def product(v: list[Tensor]) -> list[Tensor]:
        bent = [(g, u) for g, u in zip(recorded, v, strict=True) if g.requires_grad]
        if not bent:
            return [torch.zeros_like(u) for u in v]
        gs, vs = zip(*bent, strict=True)
        return list(torch.autograd.grad(gs, start, vs, retain_graph=True, materialize_grads=True))

    device = next(iter(trained.values())).device.type
    with torch.enable_grad(), _still(model), math_attention(), torch.autocast(device, enabled=False):
        try:
            wide = True
            start = leaves(shifted([own(p) for p in trained.values()]))
            recorded = slopes(start, graph=True)
        except (RuntimeError, TypeError) as error:  # a model, or a loss with weights of its own, that is not for float64
            if ran_out(error):
                raise
            wide = False
            start = leaves(shifted(list(trained.values())))
            recorded = slopes(start, graph=True)
        free = moved([g.detach() for g in recorded])
        if not follows(product, lambda at: slopes(leaves(at)), [a.detach() for a in start], free):
            raise refusal("the Hessian product")


def _probe(p: Tensor, count: int, distribution: str, generator: torch.Generator | None) -> Tensor:
    v = torch.empty((count, *p.shape), dtype=p.dtype, device=p.device)
    if distribution == "gaussian":
        return v.normal_(generator=generator)
    # Eight signs from a byte: five times as fast as a Bernoulli draw for each.
    drawn = torch.randint(256, (-(-v.numel() // 8), 1), dtype=torch.uint8, device=p.device, generator=generator)
    bits = (drawn >> torch.arange(8, dtype=torch.uint8, device=p.device)) & 1
    return v.copy_(bits.view(-1)[: v.numel()].view(v.shape)).mul_(2).sub_(1)


class _SquaredNorm(torch.autograd.Function):
    """`||v||^2` with a backward pass of one product, where that of `v.square().sum()` has three."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        ctx.save_for_backward(v)
        flat = v.reshape(-1)
        return torch.dot(flat, flat)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return 2 * slope * ctx.saved_tensors[0]


@contextmanager
def _still(model: nn.Module) -> Iterator[None]:
    """Everything in eval mode but norm layers, and those use the batch without keeping its statistics."""
    training = [m for m in model.modules() if m.training and not isinstance(m, _NormBase)]
    tracking = [m for m in model.modules() if m.training and isinstance(m, _NormBase) and m.track_running_stats]
    for m in training:
        m.training = False
    for m in tracking:
        m.track_running_stats = False
    try:
        yield
    finally:
        for m in training:
            m.training = True
        for m in tracking:
            m.track_running_stats = True
