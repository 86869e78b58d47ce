"""Theorem 5 on a small layer: the mean rise under random orthogonal matrices, and what its second order leaves."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import torch
from IPython.display import HTML
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from flatlab import measures, plots
from flatlab.landscape import Landscape


def layer(generator: torch.Generator) -> tuple[Landscape, Tensor, Tensor]:
    """Cross-entropy of 200 features of dimension 8 in three classes, its minimum, and a point elsewhere."""
    normal = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)  # noqa: E731
    features, hidden = normal(200, 8), nn.Linear(8, 3, bias=False).double()
    classes = (features @ normal(8, 3) + 2 * normal(200, 3)).argmax(1)
    soft, minimum = Landscape.of(hidden, cross_entropy, (features, classes)), torch.zeros(24, dtype=torch.float64)
    for _ in range(30):
        columns = [soft.hvp(minimum, e) for e in torch.eye(24, dtype=torch.float64)]
        minimum = minimum - torch.linalg.solve(torch.stack(columns) + 1e-9 * torch.eye(24), soft.grad(minimum))
    return soft, minimum, minimum + normal(24)


def remainder(soft: Landscape, w: Tensor, delta: float, samples: int = 100) -> float:
    """What is left of the mean rise after its second order, over the same matrices."""
    draw, matrix, total = torch.Generator().manual_seed(1), w.view(3, 8), 0.0
    for _ in range(samples):
        q, r = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=draw))
        v = (matrix @ (q * r.diagonal().sign())).reshape(-1)
        rise = (soft.loss(w + delta * v) + soft.loss(w - delta * v)) / 2 - soft.loss(w)
        total = total + (rise - delta**2 / 2 * v @ soft.hvp(w, v)) / samples
    return abs(total.item())


def draw(generator: torch.Generator) -> HTML:
    """Both against delta, at the minimum and elsewhere; returns the table of their slopes."""
    soft, minimum, elsewhere = layer(generator)
    deltas = torch.logspace(-2, 0.3, 12, dtype=torch.float64).tolist()
    rows, (_, (left, right)) = [], plt.subplots(1, 2, figsize=(9.4, 3.9))
    slope = lambda values: math.log(values[4] / values[0]) / math.log(deltas[4] / deltas[0])  # noqa: E731
    for name, at, colour, marker in (("at the minimum", minimum, "#009e73", "o"), ("elsewhere", elsewhere, "#d55e00", "s")):
        kappa = measures.relative_flatness(soft, at)
        found = [measures.feature_robustness(soft, at, d, samples=100) for d in deltas]
        rises, rest = [f.value for f in found], [remainder(soft, at, d) for d in deltas]
        left.loglog(deltas, [d * d / 16 * kappa for d in deltas], color=colour, linewidth=1)
        left.errorbar(deltas, rises, [2 * f.stderr for f in found], fmt=marker, color=colour, label=name)
        right.loglog(deltas, rest, marker=marker, color=colour, linestyle="none", label=name)
        ratio, error = rises[0] / (deltas[0] ** 2 / 16 * kappa), 2 * found[0].stderr / rises[0]
        slopes = f"{slope(rises):.3f}", f"{slope(rest):.2f}"
        rows.append([name, f"{soft.grad(at).norm():.1e}", f"{kappa:.3f}", f"{ratio:.3f} ± {error:.3f}", *slopes])
    fourth = [rest[3] * (d / deltas[3]) ** 4 for d in deltas[:8]]
    right.loglog(deltas[:8], fourth, color="0.4", linestyle=":", label="slope 4")
    left.set(xlabel="δ", title="mean rise of the loss; lines: δ²κ / 2m")
    right.set(xlabel="δ", title="what the second order leaves")
    left.legend(fontsize=9)
    right.legend(fontsize=9)
    plt.tight_layout()
    plt.show()
    head = ["", "gradient", "κ", "rise / (δ²κ/2m)", "slope, rise", "slope, remainder"]
    return plots.table(head, rows)
