"""Which derivatives of a network are right, proved by value on a few of its samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flatlab.landscape.curvature import follows, math_attention, moved, shifted
from flatlab.landscape.landscape import Landscape
from flatlab.landscape.memory import ran_out

if TYPE_CHECKING:
    from flatlab.landscape.network import Network

__all__ = ["Proofs"]


class Proofs(dict[str, bool]):
    """Which derivatives of a network are right, each proved when it is first asked for."""

    def __init__(self, few: Network):
        self.few = few
        self.point = torch.cat([p.reshape(-1) for p in shifted(list(few.named(few.w0).values()))]).to(few.w0)

    def __missing__(self, kind: str) -> bool:
        few, w = self.few, self.point
        if kind == "gradient":
            few.loss(w)  # what the model or the loss refuses is no matter of derivatives
            found = self._runs(lambda: few.slope(w, None))
            if found is not None:
                self.free = moved(self._cut(found))
            right = found is not None and self._follows(lambda v: torch.dot(found, v)[None], lambda at: few.loss(at)[None])
        elif kind == "differences":
            right = self["gradient"] and w.dtype == torch.float64
            right = right and self._follows(lambda v: few.hvp_by_differences(w, v), lambda at: few.slope(at, None))
        elif not self["gradient"]:
            right = False
        elif kind == "mapped":
            with math_attention():
                product = self._runs(lambda: lambda v: Landscape.hvp(few, w, v))
                right = self._follows(product, lambda at: few.slope(at, None))
        else:
            product = self._runs(lambda: few.product_by("recorded", w, None))
            right = product is not None and self._follows(product, lambda at: few.slope(at, None))
        self[kind] = right
        return right

    def _runs(self, f: Callable) -> Any:
        try:
            return f()
        except (RuntimeError, NotImplementedError) as error:  # what autograd cannot do at all
            if ran_out(error):
                raise
            return None

    def _cut(self, flat: Tensor) -> list[Tensor]:
        if len(flat) != self.few.d:  # a loss
            return [flat]
        return list(flat.split([p.numel() for p in self.few.named(self.point).values()]))

    def _follows(self, product: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor]) -> bool:
        def cut(f: Callable[[Tensor], Tensor]) -> Callable[[list[Tensor]], list[Tensor]]:
            return lambda tensors: self._cut(f(torch.cat(tensors)))

        try:
            return follows(cut(product), cut(slope), self._cut(self.point), self.free)
        except (RuntimeError, NotImplementedError) as error:  # what fails here is not taken anywhere
            if ran_out(error):
                raise
            return False
