"""Gradient noise and sharpness while a network trains: which of them goes with the test error (Zhou et al., Figure 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from flatlab.landscape import Landscape
from flatlab.measures import gradient_noise, sam_sharpness, top_eigenvalues
from flatlab.runs.experiment import inherited, option
from flatlab.runs.host import Host
from flatlab.training.measured import measure_in_training
from flatlab.training.train import Train, summary
from flatlab.training.trainer import Trainer

__all__ = ["NoiseAndSharpness", "measures"]

PRECISE = 2e-2
"""Relative error of the eigenvalue: networks differ by factors, and a Hessian product costs four passes."""


@dataclass(frozen=True)
class NoiseAndSharpness(Train):
    """Train a network, and measure its gradient noise and three kinds of sharpness at the start and as it goes.

    The other settings are those of `Train`.
    """

    network: str = inherited(Train, "network", "vit_micro32")
    measure_every: int = option(
        10, "epochs from one measurement to the next; the start and the end are measured in any case", least=1
    )
    images: int = option(500, "training examples that are measured on, the first of the set", least=1)
    radius: float = option(0.05, "of the ball of the ascent", above=0, unit="the weights' units")
    adaptive_radius: float = option(0.5, "of the adaptive ball of the ascent", above=0, unit="each weight's own size")

    def title(self) -> str:
        """The run in a line."""
        return f"noise and sharpness of {super().title()}"

    def run(self, report: Callable[[str], None] = lambda line: None, host: Host | None = None) -> dict[str, Any]:
        """Train, and return what `Train.run` does, with the list `measured`.

        Each entry has the `epoch` that it follows, 0 at the start, and what `measures` returns. The accuracies on held-out
        images of the same epoch stand in `curves`.
        """
        trainer, measured = measure_in_training(self, self._measure, self.measure_every, report, host)
        return summary(trainer) | {"measured": measured}

    def _measure(self, trainer: Trainer, report: Callable[[str], None]) -> dict[str, float]:
        landscape = trainer.landscape(self.images)
        found = measures(landscape, landscape.w0, self.radius, self.adaptive_radius)
        report(f"epoch {trainer.epoch}: Tr C {found['noise']:.3g}, eigenvalue {found['eigenvalue']:.3g}")
        return found


def measures(landscape: Landscape, w: torch.Tensor, radius: float, adaptive_radius: float) -> dict[str, float]:
    r"""What is measured at `w`, shape `(d,)`.

    - `loss`: $L(w)$; `gradient`: $\|\nabla L(w)\|^2$.
    - `noise`: $\operatorname{Tr} C(w)$ of single examples, the nonuniformity of Zhou et al., see `gradient_noise`.
    - `eigenvalue`: the Hessian's largest, to 2%, see `top_eigenvalues`.
    - `ascent`: how far the loss rises on a step of length `radius` along the gradient, as SAM takes it; `adaptive`: the
      same with steps of `adaptive_radius` in units of each weight's size, as ASAM takes it. See `sam_sharpness`.

    Raises what these raise. Source: Zhou et al. ("Beyond Sharpness"), Definition 3 and section 3.1.

    >>> from torch.nn.functional import mse_loss
    >>> data = torch.tensor([[1., 2.], [3., 4.]]), torch.zeros(2, 1)
    >>> net = Landscape.of(torch.nn.Linear(2, 1, bias=False), mse_loss, data)
    >>> found = measures(net, torch.ones(2), 0.1, 0.1)
    >>> found["loss"], found["noise"], round(found["eigenvalue"], 2)
    (29.0, 808.0, 29.87)
    """
    return {
        "loss": float(landscape.loss(w)),
        "gradient": float(landscape.grad(w).square().sum()),
        "noise": gradient_noise(landscape, w),
        "eigenvalue": float(top_eigenvalues(landscape, w, tol=PRECISE)),
        "ascent": sam_sharpness(landscape, w, radius),
        "adaptive": sam_sharpness(landscape, w, adaptive_radius, adaptive=True),
    }
