"""A training step as one CUDA graph: a small network spends most of a step launching kernels, and a graph is one launch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Captured"]

Step = Callable[[Tensor, Tensor], Tensor]
WARM_UP = 3
"""Steps that run eagerly, on a stream of their own, so that all that is made once is there before the capture."""


class Captured:
    """`step(x, y)`, eager for the first calls and replayed from then on, with the same arithmetic.

    All minibatches have one shape; `step` may not wait for the device. What it does in Python alone happens once, while it
    is captured: `after_replay` is called after each replay to make up for that.
    """

    def __init__(self, step: Step, after_replay: Callable[[], None]):
        self.step, self.after_replay = step, after_replay
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The step on this minibatch; the loss lives in one place and is overwritten by the next."""
        if self.calls < WARM_UP:
            self.calls += 1
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                loss = self.step(x, y)
            torch.cuda.current_stream().wait_stream(side)
            return loss
        if self.graph is None:
            self.x, self.y = x.clone(), y.clone()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.loss = self.step(self.x, self.y)
        else:
            self.x.copy_(x)
            self.y.copy_(y)
            self.after_replay()
        self.graph.replay()  # capture itself computes nothing
        return self.loss
