"""What the chapter on the Hessian penalty runs on the spot: small trainings, the toy's descent, timings."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from flatlab import measures, models, plots
from flatlab.landscape import Landscape
from flatlab.penalties import hessian_frobenius_penalty
from flatlab.runs.host import Host
from flatlab.stats.intervals import student
from flatlab.training import Train
from flatlab.training.examples import examples
from flatlab.training.trainer import Trainer
from toy_problems import Ravines

SMALL = {"data": "breast_cancer", "network": "mlp512_256", "base": "Adam", "lr": 1e-3, "weight_decay": 1e-4, "batch": 32}
"""The small version of Table 3."""


def weights(model: nn.Module) -> Tensor:
    """A model's weights as one vector, a copy."""
    return nn.utils.parameters_to_vector(model.parameters()).detach()


# ---- the estimate on minibatches -------------------------------------------------------------------------------------


class Stage(NamedTuple):
    """A network on its way: loss and tr(H^2) of all examples, and mean and half-width of that of minibatches, by size."""

    steps: int
    loss: float
    whole: float
    minibatches: dict[int, tuple[float, float]]


def stages(net: nn.Module, x: Tensor, y: Tensor, stops=(0, 20, 100, 400, 1200)) -> Iterator[Stage]:
    """Train with Adam on minibatches of 64 and measure after so many steps; `net` is left trained."""
    opt, generator, done = torch.optim.Adam(net.parameters(), lr=0.01), torch.Generator().manual_seed(0), 0
    for stop in stops:
        for _ in range(stop - done):
            pick = torch.randint(len(y), (64,), generator=generator)
            opt.zero_grad()
            cross_entropy(net(x[pick]), y[pick]).backward()
            opt.step()
        done, loss = stop, Landscape.of(net, cross_entropy, (x, y))
        w, found = loss.w0, {}
        whole = measures.hessian_frobenius(loss, w, samples=40).value
        for size in (32, 128):
            picks = (torch.randperm(len(y), generator=generator)[:size] for _ in range(20))
            each = [Landscape.of(net, cross_entropy, (x[p], y[p])) for p in picks]
            found[size] = student([measures.hessian_frobenius(part, w, samples=10).value for part in each])
        yield Stage(stop, loss.loss(w).item(), whole, found)


# ---- the two valleys -------------------------------------------------------------------------------------------------


def draw_minima_by_weight() -> float:
    """Where the penalized loss of the two valleys has its minima, and what the lowest of them is like; returns the weight
    at which the lowest leaps to the flat valley."""
    f, weights = Ravines(), torch.logspace(-5, -1, 121, dtype=torch.float64)
    side = torch.stack([torch.linspace(-2, 2, 40_001, dtype=torch.float64), torch.zeros(40_001, dtype=torch.float64)], -1)
    _, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.5))
    lowest = []
    for weight in weights.tolist():
        height = f.penalized(side, weight)
        inner = (height[1:-1] < height[:-2]) & (height[1:-1] < height[2:])
        at = side[1:-1][inner]
        left.plot([weight] * len(at), at[:, 0], ".", color=plots.METHODS["FA"], markersize=3)
        lowest.append(side[height.argmin()])
    lowest = torch.stack(lowest)
    left.axvline(0.2**4 / (6 * 1.15), color="0.5", linestyle=":", label="$s^4/6a$, sharp valley")
    left.axvline(0.6**4 / 6, color="0.5", linestyle="--", label="the same, flat valley")
    left.set(xscale="log", xlabel="weight λ/B", ylabel="$w_1$ of the minima")
    left.set_title("Where the penalized loss has its minima")
    left.legend(fontsize=8, loc="center", bbox_to_anchor=(0.595, 0.5))  # between the two lines that it names
    right.loglog(weights, f.hessian_frobenius(lowest), color=plots.METHODS["FA"], label="tr(H²)")
    right.loglog(weights, f.grad(lowest).norm(dim=-1), color=plots.METHODS["GD"], linestyle=":", label="slope of the loss")
    right.set(xlabel="weight λ/B", title="At the lowest of them", ylim=(1e-4, 2e3))
    right.legend(fontsize=9)
    plt.tight_layout()
    plt.show()
    return weights[lowest[:, 0] > 0].min().item()


def ends(weight: float, count: int = 24, steps: int = 1500) -> tuple[float, float, float]:
    """Where descent on the penalized loss leads from a grid of starts, by backtracking; shares of sharp, flat, outside."""
    f, line = Ravines(), torch.linspace(-2, 2, count + 1, dtype=torch.float64)[:-1] + 2 / count
    w = torch.cartesian_prod(line, line[count // 2 :])
    rate = torch.full((len(w), 1), 0.1, dtype=torch.float64)
    for _ in range(steps):
        g = f.penalized_grad(w, weight)
        rate = torch.minimum(rate, 0.05 / g.norm(dim=-1, keepdim=True).clamp_min(1e-12))
        new = w - rate * g
        enough = f.penalized(new, weight) <= f.penalized(w, weight) - 0.1 * rate[:, 0] * g.square().sum(-1)
        w, rate = torch.where(enough[:, None], new, w), torch.where(enough[:, None], 1.5 * rate, rate / 2)
    q = (((w[:, None] - f.middles) / f.widths) ** 2).sum(-1) <= 4
    sharp, flat = q[:, 0].double().mean().item(), (q[:, 1] & ~q[:, 0]).double().mean().item()
    return sharp, flat, 1 - sharp - flat


# ---- the penalty alone -----------------------------------------------------------------------------------------------


def descend_the_penalty_alone(model: nn.Module, x: Tensor, y: Tensor, steps: int = 300, **how) -> Iterator[int]:
    """Adam on the penalty of the first 256 examples, without the loss; `model` is as after the step that is yielded."""
    opt = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(steps + 1):
        yield step
        opt.zero_grad()
        hessian_frobenius_penalty(model, cross_entropy, (x[:256], y[:256]), **how).backward()
        opt.step()


# ---- the small version of Table 3 ------------------------------------------------------------------------------------


class Path(NamedTuple):
    """A training: `(loss, tr(H^2))` of the whole training set after some epochs, the last epoch's accuracy and recorded
    training loss, and a checksum of the weights."""

    points: list[tuple[float, float]]
    accuracy: float
    train_loss: float
    checksum: str


def whole_loss(trainer: Trainer) -> Landscape:
    """The training loss as it stands, without dropout."""
    x, y = trainer.train
    return Landscape.of(trainer.model.eval(), cross_entropy, (trainer.scale(x), y), chunk=len(y))


def curvature(loss: Landscape) -> float:
    """tr(H^2) at the network's weights."""
    return measures.hessian_frobenius(loss, loss.w0, samples=5, deflate=5).value


def path(fa: float | None, seed: int, every: int = 10, **more) -> Path:
    """The small version of Table 3 with this weight of the penalty, measured on its way; `more` are other settings."""
    penalty = {} if fa is None else {"fa": fa, "penalty_every": every}
    chosen = Train(seed=seed, **SMALL | {"epochs": 20} | more, **penalty)
    trainer, points = Trainer(chosen, examples(chosen), Host().device), []
    while not trainer.finished:
        for _ in trainer.advance():
            pass
        if trainer.epoch in (1, 2, 3, 5, 8, 12, 20):
            loss = whole_loss(trainer)
            points.append((loss.loss(loss.w0).item(), curvature(loss)))
    last = trainer.curves[-1]
    return Path(points, last["accuracy"], last["train_loss"], trainer.checksum())


def sharper(runs: list[Path], others: list[Path]) -> float:
    """The mean of tr(H^2) at the end over that of other runs."""
    mean, theirs = (statistics.fmean(run.points[-1][1] for run in each) for each in (runs, others))
    return mean / theirs


def draw_paths(paths: dict[float | None, list[Path]]) -> None:
    """Curvature against loss, a line a run and a large mark at its end."""
    _, ax = plt.subplots(figsize=(7.2, 3.8))
    styles = {None: (plots.METHODS["Adam"], "o:"), 1.0: (plots.METHODS["FA"], "s-"), 100.0: (plots.METHODS["COV"], "^--")}
    for fa, runs in paths.items():
        colour, mark = styles[fa]
        for k, run in enumerate(runs):
            label = ("no penalty" if fa is None else f"λ = {fa:g}") if k == 0 else None
            losses, curvatures = zip(*run.points, strict=True)
            ax.loglog(losses, curvatures, mark, color=colour, markersize=4, linewidth=1, alpha=0.8, label=label)
            ax.plot(*run.points[-1], mark[0], color=colour, markersize=10)
    ax.set(xlabel="training loss", ylabel="tr(H²) of the training loss")
    ax.legend()
    plt.show()


# ---- the cost --------------------------------------------------------------------------------------------------------


def processor_seconds(step: Callable[[], None], count: int = 5) -> float:
    """Processor time of a step, the median of `count` after one that warms up."""
    step()
    times = []
    for _ in range(count):
        began = time.process_time()
        step()
        times.append(time.process_time() - began)
    return sorted(times)[count // 2]


def cost_of_a_penalty(network: str, shape: tuple[int, ...], classes: int, size: int) -> float:
    """Processor time of a step of Adam with a penalty of five draws over that of one without, on random inputs."""
    torch.manual_seed(0)
    net, x, y = models.build(network, shape, classes), torch.randn(size, *shape), torch.randint(classes, (size,))

    def step_with(probes):
        opt = torch.optim.Adam(net.parameters(), lr=1e-3)

        def step():
            opt.zero_grad()
            loss = cross_entropy(net(x), y)
            if probes:
                loss = loss + 0.01 * hessian_frobenius_penalty(net, cross_entropy, (x, y), probes=probes)
            loss.backward()
            opt.step()

        return step

    plain, penalized = (processor_seconds(step_with(probes)) for probes in (0, 5))
    return penalized / plain
