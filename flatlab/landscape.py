"""A loss on flat vectors: the one interface that toys and networks share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp, vmap

__all__ = ["Landscape"]


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
    def of(model: nn.Module, loss_fn: Callable[[Tensor, Tensor], Tensor], data: tuple[Tensor, Tensor]) -> Landscape:
        """A network as a landscape: `L(w) = loss_fn(model_w(x), y)` over the samples of `data = (x, y)`.

        `loss_fn(outputs, y)` averages over samples, as `torch.nn.functional.cross_entropy` does. The present weights
        are `.w0`, flat and in the order of `model.parameters()`; the model itself is never written to.

        Raises `ValueError` where the sum is no sum over samples or not a function of `w`: a BatchNorm layer or an
        active dropout in train mode (call `model.eval()` first), or `x` and `y` of different lengths.

        >>> model = nn.Linear(2, 1, bias=False)
        >>> _ = nn.init.ones_(model.weight)
        >>> x, y = torch.tensor([[1., 2.], [3., 4.]]), torch.zeros(2, 1)
        >>> net = Landscape.of(model, nn.functional.mse_loss, (x, y))
        >>> net.loss(net.w0), net.per_sample_grads(net.w0)          # (9 + 49) / 2
        (tensor(29.), tensor([[ 6., 12.], [42., 56.]]))
        """
        return _Network(model, loss_fn, data)


class _Network(Landscape):
    def __init__(self, model, loss_fn, data):
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
        self.model, self.loss_fn, self.x, self.y, self.n = model, loss_fn, x, y, len(x)
        self._shapes = {name: p.shape for name, p in model.named_parameters()}
        self._sizes = [shape.numel() for shape in self._shapes.values()]
        self.w0 = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
        self.d = self.w0.numel()

    def _at(self, w: Tensor, x: Tensor, y: Tensor) -> Tensor:
        parts = zip(self._shapes.items(), w.split(self._sizes), strict=True)
        return self.loss_fn(functional_call(self.model, {name: v.view(s) for (name, s), v in parts}, (x,)), y)

    def _data(self, batch):
        return (self.x, self.y) if batch is None else (self.x[batch], self.y[batch])

    def losses(self, w, batch=None):
        x, y = self._data(batch)

        def terms(v):
            return vmap(lambda a, b: self._at(v, a[None], b[None]))(x, y)

        return self._mapped(terms, self.check(w))

    def loss(self, w, batch=None):
        # One forward pass over the batch, not the mean of single terms: the same value, many times faster.
        x, y = self._data(batch)
        return self._mapped(lambda v: self._at(v, x, y), self.check(w))
