"""A loss on flat vectors: the one interface that toys and networks share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap

__all__ = ["Landscape"]

SMALL = 256
"""Samples that one pass takes unasked."""
NUMBERS = 2**25
"""Numbers a forward pass may keep for the backward pass; a Hessian product holds about four times as many."""
PROBED = 6


class Landscape:
    r"""A finite sum `L(w) = (1/n) sum_i l_i(w)` on weights `w` of shape `(..., d)`.

    Leading dimensions of `w` are a batch of points; every method maps over them. `batch` picks terms: an integer
    tensor of shape `(b,)`, or None for all `n`. A subclass gives `losses`; a toy overrides `grad` and `hvp` by their
    closed forms.

    >>> class Bowl(Landscape):
    ...     d = 2
    ...     def losses(self, w, batch=None):
    ...         return (w * w).sum(-1, keepdim=True)
    >>> bowl, w = Bowl(), torch.tensor([[1., 2.], [0., 3.]])
    >>> bowl.loss(w), bowl.grad(w), bowl.hvp(w, w)
    (tensor([5., 9.]), tensor([[2., 4.], [0., 6.]]), tensor([[2., 4.], [0., 6.]]))
    """

    d: int
    """Number of parameters."""
    n: int = 1
    """Number of terms: 1 for a deterministic toy."""

    def losses(self, w: Tensor, batch: Tensor | None = None) -> Tensor:
        """The terms `l_i(w)`: `(..., d) -> (..., b)`."""
        raise TypeError(f"{type(self).__name__} must define losses(w, batch)")

    def loss(self, w: Tensor, batch: Tensor | None = None) -> Tensor:
        """`L(w)`, the mean of the terms: `(..., d) -> (...)`."""
        return self.losses(w, batch).mean(-1)

    def grad(self, w: Tensor, batch: Tensor | None = None) -> Tensor:
        """Gradient of `L`: `(..., d) -> (..., d)`."""
        return self._mapped(grad(lambda v: self.loss(v, batch)), self.check(w))

    def hvp(self, w: Tensor, v: Tensor, batch: Tensor | None = None) -> Tensor:
        """Hessian-vector product `H(w) v`: `(..., d), (..., d) -> (..., d)`."""
        gradient = grad(lambda u: self.loss(u, batch))
        # H is symmetric: reverse over reverse, which every loss of torch.nn supports under vmap.
        return self._mapped(lambda a, b: vjp(gradient, a)[1](b)[0], self.check(w), self.check(v))

    def per_sample_grads(self, w: Tensor, batch: Tensor | None = None) -> Tensor:
        """Gradients of the single terms: `(..., d) -> (..., b, d)`."""
        index = torch.arange(self.n, device=w.device) if batch is None else batch
        one = grad(lambda v, i: self.loss(v, i[None]))
        return self._mapped(vmap(one, in_dims=(None, 0)), self.check(w), index=index)

    def check(self, w: Tensor) -> Tensor:
        """`w` itself, if its last dimension is `d`; else a `ValueError` that says what came."""
        if w.ndim < 1 or w.shape[-1] != self.d:
            raise ValueError(f"{type(self).__name__} takes points of shape (..., {self.d}), got {tuple(w.shape)}")
        return w

    def _mapped(self, f: Callable, *points: Tensor, index: Tensor | None = None) -> Tensor:
        """`f` over the leading dimensions; without any, `f` itself (a vmap of one would slow convolutions down)."""
        shared = () if index is None else (index,)
        points = torch.broadcast_tensors(*points)
        lead = points[0].shape[:-1]
        if not lead:
            return f(*points, *shared)
        flat = [p.reshape(-1, self.d) for p in points]
        out = vmap(f, in_dims=(0,) * len(flat) + (None,) * len(shared))(*flat, *shared)
        return out.reshape(*lead, *out.shape[1:])

    @staticmethod
    def of(
        model: nn.Module,
        loss_fn: Callable[[Tensor, Tensor], Tensor],
        data: tuple[Tensor, Tensor],
        chunk: int | None = None,
    ) -> Landscape:
        """A network as a landscape: `L(w) = loss_fn(model_w(x), y)` over the samples of `data = (x, y)`.

        `loss_fn(outputs, y)` averages over samples, as `torch.nn.functional.cross_entropy` does. The present weights
        are `.w0`, flat and in the order of `model.parameters()`; the model itself is never written to.

        Loss, gradient and Hessian product go through the data `chunk` samples at a time and add up, so their memory
        does not grow with n. None takes up to 256 samples at once and of more as many as keep about 2^25 numbers for
        the backward pass (128 MB in float32, four times that in a Hessian product), or all where the loss is not the
        mean of its single losses. `chunk = n` turns it off. Where `w` itself requires a gradient, the graph of all
        samples is needed and one pass is made.

        Raises `ValueError` where the sum is no sum over samples or not a function of `w`: a BatchNorm layer or an
        active dropout in train mode (call `model.eval()` first), or `x` and `y` of different lengths; if `chunk` is
        below 1; and on the first use of a `chunk` below n, if the loss is not the mean of its single losses.

        >>> model = nn.Linear(2, 1, bias=False)
        >>> _ = nn.init.ones_(model.weight)
        >>> x, y = torch.tensor([[1., 2.], [3., 4.]]), torch.zeros(2, 1)
        >>> net = Landscape.of(model, nn.functional.mse_loss, (x, y))
        >>> net.loss(net.w0), net.per_sample_grads(net.w0)          # (9 + 49) / 2
        (tensor(29.), tensor([[ 6., 12.], [42., 56.]]))
        """
        return _Network(model, loss_fn, data, chunk)


class _Network(Landscape):
    def __init__(self, model, loss_fn, data, chunk):
        for name, module in model.named_modules():
            coupling = isinstance(module, nn.modules.batchnorm._BatchNorm)
            random = isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0
            if module.training and (coupling or random):
                raise ValueError(
                    f"layer {name!r} ({type(module).__name__}) is in train mode: the loss is then not a fixed sum over "
                    "samples; call model.eval() first"
                )
        x, y = data
        if len(x) != len(y):
            raise ValueError(f"x has {len(x)} samples and y has {len(y)}; they must be equal")
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk must be at least 1, got {chunk}")
        self.model, self.loss_fn, self.x, self.y, self.n, self._given = model, loss_fn, x, y, len(x), chunk
        self._shapes = {name: p.shape for name, p in model.named_parameters()}
        self._sizes = [shape.numel() for shape in self._shapes.values()]
        self.w0 = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
        self.d = self.w0.numel()

    def outputs(self, w: Tensor, x: Tensor) -> Tensor:
        """What the model at `w`, shape `(d,)`, makes of `x`."""
        parts = zip(self._shapes.items(), w.split(self._sizes), strict=True)
        return functional_call(self.model, {name: v.view(s) for (name, s), v in parts}, (x,))

    def data(self, batch: Tensor | slice | None) -> tuple[Tensor, Tensor]:
        """The samples of `batch`, or all."""
        return (self.x, self.y) if batch is None else (self.x[batch], self.y[batch])

    def parts(self, *points: Tensor, batch: Tensor | slice | None = None) -> list[Tensor | slice]:
        """`batch`, or all samples, in pieces of about equal size, such that a pass at `points` keeps within memory."""
        count, pieces = self._count(batch), 1
        # Where an outer derivative follows, its graph holds all pieces anyway.
        if not (torch.is_grad_enabled() and any(p.requires_grad for p in points)):
            several = max((p.shape[:-1].numel() for p in points), default=1)
            pieces = -(-count // self._chunk(count, max(several, 1)))
        if batch is None:
            batch = slice(0, self.n)
        if pieces == 1:
            return [batch]
        size = -(-count // pieces)
        if isinstance(batch, Tensor):
            return list(batch.split(size))
        return [slice(i, min(i + size, batch.stop)) for i in range(batch.start, batch.stop, size)]

    def _count(self, batch: Tensor | slice | None) -> int:
        if isinstance(batch, slice):
            return batch.stop - batch.start
        return self.n if batch is None else len(batch)

    def _chunk(self, count: int, points: int) -> int:
        if count <= (self._given or SMALL):
            return max(count, 1)
        if self._given is not None:
            if not self._is_mean:
                self.need_mean(self._generic)
            return self._given
        return max(1, self._fitting // points) if self._is_mean else count

    @property
    def _generic(self) -> Tensor:
        # Not w0 itself: a network that begins at zero weights its classes equally whatever the loss.
        generator = torch.Generator(self.w0.device).manual_seed(0)
        noise = torch.randn(self.d, generator=generator, device=self.w0.device, dtype=self.w0.dtype)
        return self.w0 + 0.01 * noise

    @cached_property
    def _is_mean(self) -> bool:
        try:
            self.need_mean(self._generic)
        except ValueError:
            return False
        return True

    @cached_property
    def _fitting(self) -> int:
        """The samples whose forward pass keeps `NUMBERS` numbers, by what that of a single one keeps."""
        kept: dict[int, int] = {}
        point = self.w0.clone().requires_grad_()

        def pack(t: Tensor) -> Tensor:
            place = t.untyped_storage().data_ptr()
            kept[place] = max(kept.get(place, 0), t.numel())
            return t

        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            loss = self.loss_fn(self.outputs(point, self.x[:1]), self.y[:1])
        kept.pop(point.untyped_storage().data_ptr(), None)
        del loss  # until here, or a freed place would be counted for another
        return max(1, NUMBERS // max(1, sum(kept.values())))

    def need_mean(self, w: Tensor) -> None:
        """Raise `ValueError` unless the loss on a few samples at `w` is the mean of their single losses."""
        if self.n < 2:
            return
        n, y = self.n, self.y
        picks = set(torch.linspace(0, n - 1, min(n, PROBED // 2)).long().tolist())
        if not y.is_floating_point() and y.ndim == 1:
            order = torch.argsort(y, stable=True)
            first = torch.ones_like(y, dtype=torch.bool)
            first[1:] = y[order][1:] != y[order][:-1]
            picks |= set(order[first][: PROBED // 2].tolist())
        else:
            picks |= set(torch.linspace(0, n - 1, min(n, PROBED)).long().tolist())
        x, y = self.data(torch.tensor(sorted(picks), device=y.device))
        with torch.no_grad():
            outputs = self.outputs(w, x)
            together = self.loss_fn(outputs, y).double()
            if together.ndim:
                raise ValueError(f"loss_fn must average to one number, got shape {tuple(together.shape)}")
            # Two samples show whether the layers mix them; for the others it is the loss that is in question.
            alone = len(x) if not isinstance(outputs, Tensor) or len(outputs) != len(x) else 2
            rows = [self.outputs(w, a[None]) if i < alone else outputs[i : i + 1] for i, a in enumerate(x)]
            single = torch.stack([self.loss_fn(a, b[None]) for a, b in zip(rows, y, strict=True)]).double()
        # Looser than rounding (single samples may run through other kernels than a batch), tighter than any factor.
        slack = 1e3 * torch.finfo(w.dtype).eps * max(1.0, single.abs().max().item())
        if not (together - single.mean()).abs() <= slack:
            raise ValueError(
                f"the loss of {len(x)} samples together, {together.item():g}, is not the mean of their single "
                f"losses, {single.mean().item():g}: a plain mean over samples is needed here"
            )

    def _at(self, w: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self.loss_fn(self.outputs(w, x), y)

    def _summed(self, one: Callable, *points: Tensor, batch: Tensor | slice | None) -> Tensor:
        parts = self.parts(*points, batch=batch)
        if len(parts) == 1:
            return one(parts[0])
        return sum(one(part) * (self._count(part) / self._count(batch)) for part in parts)

    def losses(self, w, batch=None):
        def on(part):
            x, y = self.data(part)
            return self._mapped(lambda v: vmap(lambda a, b: self._at(v, a[None], b[None]))(x, y), w)

        self.check(w)
        return torch.cat([on(part) for part in self.parts(w, batch=batch)], -1)

    def loss(self, w, batch=None):
        # One forward pass over a part, not the mean of single terms: the same value, many times faster.
        def on(part):
            x, y = self.data(part)
            return self._mapped(lambda v: self._at(v, x, y), w)

        self.check(w)
        return self._summed(on, w, batch=batch)

    def grad(self, w, batch=None):
        return self._summed(lambda part: super(_Network, self).grad(w, part), self.check(w), batch=batch)

    def hvp(self, w, v, batch=None):
        self.check(w), self.check(v)
        return self._summed(lambda part: super(_Network, self).hvp(w, v, part), w, v, batch=batch)
