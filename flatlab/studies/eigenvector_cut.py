"""The loss along the Hessian's top eigenvector, while a network trains (Tan et al. 2025, Figure 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flatlab.landscape import Landscape
from flatlab.measures import top_eigenvalues
from flatlab.runs.experiment import option
from flatlab.runs.host import Host
from flatlab.training.measured import measure_in_training
from flatlab.training.train import Train, summary
from flatlab.training.trainer import Trainer

__all__ = ["EigenvectorCut", "cut"]


@dataclass(frozen=True)
class EigenvectorCut(Train):
    """Train a network, and tabulate its loss along the top eigenvector of its Hessian at the start and as it goes.

    The other settings are those of `Train`.
    """

    cut_every: int = option(10, "epochs from one cut to the next; the start and the end are cut in any case", least=1)
    reach: float = option(0.5, "the table runs from -reach to reach", above=0, unit="the weights' units")
    points: int = option(41, "entries of the table, odd, so that the middle is the network", least=3)
    images: int = option(500, "training examples of the loss that is cut, the first of the set", least=1)

    def __post_init__(self):
        super().__post_init__()
        if self.points % 2 == 0:
            raise ValueError(f"points must be odd, got {self.points}")

    def title(self) -> str:
        """The run in a line."""
        return f"cuts of {super().title()}"

    def run(self, report: Callable[[str], None] = lambda line: None, host: Host | None = None) -> dict[str, Any]:
        """Train, and return what `Train.run` does, with the `offsets` of the table and the list `cuts`.

        Each of them has the `epoch` that it follows, 0 at the start, and what `cut` returns.
        """
        trainer, measured = measure_in_training(self, self._cut, self.cut_every, report, host)
        return summary(trainer) | {"offsets": self.offsets(), "cuts": measured}

    def _cut(self, trainer: Trainer, report: Callable[[str], None]) -> dict[str, Any]:
        landscape = trainer.landscape(self.images)
        found = cut(landscape, landscape.w0, self.offsets())
        report(f"epoch {trainer.epoch}: eigenvalue {found['eigenvalue']:.3g}, slope {found['slope']:.3g}")
        return found

    def offsets(self) -> list[float]:
        """Where the loss is taken, in the weights' units."""
        return torch.linspace(-self.reach, self.reach, self.points, dtype=torch.float64).tolist()


def cut(landscape: Landscape, w: Tensor, offsets: list[float]) -> dict[str, Any]:
    r"""The losses $L(w + \alpha e_1)$ at the `offsets` $\alpha$, with $e_1$ the top eigenvector of the Hessian $H(w)$.

    `w` has shape `(d,)`. Returns `eigenvalue` $\lambda_1 = e_1^\top H e_1$, `slope` $\langle \nabla L(w), e_1 \rangle$ and
    `loss`, a list like `offsets`; a loss that is not finite is None. The sign of $e_1$ is the one with a slope of at least
    0. The second-order expansion is $L(w) + \text{slope} \cdot \alpha + \lambda_1 \alpha^2 / 2$.

    Source: Tan et al. 2025, Figure 2.

    >>> from flatlab.landscape import Landscape
    >>> class Bowl(Landscape):
    ...     d = 2
    ...     def losses(self, w, batch=None):
    ...         return (torch.tensor([1., 3.]) * w * w).sum(-1, keepdim=True)
    >>> cut(Bowl(), torch.tensor([0.0, 1.0]), [-1.0, 0.0, 1.0])
    {'eigenvalue': 6.0, 'slope': 6.0, 'loss': [0.0, 3.0, 12.0]}
    """
    values, vectors = top_eigenvalues(landscape, w, vectors=True)
    slope = float(landscape.grad(w) @ vectors[0])
    e = vectors[0] if slope >= 0 else -vectors[0]
    with torch.no_grad():
        losses = [float(landscape.loss(w + a * e)) for a in offsets]
    return {
        "eigenvalue": float(values[0]),
        "slope": abs(slope),
        "loss": [loss if abs(loss) < float("inf") else None for loss in losses],
    }
