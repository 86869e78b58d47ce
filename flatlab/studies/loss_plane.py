"""The loss on a plane through a network's weights, along directions that know the size of every filter (Li et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flatlab.runs.experiment import option
from flatlab.runs.host import Host
from flatlab.runs.option import SEEDS
from flatlab.training.arithmetic import arithmetic
from flatlab.training.train import Train, summary
from flatlab.training.trainer import Trainer

__all__ = ["LossPlane", "filter_normalized"]


@dataclass(frozen=True)
class LossPlane(Train):
    """Train a network, and tabulate its loss on a plane around its last weights.

    The plane is spanned by two random filter-normalized directions. Both depend on `plane_seed` alone and not on the
    method, but for the sizes of the filters. The other settings are those of `Train`.
    """

    reach: float = option(
        1.0, "the table runs from -reach to reach in both directions", above=0, unit="the filters' own size"
    )
    points: int = option(25, "entries of the table along a side, odd, so that the middle is the network", least=3)
    images: int = option(2000, "training and test examples on which the loss is taken, the first of each set", least=1)
    plane_seed: int = option(0, "of the two directions", **SEEDS)

    def __post_init__(self):
        super().__post_init__()
        if self.points % 2 == 0:
            raise ValueError(f"points must be odd, got {self.points}")

    def title(self) -> str:
        """The run in a line."""
        return f"plane of {super().title()}"

    def run(self, report: Callable[[str], None] = lambda line: None, host: Host | None = None) -> dict[str, Any]:
        """Train, and return what `Train.run` does, with the tables `plane` on `places` x `places`.

        `plane["train"][i][j]` is the mean cross-entropy at `w + places[i] a + places[j] b`, in evaluation mode, and
        `plane["test"]` that of held-out images; a loss that is not finite is None. `lengths` are those of `w`, `a` and `b`.
        """
        host = Host() if host is None else host
        trainer = self.trained(report, host)
        with arithmetic(host.device, self.precision):
            return summary(trainer) | self._plane(trainer, report)

    @torch.no_grad()
    def _plane(self, trainer: Trainer, report: Callable[[str], None]) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(self.plane_seed)
        a, b = (filter_normalized(trainer.model, generator) for _ in range(2))
        parameters, centre = list(trainer.model.parameters()), [p.clone() for p in trainer.model.parameters()]
        places = torch.linspace(-self.reach, self.reach, self.points).tolist()
        sets = {"train": trainer.train, "test": trainer.held}
        plane: dict[str, list[list[float | None]]] = {name: [[] for _ in places] for name in sets}
        for i, s in enumerate(places):
            for t in places:
                for p, w, u, v in zip(parameters, centre, a, b, strict=True):
                    p.copy_(w + s * u + t * v)
                for name, (x, y) in sets.items():
                    loss, _ = trainer.evaluate(x[: self.images], y[: self.images])
                    plane[name][i].append(round(loss, 5) if loss < float("inf") else None)
            report(f"row {i + 1} of {len(places)}: training loss {plane['train'][i][len(places) // 2]}")
        for p, w in zip(parameters, centre, strict=True):
            p.copy_(w)
        lengths = [float(torch.cat([t.reshape(-1) for t in vector]).norm()) for vector in (centre, a, b)]
        return {"places": places, "plane": plane, "lengths": lengths}


def filter_normalized(model: nn.Module, generator: torch.Generator) -> list[Tensor]:
    r"""A random direction, a tensor a parameter, whose every filter is as long as the network's.

    $d_j = \frac{\lVert w_j \rVert}{\lVert g_j \rVert} g_j$ with $g_j$ Gaussian, for every filter `j`: the weights that
    lead to one output channel of a convolution, or to one unit of a linear layer. Biases and the vectors of norm layers
    stay where they are, so their part is 0. `generator` is on the CPU.

    Source: Li, Xu, Taylor, Studer, Goldstein, "Visualizing the Loss Landscape of Neural Nets" (2018), section 4.

    >>> net = nn.Linear(3, 2)
    >>> weight, bias = filter_normalized(net, torch.Generator().manual_seed(0))
    >>> torch.allclose(weight.norm(dim=1), net.weight.norm(dim=1)), bias
    (True, tensor([0., 0.]))
    """
    direction = []
    for p in model.parameters():
        g = torch.randn(p.shape, generator=generator).to(p)
        if p.ndim < 2:
            direction.append(torch.zeros_like(p))
            continue
        sizes = (t.flatten(1).norm(dim=1).view(-1, *[1] * (p.ndim - 1)) for t in (p.detach(), g))
        direction.append(g * (next(sizes) / next(sizes)))
    return direction
