"""How much the average over a ball changes a minibatch's gradient, next to what another minibatch changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector

from flatlab import rules
from flatlab.data import IMAGES, load
from flatlab.models import build
from flatlab.models.fast_cifar import FastCifar
from flatlab.runs.experiment import Experiment, option
from flatlab.runs.option import SEEDS
from flatlab.training.batches import Scale
from flatlab.training.train import NETWORKS
from flatlab.training.trainer import WHITENED

__all__ = ["LocalGradients"]


@dataclass(frozen=True)
class LocalGradients(Experiment):
    """Compare LSAM's gradient with the plain one of the same minibatch, at initialization and after some steps of SGD.

    With `g` the gradient of a minibatch at `w` and `u` uniform in the ball of radius `rho`, LSAM descends along the mean
    of `g(w + u)` over `k` draws. All lengths are root mean squares over minibatches and draws. BatchNorm works on the
    minibatch, as in training.
    """

    data: str = option("cifar10", "data set of images", allowed=IMAGES)
    network: str = option("resnet20", "its name", allowed=NETWORKS)
    steps: tuple[int, ...] = option((0, 150), "measured after so many steps of SGD", least=0, increasing=True)
    rhos: tuple[float, ...] = option(
        (0.01, 0.02, 0.05, 0.1, 0.15, 0.5, 1.5, 5.0), "radii", above=0, increasing=True, unit="the weights' units"
    )
    ks: tuple[int, ...] = option((1, 2, 3, 4, 8, 16), "draws of a step of LSAM", least=1, increasing=True)
    draws: int = option(48, "points of the ball for each minibatch, a multiple of every k", least=2)
    batches: int = option(3, "minibatches whose gradients are averaged over the ball", least=1)
    others: int = option(12, "minibatches whose plain gradients give the noise, as many as batches or more", least=2)
    batch: int = option(128, "samples a minibatch", least=1)
    lr: float = option(0.05, "learning rate of SGD with momentum 0.9", above=0)
    seed: int = option(1, "of initialization, order and draws", **SEEDS)

    def __post_init__(self):
        super().__post_init__()
        if any(self.draws % k for k in self.ks):
            raise ValueError(f"draws must be a multiple of every k in {self.ks}, got {self.draws}")
        if self.batches > self.others:
            raise ValueError(f"others must be at least the {self.batches} batches, got {self.others}")

    def run(self, report: Callable[[str], None] = lambda line: None) -> dict:
        """Measure at every number of `steps`; `states` holds a dict each.

        `norm` is the length of a minibatch's gradient and `noise` the distance of two such; `loss` is the mean loss and
        `loss_noise` the standard deviation of a minibatch's. Every entry of `balls` has, for a `rho`, the distance
        `change` of LSAM's gradient from the plain one for each number `k` of draws; `systematic`, the square of the
        length of its mean over the draws, estimated without bias from pairs of draws (it may come out negative);
        `loss_change`, the mean of `L(w + u) - L(w)`, with its standard error over all draws, given these minibatches, in
        `loss_change_error`, and `loss_spread`, the root mean square of that difference's mean
        over `k` draws, for each `k`; and `sam_change` and `sam_loss_change`, the same for SAM's point.
        Raises `FloatingPointError` if the training diverges, and `ValueError` if the data have fewer minibatches.
        """
        found = load(self.data)
        if self.others * self.batch > len(found.y_train):
            raise ValueError(
                f"others = {self.others} minibatches of batch = {self.batch} take more than the {len(found.y_train)} "
                f"training examples of {self.data}: one that came twice would have no noise"
            )
        scale = Scale(found.x_train)
        torch.manual_seed(self.seed)
        net = build(self.network, tuple(found.x_train.shape[1:]), len(found.classes)).train()
        if isinstance(net, FastCifar):
            net.whiten(scale(found.x_train[:WHITENED]))
        w, velocity, done, states = parameters_to_vector(net.parameters()).detach(), 0, 0, []
        report(f"{self.network} on {found.name}: {w.numel():,} parameters")
        # Two orders, so that no batch that is measured is one of the training's last.
        order = [torch.randperm(len(found.y_train), generator=torch.Generator().manual_seed(self.seed + k)) for k in (0, 1)]

        def batch(k: int, of: Tensor = order[0]) -> tuple[Tensor, Tensor]:
            count = len(of) // self.batch
            rows = of[(k % count) * self.batch :][: self.batch]
            return scale(found.x_train[rows]), found.y_train[rows]

        for target in self.steps:
            while done < target:
                velocity = 0.9 * velocity + gradient(net, w, *batch(done))[1]
                w, done = w - self.lr * velocity, done + 1
            if not torch.isfinite(w).all():
                raise FloatingPointError(f"the weights are no longer finite after {done} steps at lr {self.lr}")
            states.append({"step": target} | self._state(net, w, [batch(k, order[1]) for k in range(self.others)], report))
        return {"data_checksum": found.checksum(), "parameters": w.numel(), "states": states}

    def _state(self, net: nn.Module, w: Tensor, batches: list, report: Callable[[str], None]) -> dict:
        plain = [gradient(net, w, x, y) for x, y in batches]
        gradients = torch.stack([g for _, g in plain]).double()
        losses = torch.tensor([loss for loss, _ in plain], dtype=torch.float64)
        out = {
            "weight_norm": float(w.norm()),
            "norm": float(gradients.square().sum(1).mean().sqrt()),
            "noise": float((2 * gradients.var(0).sum()).sqrt()),
            "loss": float(losses.mean()),
            "loss_noise": float(losses.std()),
        }
        report(", ".join(f"{name} {value:.4g}" for name, value in out.items()))
        generator = torch.Generator().manual_seed(self.seed)
        return out | {"balls": [self._ball(net, w, rho, batches, plain, generator, report) for rho in self.rhos]}

    def _ball(self, net, w, rho, batches, plain, generator, report) -> dict:
        squares, spreads = ({k: [] for k in self.ks} for _ in range(2))
        systematic, losses, sam = [], [], []
        for (x, y), (loss, g) in zip(batches[: self.batches], plain, strict=False):
            around = [gradient(net, w + rules.ball(w, rho, generator), x, y) for _ in range(self.draws)]
            apart = torch.stack([far - g for _, far in around]).double()
            rises = torch.tensor([near - loss for near, _ in around], dtype=torch.float64)
            losses += rises.tolist()
            for k in self.ks:
                squares[k].append(apart.unflatten(0, (-1, k)).mean(1).square().sum(1).mean())
                spreads[k].append(rises.unflatten(0, (-1, k)).mean(1).square().mean())
            whole, each = apart.sum(0).square().sum(), apart.square().sum()
            systematic.append((whole - each) / (self.draws * (self.draws - 1)))
            far_loss, far = gradient(net, w + rho * rules.unit(g), x, y)
            sam.append((float((far - g).norm()) ** 2, far_loss - loss))

        def mean(values: list) -> float:
            return sum(map(float, values)) / len(values)

        out = {
            "rho": rho,
            "change": {str(k): mean(v) ** 0.5 for k, v in squares.items()},
            "systematic": mean(systematic),
            "loss_change": mean(losses),
            "loss_change_error": float(torch.tensor(losses).std() / len(losses) ** 0.5),
            "loss_spread": {str(k): mean(v) ** 0.5 for k, v in spreads.items()},
            "sam_change": mean([s for s, _ in sam]) ** 0.5,
            "sam_loss_change": mean([c for _, c in sam]),
        }
        changes = ", ".join(f"{change:.3g}" for change in out["change"].values())
        report(f"rho {rho:g}: change {changes}, of SAM {out['sam_change']:.3g}, loss {mean(losses):+.2g}")
        return out


def gradient(net: nn.Module, w: Tensor, x: Tensor, y: Tensor) -> tuple[float, Tensor]:
    """Mean cross-entropy of `net` at the weights `w`, `(d,)`, on a minibatch, and its gradient, `(d,)`.

    Buffers are copies: the running statistics of `net` stay as they are.

    >>> net = nn.Linear(1, 2, bias=False)
    >>> loss, g = gradient(net, torch.zeros(2), torch.ones(1, 1), torch.tensor([0]))
    >>> round(loss, 4), g                                       # log 2, and p - e_0
    (0.6931, tensor([-0.5000,  0.5000]))
    """
    names, parts, start = [], [], 0
    for name, p in net.named_parameters():
        names.append(name)
        parts.append(w[start : start + p.numel()].view_as(p).detach().requires_grad_())
        start += p.numel()
    buffers = {name: b.clone() for name, b in net.named_buffers()}
    loss = cross_entropy(functional_call(net, dict(zip(names, parts, strict=True)) | buffers, (x,)), y)
    return loss.item(), parameters_to_vector(torch.autograd.grad(loss, parts))
