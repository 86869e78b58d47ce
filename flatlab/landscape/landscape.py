"""A loss on flat vectors, in closed form or as its subclass says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import vmap

from flatlab.landscape.pullback import pullback

if TYPE_CHECKING:
    from flatlab.landscape.network import Network

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
        return self._mapped(lambda v: pullback(lambda u: self.loss(u, batch), v), self.check(w))

    def hvp(self, w: Tensor, v: Tensor, batch: Tensor | None = None) -> Tensor:
        """Hessian-vector product `H(w) v`: `(..., d), (..., d) -> (..., d)`."""

        def gradient(a: Tensor) -> Tensor:
            return pullback(lambda u: self.loss(u, batch), a)

        # H is symmetric: reverse over reverse, which every loss of torch.nn supports under vmap.
        return self._mapped(lambda a, b: pullback(gradient, a, along=b), self.check(w), self.check(v))

    def per_sample_grads(self, w: Tensor, batch: Tensor | None = None) -> Tensor:
        """Gradients of the single terms: `(..., d) -> (..., b, d)`."""
        index = torch.arange(self.n, device=w.device) if batch is None else batch

        def one(v: Tensor, i: Tensor) -> Tensor:
            return pullback(lambda u, k: self.loss(u, k[None]), v, i)

        return self._mapped(vmap(one, in_dims=(None, 0)), self.check(w), index=index)

    def losses_at(self, points: Tensor) -> Tensor:
        """`L` at every row of `points`, `(s, d) -> (s,)`, in float64 and without gradients."""
        with torch.no_grad():
            return self.loss(points).double()

    def hessian_product(self, w: Tensor) -> Callable[[Tensor], Tensor]:
        """`v -> H(w) v` for `w` and `v` of shape `(d,)`, for many `v`.

        A closed-form `hvp` is used as it is. Otherwise the gradient is recorded once and every product is one more
        backward pass through it, less than half the work of a product from nothing.
        """
        if type(self).hvp is not Landscape.hvp:
            return lambda v: self.hvp(w, v)
        return recorded(self.loss, w)

    def layers(self) -> dict[str, nn.Module]:
        """The modules that hold the weights, by name: none, but for a network."""
        return {}

    def need_mean(self) -> None:
        """Raise `ValueError` unless `L` is the mean of the terms; that of a closed form is by its definition."""

    def point(self, w: Tensor) -> Tensor:
        """`w`, detached, if it is one floating point of shape `(d,)`; else a `ValueError`.

        >>> class Bowl(Landscape):
        ...     d = 2
        >>> Bowl().point(torch.zeros(3, 2))
        Traceback (most recent call last):
            ...
        ValueError: a measure takes one point of shape (2,), got (3, 2)
        """
        if w.ndim != 1 or w.shape[0] != self.d:
            raise ValueError(f"a measure takes one point of shape ({self.d},), got {tuple(w.shape)}")
        if not w.is_floating_point():
            raise ValueError(f"a measure takes floating-point weights, got {w.dtype}")
        return w.detach()

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
        loss_fn: Callable[[Any, Any], Tensor],
        data: Any,
        chunk: int | None = None,
        params: Iterable[Tensor | str] | None = None,
    ) -> Network:
        """A network as a landscape: `L(w) = loss_fn(model_w(x), y)` over the samples of `data`. See `Network`.

        >>> model = nn.Linear(2, 1, bias=False)
        >>> _ = nn.init.ones_(model.weight)
        >>> x, y = torch.tensor([[1., 2.], [3., 4.]]), torch.zeros(2, 1)
        >>> net = Landscape.of(model, nn.functional.mse_loss, (x, y))
        >>> net.loss(net.w0), net.per_sample_grads(net.w0)          # (9 + 49) / 2
        (tensor(29.), tensor([[ 6., 12.], [42., 56.]]))
        """
        from flatlab.landscape.network import Network  # a network is a landscape: its file imports this one

        return Network(model, loss_fn, data, chunk, params)


def recorded(loss: Callable[[Tensor], Tensor], w: Tensor) -> Callable[[Tensor], Tensor]:
    """`v -> H(w) v` of a `loss` of one point, by a backward pass through its gradient, which is recorded once.

    >>> recorded(lambda w: (w**3).sum(), torch.tensor([1., 2.]))(torch.ones(2))
    tensor([ 6., 12.])
    """
    point = w.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss(point), point, create_graph=True)
    if not gradient.requires_grad:  # a loss linear in w
        return torch.zeros_like
    return lambda v: torch.autograd.grad(gradient, point, v, retain_graph=True, materialize_grads=True)[0]
