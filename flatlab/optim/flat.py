"""One flat vector for many tensors, and the ways between them."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

__all__ = ["Rows", "flat", "place_for", "real", "unflat"]


def real(t: Tensor) -> Tensor:
    """`t` itself, or a complex tensor as a view of real and imaginary parts.

    >>> real(torch.tensor([1 + 2j]))
    tensor([[1., 2.]])
    """
    return torch.view_as_real(t.resolve_conj()) if t.is_complex() else t


def unflat(v: Tensor, like: list[Tensor]) -> list[Tensor]:
    """The vector `v`, `(d,)`, as views in the shapes of `like`.

    >>> unflat(torch.tensor([1.0, 2.0, 3.0]), [torch.empty(1, 2), torch.empty(1)])
    [tensor([[1., 2.]]), tensor([3.])]
    """
    return [part.view_as(t) for part, t in zip(v.split([t.numel() for t in like]), like, strict=True)]


def flat(tensors: list[Tensor]) -> Tensor:
    """A copy of `tensors` in one vector, `(d,)`, of their common type but at least float32: float16 ends at 65504.

    >>> flat([torch.ones(1, 2), torch.zeros(1, dtype=torch.float16)])
    tensor([1., 1., 0.])
    """
    if len(tensors) > 1 and len({t.dtype for t in tensors} | {_wide(tensors)}) == 1:
        return torch._utils._flatten_dense_tensors(tensors)  # a single one would come back as it is
    return torch.cat([t.reshape(-1) for t in tensors], out=place_for(tensors))


def place_for(tensors: list[Tensor]) -> Tensor:
    """A vector for a copy of `tensors`, `(d,)`, of the type that `flat` gives it, still without values.

    >>> place_for([torch.ones(1, 2), torch.zeros(1, dtype=torch.float16)]).shape
    torch.Size([3])
    """
    return torch.empty(sum(t.numel() for t in tensors), dtype=_wide(tensors), device=tensors[0].device)


def _wide(tensors: list[Tensor]) -> torch.dtype:
    return functools.reduce(torch.promote_types, {t.dtype for t in tensors}, torch.float32)


class Rows:
    """Reads tensors into flat vectors, and writes these into them, by views of them that live from step to step."""

    def __init__(self):
        self._where: list[tuple] = []
        self._rows: list[Tensor] | None = None
        self._sizes: list[int] = []

    @property
    def plain(self) -> bool:
        """Whether the tensors lie on the CPU as in a vector, all of one type."""
        return self._rows is not None

    def find(self, tensors: list[Tensor]) -> None:
        """Looks where `tensors` are and how they lie, at the start of a step."""
        if tensors[0].device.type != "cpu":
            return
        where, sizes = [t.data_ptr() for t in tensors], [t.numel() for t in tensors]
        plain = all(t.is_contiguous() for t in tensors) and len({t.dtype for t in tensors}) == 1
        if where != self._where or sizes != self._sizes or plain != (self._rows is not None):
            self._rows = [t.detach().view(-1) for t in tensors] if plain else None
            self._where, self._sizes = where, sizes

    def read(self, tensors: list[Tensor], v: Tensor) -> None:
        """Copies `tensors` into the vector `v`, `(d,)`.

        >>> v = torch.empty(3)
        >>> Rows().read([torch.ones(1, 2), torch.zeros(1)], v)
        >>> v
        tensor([1., 1., 0.])
        """
        rows = self._views(tensors) if v.device.type == "cpu" else None
        torch.cat([t.reshape(-1) for t in tensors] if rows is None else rows, out=v)

    def write(self, v: Tensor, tensors: list[Tensor]) -> None:
        """Copies the vector `v`, `(d,)`, into `tensors`, which keep storage, type and strides.

        >>> weight, bias = torch.empty(1, 2), torch.empty(1)
        >>> Rows().write(torch.tensor([1.0, 2.0, 3.0]), [weight, bias])
        >>> weight, bias
        (tensor([[1., 2.]]), tensor([3.]))
        """
        # On a GPU the one call would not survive a captured graph.
        rows = self._views(tensors) if v.device.type == "cpu" else None
        if rows is not None and rows[0].dtype == v.dtype:
            torch.split_with_sizes_copy(v, self._sizes, out=rows)  # one call in place of one for each tensor
        else:
            torch._foreach_copy_(tensors, unflat(v, tensors))

    def _views(self, tensors: list[Tensor]) -> list[Tensor] | None:
        # A view keeps its storage alive, so an address seen again is the same storage; sizes are told apart in `find`.
        if [t.data_ptr() for t in tensors] != self._where:
            self.find(tensors)
        return self._rows
