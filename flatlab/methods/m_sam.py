"""m-SAM: every micro-batch climbs for itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from flatlab.methods.method import Method, Option
from flatlab.methods.sam import sam


def check_cut(n: int, m: int) -> None:
    """A `ValueError` if `n` samples cannot be cut into micro-batches of `m`."""
    if n < 1:
        raise ValueError("the batch holds no samples")
    if m < 1 or m != int(m) or n % m:
        raise ValueError(
            f"m must be a whole number >= 1 that divides the {n} samples, got {m}: "
            "make the batches equal (DataLoader's drop_last=True), or take another m"
        )


class MicroGradients:
    """What `micro_gradients` returns: callable, and with a mean over its parts."""

    def __init__(self, landscape: Any, m: int, batch: Tensor | None):
        self.landscape, self.m, self.batch = landscape, m, batch
        self.n = landscape.n if batch is None else len(batch)
        check_cut(self.n, m)

    def __call__(self, w: Tensor) -> Tensor:
        """The gradient of each, at a point of its own."""
        parts = self._parts(w)
        if len(parts) == 1:  # no vmap of one: it slows convolutions down
            return self.landscape.grad(w.squeeze(-2), parts[0]).unsqueeze(-2)
        w = w.expand(*w.shape[:-2], len(parts), w.shape[-1])
        return vmap(self.landscape.grad, in_dims=(w.ndim - 2, 0), out_dims=w.ndim - 2)(w, parts)

    def mean(self, rule: Callable[..., Tensor], w: Tensor, *options: Any) -> Tensor:
        """The mean of `rule(w, grad, *options)` over the gradients of the micro-batches: `(..., d) -> (..., d)`."""
        parts = self._parts(w)

        def on(part: Tensor) -> Tensor:
            return rule(w, lambda v: self.landscape.grad(v, part), *options)

        return on(parts[0]) if len(parts) == 1 else vmap(on)(parts).mean(0)

    def _parts(self, w: Tensor) -> Tensor:
        """The terms of each, `(q, m)`, where `w` is."""
        index = torch.arange(self.n, device=w.device) if self.batch is None else self.batch.to(w.device)
        return index.view(-1, self.m)


def micro_gradients(landscape: Any, m: int, batch: Tensor | None = None) -> MicroGradients:
    """The gradients of a landscape's micro-batches of `m` terms, all in one batched pass.

    The function returned maps `(..., q, d) -> (..., q, d)`, or `(..., 1, d)` where all share a point, for the
    `q = b / m` micro-batches of the `b` terms in `batch` (all `n` if None), cut in their order. It holds `q`
    gradients at once: `q * d` numbers for each point. Its `mean(rule, w, ...)` is that of a rule over all parts.

    Raises `ValueError` if `m` is no whole number >= 1 or does not divide `b`: a ragged part would be perturbed by
    another sharpness than the others.

    >>> from flatlab.landscape import Landscape
    >>> class Bowls(Landscape):
    ...     d, n = 1, 4
    ...     def losses(self, w, batch=None):
    ...         return torch.arange(4.0)[... if batch is None else batch] * w**2
    >>> micro_gradients(Bowls(), 2)(torch.tensor([[1.0]]))      # the means of 0, 2 and of 4, 6
    tensor([[1.],
            [5.]])
    """
    return MicroGradients(landscape, m, batch)


def m_sam(w: Tensor, parts: Any, rho: float | Tensor = 0.05) -> Tensor:
    """m-SAM: the mean over micro-batches of SAM's gradient, each of them climbing along its own gradient.

    `parts` are the micro-batches: `micro_gradients(landscape, m)`, or in a network's step `grad.parts(m)`. Their method
    `parts.mean(rule, w, ...)` runs a rule on the gradient of each and takes the mean. Parts of one sample are the
    per-sample perturbation, a single one of all `n` is `sam`. `rho` is in the units of `w`, whose shape is `(..., d)`.

    Raises `ValueError` if `rho` is negative or not finite.

    Source: Foret et al. 2021, section 4.1 (m-sharpness); Andriushchenko and Flammarion 2022, equation (2).

    >>> from flatlab.landscape import Landscape
    >>> slopes = torch.tensor([3.0, -1.0])              # l_1 = 1.5 w^2, l_2 = -0.5 w^2
    >>> class Pair(Landscape):
    ...     d, n = 1, 2
    ...     def losses(self, w, batch=None):
    ...         return slopes[... if batch is None else batch] / 2 * w**2
    >>> m_sam(torch.tensor([2.0]), micro_gradients(Pair(), 1), rho=0.5)      # (3 * 2.5 - 1 * 1.5) / 2
    tensor([3.])
    """
    return parts.mean(sam, w, rho)


class MSAM(Method):
    r"""m-SAM: steps along the mean over micro-batches of `m` samples of SAM's gradient, each with its own ascent.

        def closure(x, y):                          # on a micro-batch
            opt.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            return loss

        loss = opt.step(closure, x, y)              # on the batch

    - `rho`: the radius of each ascent, in the units of the weights, >= 0.
    - `m`: the size of a micro-batch, >= 1. It must divide the batch; the samples are cut in their order. With `m = 1`
      every sample climbs for itself, with `m` the whole batch it is `SAM`, to the bit.
    - `no_sync`: `ddp.no_sync`, so that each worker's micro-batches climb along their own gradients. Without it the
      workers' micro-batches climb together, `m` times the number of workers.

    The closure runs twice for each micro-batch, one after the other, in the memory of `SAM`. So BatchNorm normalizes
    a micro-batch by its own mean and variance, and its running statistics move once for each, at the unperturbed
    weights, as they do where gradients are accumulated over micro-batches. That takes `m >= 2`. Each micro-batch has
    a dropout mask of its own, the same in both passes.

    On a landscape all micro-batches run in one batched pass, which holds a gradient for each. That pays for small
    networks, where to start a pass costs more than the pass. Other arguments and errors as in `SAM`; a step also
    raises `ValueError` where `m` does not divide the batch, or is 1 and BatchNorm in train mode.

    Source: Foret et al. 2021, section 4.1.

    >>> import torch
    >>> from flatlab.optim import MSAM
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.constant_(model.weight, 2.0)
    >>> opt = MSAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.5, m=1)
    >>> def closure(x, y):
    ...     opt.zero_grad()
    ...     loss = torch.nn.functional.mse_loss(model(x), y)
    ...     loss.backward()
    ...     return loss
    >>> opt.step(closure, torch.tensor([[1.0], [-2.0]]), torch.zeros(2, 1))     # mean of 2^2 and 4^2
    tensor(10.)
    >>> model.weight.data               # 2 - 0.1 * mean(2, 8) * 2.5
    tensor([[0.7500]])
    """

    rule = staticmethod(m_sam)
    rho = Option(0.05, "radius of each ascent", least=0, unit="the weights")
    m = Option(1, "samples a micro-batch, which divide the batch", least=1, shared=True)
    source = "Foret et al. 2021, section 4.1"
    about = "SAM for each micro-batch of m samples by itself, and the mean of their steps"
    colour, dash, place = "#83615c", "dashdot", 9
    cuts = True

    @classmethod
    def check_batch(cls, n: int, **options: Any) -> None:
        """`m` must divide it."""
        check_cut(n, options["m"])

    @classmethod
    def direction(cls, w: Tensor, grad: Any, **options: Any) -> Tensor:
        """The rule, over the micro-batches of `m` samples."""
        return cls.rule(w, grad.parts(options["m"]), options["rho"])
