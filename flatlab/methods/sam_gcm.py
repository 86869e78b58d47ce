"""SAMGCM: climbs in the ellipsoid of the covariance of the gradients."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from flatlab.methods.method import Method, Option
from flatlab.methods.vectors import Gradient, moving, non_negative

Form = Literal["full", "diagonal", "low_rank"]
FORMS = get_args(Form)


def check_metric(form: Form, damping: float) -> None:
    """A `ValueError` if there is no such form of the covariance, or it would have no inverse."""
    non_negative("damping", damping)
    SAMGCM.form.check(form)
    if form == "low_rank" and damping == 0:
        raise ValueError("damping must be > 0 with form='low_rank', got 0: the covariance has no inverse")


def sam_gcm(
    w: Tensor,
    grad: Gradient,
    samples: Gradient,
    rho: float | Tensor = 0.05,
    *,
    form: Form = "full",
    damping: float = 0.01,
    relative: bool = True,
) -> Tensor:
    r"""SAM within the ellipsoid of the gradient covariance: `grad(w + rho * D^-1 g / sqrt(g . D^-1 g))`.

    `samples(w)` gives per-sample gradients, `(..., d) -> (..., b, d)` (`Landscape.per_sample_grads`); `g` is their
    mean, `C` their covariance over `b`, and `D = C + damping * I`, with `damping` in units of the mean variance
    `Tr C / d` if `relative`, else in those of `C`, squared gradients. Without damping a direction free of noise would
    be climbed without end; an absolute one means something else as soon as the loss is scaled.

    - `form="full"`: `D` as it is, `d^3` operations, for toys; `damping=0` is allowed where `C` has an inverse.
    - `"low_rank"`: the same `D` by the Woodbury identity on the `b` gradients, `b^2 d` operations, for networks.
    - `"diagonal"`: the diagonal of `D`.

    The ascent has `eps . D eps = rho^2`: `rho` has the units of the loss, its length in `w` varies with the noise,
    and noisy directions are climbed less. The factor `(n - b) / (b (n - 1))` of a minibatch's own covariance is left
    out: it divides `rho` by its root. Where there is no noise at all, so no ellipsoid, there is no ascent
    (`relative`). Coordinates whose own `rho`, in one of `(d,)`, is 0 stand still and have no part in `g` and `C`.

    Raises `ValueError` if `rho` or `damping` is negative or not finite, `form` is none of the three,
    `form="low_rank"` comes without damping, or there is but one sample.

    Source: Zhou et al. ("Beyond Sharpness"), Lemma 1 and equation (11).

    >>> spread = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])      # C = diag(0.5, 2)
    >>> seen = []
    >>> def grad(w):
    ...     seen.append(w)
    ...     return w
    >>> w = torch.tensor([1.0, 2.0])
    >>> d = sam_gcm(w, grad, lambda w: w + spread, rho=2.0, damping=0.0)
    >>> seen[0] - w             # 2 * (1 / 0.5, 2 / 2) / sqrt(1 / 0.5 + 4 / 2)
    tensor([2., 1.])
    """
    non_negative("rho", rho)
    check_metric(form, damping)
    gs = samples(w)
    b, d = gs.shape[-2:]
    still = None
    if isinstance(rho, Tensor) and rho.ndim and rho.shape[-1] == d > 1:  # the covariance is that of what moves
        still = rho == 0
        gs, d = moving(gs, rho.unsqueeze(-2)), (d - still.sum(-1, keepdim=True)).clamp_min(1)
    if b < 2:
        raise ValueError(f"samples(w) must give at least 2 gradients, got {b}: one has no covariance")
    g = gs.mean(-2)
    a = (gs - g.unsqueeze(-2)) / math.sqrt(b)  # C = a^T a
    ridge = damping * (a.square().sum((-2, -1)).unsqueeze(-1) / d if relative else torch.ones_like(g[..., :1]))
    if still is not None and form != "low_rank":
        ridge = ridge + still  # any number does where all gradients are 0, but 0 has no inverse
    kind = w.device.type  # an autocast around the step is for its passes: it would take the products below in bfloat16
    with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
        x = _solve(a, ridge, g, form)
    energy = (g * x).sum(-1, keepdim=True)
    climbs = energy > 0
    if damping > 0:
        climbs = climbs & (ridge > 0)
    length = rho / torch.where(climbs, energy, 1.0).sqrt()
    return grad(w + torch.where(climbs, length * x, 0.0))


def _solve(a: Tensor, ridge: Tensor, g: Tensor, form: Form) -> Tensor:
    """`(a^T a + ridge I)^-1 g`: `(..., b, d), (..., 1), (..., d) -> (..., d)`."""
    if form == "diagonal":
        return g / (a.square().sum(-2) + ridge)
    if form == "full":
        c = a.mT @ a + torch.diag_embed(ridge.expand_as(g))
        return torch.linalg.solve_ex(c, g.unsqueeze(-1))[0].squeeze(-1)
    small = a @ a.mT
    inner = small + torch.diag_embed(ridge.expand(small.shape[:-1]))
    y = torch.linalg.solve_ex(inner, a @ g.unsqueeze(-1))[0]
    return (g - (a.mT @ y).squeeze(-1)) / ridge


class SAMGCM(Method):
    r"""SAM within the ellipsoid of the minibatch's gradient covariance, see `flatlab.rules.sam_gcm`.

        loss = opt.step(closure, x, y)              # closure(x, y) as in MSAM

    - `rho`: the radius in the metric of the covariance, in the units of the loss, >= 0.
    - `form`, `damping`, `relative`: as in the rule; `"low_rank"` and `"diagonal"` are the forms for a network.
    - `no_sync`: `ddp.no_sync`, so that each worker climbs in the ellipsoid of its own samples. Required there.

    The closure runs on the batch, on every single sample, and on the batch again: `n + 2` calls, which hold `n`
    gradients. The gradient and the descent are the batch's, in train mode with one dropout mask. Single samples run as
    in evaluation, with running statistics and without dropout, since BatchNorm gives a sample no gradient of its own:
    the covariance alone is that of the network in evaluation. In the paper SAMGCM is for toys; its method for networks
    is `CSAM`, with three calls a step.

    On a landscape one batched pass gives the gradients of all samples, which pays for small networks. Other arguments
    and errors as in `SAM`, and those of the rule; a step also raises `ValueError` for a BatchNorm layer without
    running statistics, and for `DistributedDataParallel` without `no_sync`.

    Source: Zhou et al. ("Beyond Sharpness"), Lemma 1 and equation (11).

    >>> import torch
    >>> from flatlab.optim import SAMGCM
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.constant_(model.weight, 2.0)
    >>> opt = SAMGCM(torch.optim.SGD(model.parameters(), lr=0.1), rho=3.0, form="full", damping=0.0)
    >>> def closure(x, y):
    ...     opt.zero_grad()
    ...     loss = torch.nn.functional.mse_loss(model(x), y)
    ...     loss.backward()
    ...     return loss
    >>> _ = opt.step(closure, torch.tensor([[1.0], [-2.0]]), torch.zeros(2, 1))
    >>> model.weight.data               # gradients 4, 16, of deviation 6: 2 - 0.1 * 5 * (2 + 3 / 6)
    tensor([[0.7500]])
    """

    rule = staticmethod(sam_gcm)
    rho = Option(0.05, "radius in the metric of the covariance", least=0, unit="the loss")
    form = Option("low_rank", "form of the covariance", allowed=FORMS, shared=True)
    damping = Option(0.01, "added to the covariance", least=0, shared=True)
    relative = Option(True, "whether the damping is measured in the covariance's own size", shared=True)
    source = 'Zhou et al. ("Beyond Sharpness"), Lemma 1 and equation (11)'
    about = "SAM within the ellipsoid of the covariance of the gradients, after Zhou et al."
    colour, dash, place = "#ce3f12", "longdashdot", 7
    cuts = True

    @classmethod
    def check(cls, **options: Any) -> None:
        """`form` and `damping` must leave the covariance an inverse."""
        super().check(**options)
        check_metric(options["form"], options["damping"])

    @classmethod
    def direction(cls, w: Tensor, grad: Any, **options: Any) -> Tensor:
        """The rule, with the covariance over the samples of the batch."""
        return cls.rule(w, grad, grad.samples, **options)
