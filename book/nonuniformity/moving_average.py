"""How near the moving average of Algorithm 1 is to the full batch's difference of gradients: CSAM on digits, run here."""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from IPython.display import HTML
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from flatlab import data, plots, rules
from flatlab.landscape import Landscape

EMAS = (0.5, 0.9, 0.99)
"""The averages that run along; the method's own has 0.9."""


def network_loss() -> Landscape:
    """The loss of a small network on digits; its weights are those before training."""
    digits = data.load("digits")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    return Landscape.of(model, cross_entropy, (digits.flat(digits.x_train), digits.y_train))


def follow(lr: float, steps: int = 300) -> tuple[Tensor, float]:
    """Relative error and cosine, with the full batch's, of the batch's own difference and of the averages at every 20th
    step, shape `(steps / 20, 4, 2)`; and the loss after the last."""
    loss = network_loss()
    generator, w, state = torch.Generator().manual_seed(0), loss.w0, None
    means, rows = dict.fromkeys(EMAS, torch.zeros_like(w)), []
    for step in range(1, steps + 1):
        batch, before = torch.randint(loss.n, (64,), generator=generator), state
        grad = lambda v, batch=batch: loss.grad(v, batch)  # noqa: E731
        direction, state = rules.csam(w, grad, before, rho=0.1, rho_cov=0.2, ema=0.9)
        small = (state - 0.9 * (0 if before is None else before)) / 0.1  # the batch's own, out of the average
        means = {a: a * m + (1 - a) * small for a, m in means.items()}
        if step % 20 == 0:
            g = loss.grad(w)
            full = loss.grad(rules.stepped(w, g, 0.1)) - g
            near = [[(m - full).norm() / full.norm(), cosine_similarity(m, full, 0)] for m in (small, *means.values())]
            rows.append(near)
        w = w - lr * direction
    return torch.tensor(rows), loss.loss(w).item()


def in_words() -> dict[str, str]:
    """The caption's number."""
    loss = network_loss()
    return {"noise-average-before": f"{loss.loss(loss.w0):.1f}"}


def show(rates: tuple[float, ...]) -> HTML:
    """The errors over the steps, drawn; their means over the second half, and the cosines', as a table."""
    results, names = {lr: follow(lr) for lr in rates}, [f"α = {a}" for a in EMAS]
    _, axes = plt.subplots(1, 3, figsize=(9.4, 3.4), sharey=True)
    for ax, (lr, (rows, loss)) in zip(axes, results.items(), strict=True):
        for k, label in enumerate(["the batch alone", *names]):
            ax.plot(range(20, 301, 20), rows[:, k, 0], color=plt.cm.plasma(k / 4.5), label=label)
        ax.axhline(1, color="0.4", linestyle=":", label="zero instead")
        ax.set(yscale="log", xlabel="step", title=f"η = {lr}; loss after 300 steps {loss:.2f}")
        ax.title.set_fontsize(10)
    axes[0].set_ylabel("‖m − g_full‖ / ‖g_full‖")
    axes[0].set_yticks([0.5, 1, 2, 4], labels=["0.5", "1", "2", "4"])
    axes[0].minorticks_off()
    axes[0].set_ylim(0.35, 8)
    axes[0].legend(fontsize=8, loc="upper left", ncols=2)
    plt.tight_layout()
    plt.show()
    told = lambda rows: [f"{e:.2f} / {c:+.2f}" for e, c in rows[7:].mean(0).tolist()]  # noqa: E731
    return plots.table(["η", "the batch alone", *names], [[f"{lr}", *told(rows)] for lr, (rows, _) in results.items()])
