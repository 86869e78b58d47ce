"""Minima of the training loss, each measured as found and with its layers rescaled (Petzka et al. 2021, section 6)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from flatlab.landscape import Landscape, Network
from flatlab.measures import fisher_rao, hessian_trace, pac_bayes, relative_flatness, top_eigenvalues, weight_norm
from flatlab.measures.per_sample_norms import plain_layers
from flatlab.runs import records
from flatlab.runs.experiment import config_of, inherited, option
from flatlab.runs.host import Host, Stopped
from flatlab.training.arithmetic import arithmetic
from flatlab.training.drive import drive
from flatlab.training.examples import Examples, Pair, examples
from flatlab.training.train import Train, summary
from flatlab.training.trainer import Trainer

__all__ = ["Minimum", "last_layer", "last_layer_trace", "margins", "rescaled"]

AT_ONCE = 500
WATCHED = 1000
"""Held-out examples that the curves are of: all of them after every epoch would take a fifth of the time."""
ROUNDING = 1e-4
"""Change of the outputs, relative to the largest, up to which a rescaling counts as one that leaves the function alone."""
FACTORS, FEW, PROBES, START, NOISE, RANDOM = range(6)
"""What a run draws for its measures, each from a seed of its own."""


@dataclass(frozen=True)
class Minimum(Train):
    """Train a network until its loss is small, and measure the minimum twice: as found, and with its layers rescaled.

    The settings are those of `Train`. The network is a chain of `Linear` and `Conv2d` layers with ReLU or max pooling
    between them, so that its layers can be rescaled without a change of its outputs, see `rescaled`.
    """

    network: str = inherited(Train, "network", "lenet5", about="its name; a chain of layers, as lenet5 and fcn3")
    schedule: str = inherited(Train, "schedule", "constant")
    epochs: int = inherited(Train, "epochs", 100, about="passes over the training set at most")
    stop_at_loss: float | None = inherited(Train, "stop_at_loss", 0.1)
    spread: float = option(5.0, "factors of the layers' outputs are log-uniform from 1/spread to spread", above=1)
    few: int = option(500, "training examples for PAC-Bayes; all where there are fewer", least=2)
    trace_probes: int = option(2, "random vectors an example for Tr H, where it is not exact", least=2)
    noises: int = option(10, "PAC-Bayes: antithetic pairs of Gaussian vectors", least=2)
    rise: float = option(0.1, "PAC-Bayes: rise of the training loss that the noise brings", above=0)

    def title(self) -> str:
        """The run in a line."""
        return f"minimum of {super().title()}"

    def run(self, report: Callable[[str], None] = lambda line: None, host: Host | None = None) -> dict:
        """Train and measure; returns what `Train.run` does, its curves of the first 1000 held-out examples, and beside it

        - `reached`: whether the training loss fell to `stop_at_loss` within the epochs.
        - `scores`: mean cross-entropy and accuracy of all training (`whole_train_loss`, ...) and held-out examples
          (`loss`, ...) at the end, and their gaps `loss_gap` and `accuracy_gap`, positive for overfitting.
        - `measures`: of the minimum as it was found, see `measure`; `rescaled`: of the rescaled one.
        - `rescaling`: the `factors` of the layers' outputs, and the largest change of an output over all training
          examples, `output_change`, relative to the largest output.
        - `random`: a uniform number in [0, 1) that knows nothing of the network, as the measure to beat.
        - `times`: `wall_s` and `cpu_s` of `training` and `measuring`.

        Raises `ValueError`, before it trains, for a network whose layers cannot be rescaled, else as `Train.run`.
        """
        host = Host() if host is None else host
        source = examples(self)
        trainer = Trainer(self, watched(source), host.device, host.graph)
        with arithmetic(host.device, self.precision):
            probe = Landscape.of(trainer.model.eval(), cross_entropy, self._loaded(trainer, slice(0, 100)))
            rescaled(probe, probe.w0, self._factors(probe))  # in the precision in which it will be measured
            report(f"{self.title()}: {probe.d:,} parameters on {host.device}")
            drive(trainer, host, report)
            host.trained = trainer.model.state_dict()
            trained = host.clock.times()
            report(f"training loss {trainer.curves[-1]['train_loss']:.3f} after {trainer.epoch} epochs; measuring")
            found = self._measured(trainer, source.held, host)
        spent = host.clock.times()
        times = {"training": trained, "measuring": {k: spent[k] - trained[k] for k in spent}}
        times = {part: {k: round(v, 2) for k, v in of.items()} for part, of in times.items()}
        return summary(trainer) | found | {"times": times}

    def _measured(self, trainer: Trainer, held: Pair, host: Host) -> dict[str, Any]:
        last = trainer.curves[-1]["train_loss"]
        train = trainer.evaluate(*trainer.train)
        held = trainer.evaluate(*(t.to(trainer.device) for t in held))
        landscape = Landscape.of(trainer.model.eval(), cross_entropy, self._loaded(trainer, slice(None)))
        w, factors = landscape.w0, self._factors(landscape)
        moved, change = rescaled(landscape, w, factors)
        measured = []
        for point in (w, moved):
            values = {}
            for name, value in self.measures(landscape, point):
                values[name] = value
                if host.stop.is_set():
                    raise Stopped("stopped while it measured: the training is kept")
            measured.append(values)
        return {
            "reached": self.stop_at_loss is not None and last <= self.stop_at_loss,
            "scores": {
                "whole_train_loss": train[0],
                "whole_train_accuracy": train[1],
                "loss": held[0],
                "accuracy": held[1],
                "loss_gap": held[0] - train[0],
                "accuracy_gap": train[1] - held[1],
            },
            "measures": measured[0],
            "rescaled": measured[1],
            "rescaling": {"factors": factors, "output_change": change},
            "random": float(torch.rand((), generator=self._generator(RANDOM))),
        }

    def measures(self, landscape: Network, w: Tensor) -> Iterator[tuple[str, Any]]:
        """What is measured at `w`, shape `(d,)`, name by name; of the loss of all training examples unless said otherwise.

        - `relative_flatness`: that of the last layer, exact (Definition 3); `relative_flatness_normalized`: with its
          features brought to deviation 1 (Theorem 4), without those that are constant, exact.
        - `trace`: Tr H of all weights, with its standard error over the draws; `last_layer_trace`,
          `last_layer_eigenvalue`: trace and largest eigenvalue of the last layer's block of H, biases included, exact.
        - `pac_bayes`: 1 / sigma^2 on `few` examples, with its standard error.
        - `fisher_rao`; `weight_norm`, `last_layer_norm`: Euclidean, biases included.
        - `norm_product`: of the layers' Frobenius norms, without biases; `margin_mean`, `margin_tenth`: mean and 10%
          quantile of `margins`. A margin over that product is a normalized one.
        """
        head, weights = last_layer(landscape, w)
        yield "relative_flatness", relative_flatness(head, weights)
        yield "relative_flatness_normalized", relative_flatness(head, weights, normalize=True, dead="drop")
        yield "trace", asdict(hessian_trace(landscape, w, samples=self.trace_probes, seed=self._seed(PROBES)))
        yield "last_layer_trace", last_layer_trace(head, weights)
        yield "last_layer_eigenvalue", float(top_eigenvalues(head, weights, seed=self._seed(START)))
        noise = {"target": self.rise, "samples": self.noises, "tol": 1e-2, "seed": self._seed(NOISE)}
        yield "pac_bayes", asdict(pac_bayes(self._some(landscape), w, **noise))
        yield "fisher_rao", fisher_rao(landscape, w)
        yield "weight_norm", weight_norm(landscape, w)
        yield "last_layer_norm", weight_norm(head, weights)
        yield "norm_product", math.prod(float(weight.norm()) for weight, _ in _chain(landscape, w))
        margin = margins(head, weights)
        yield "margin_mean", float(margin.mean())
        yield "margin_tenth", float(margin.quantile(0.1))

    def _loaded(self, trainer: Trainer, places: slice) -> tuple[Tensor, Tensor]:
        x, y = trainer.train
        return trainer.scale(x[places]), y[places]

    def _some(self, landscape: Network) -> Network:
        if self.few >= landscape.n:
            return landscape
        chosen = torch.randperm(landscape.n, generator=self._generator(FEW))[: self.few].to(landscape.x.device)
        x, y = landscape.data(chosen)
        if x.ndim == 4:  # in a third less time, in a processor's hundreds of forward passes
            x = x.contiguous(memory_format=torch.channels_last)
        return landscape.on(x, y)

    def _factors(self, landscape: Network) -> list[float]:
        hidden = len(_chain(landscape, landscape.w0)) - 1
        exponents = 2 * torch.rand(hidden, generator=self._generator(FACTORS), dtype=torch.float64) - 1
        return (self.spread**exponents).tolist()

    def _seed(self, purpose: int) -> int:
        # Of all settings, not of the seed alone: minima of one seed and other rates are then rescaled by other factors.
        return (int(records.key(config_of(self)), 16) << 3) + purpose

    def _generator(self, purpose: int) -> torch.Generator:
        return torch.Generator().manual_seed(self._seed(purpose))


def watched(source: Examples) -> Examples:
    """The same, with the first 1000 held-out examples in place of all."""
    x, y = source.held
    if len(y) <= WATCHED:
        return source
    return replace(source, held=(x[:WATCHED], y[:WATCHED]), evaluated_on=f"the first {WATCHED:,} of {source.evaluated_on}")


def rescaled(landscape: Network, w: Tensor, factors: list[float]) -> tuple[Tensor, float]:
    r"""Weights of the same function, `(d,)`: the outputs of hidden layer l are multiplied by `factors[l]` > 0.

    With $c_l$ the factors, $c_0 = 1$ and $c_L = 1$ for the last layer, $W_l \to W_l c_l / c_{l-1}$ and
    $b_l \to b_l c_l$. ReLU, pooling and dropout commute with positive factors, so the network's outputs stay. The second
    value is their largest change over all examples, divided by the largest output: rounding.

    Raises `ValueError` for a network that is no such chain of `Linear` and `Conv2d` layers, or another number of factors
    than it has hidden layers. Source: Dinh et al. 2017, section 5; Petzka et al. 2021, section 4.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    >>> net = Landscape.of(net, cross_entropy, (torch.ones(1, 2), torch.zeros(1, dtype=torch.int64)))
    >>> rescaled(net, torch.ones(6), [4.0])
    (tensor([4.0000, 4.0000, 4.0000, 4.0000, 0.2500, 0.2500]), 0.0)
    """
    moved = w.detach().clone()
    chain = _chain(landscape, moved)
    if len(factors) != len(chain) - 1 or not all(0 < c < math.inf for c in factors):
        raise ValueError(f"factors must be {len(chain) - 1} positive numbers, one a hidden layer, got {factors}")
    for (weight, bias), before, after in zip(chain, [1.0, *factors], [*factors, 1.0], strict=True):
        weight *= after / before
        if bias is not None:
            bias *= after
    change, largest = 0.0, 0.0
    with torch.no_grad():
        for x in landscape.x.split(AT_ONCE):
            here, there = landscape.outputs(w, x), landscape.outputs(moved, x)
            change = max(change, (there - here).abs().max().item())
            largest = max(largest, here.abs().max().item())
    if not change <= ROUNDING * largest:
        raise ValueError(f"rescaling layers changes outputs of size {largest:.3g} by {change:.3g}: no chain of ReLU layers")
    return moved, change / largest if largest else 0.0


def last_layer(landscape: Network, w: Tensor) -> tuple[Network, Tensor]:
    """The network's last layer alone, a landscape on its inputs at `w`, `(d,)`, and its part of `w`, `(d_last,)`.

    The losses are the network's own. Raises `ValueError` as `rescaled` does.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    >>> net = Landscape.of(net, cross_entropy, (torch.ones(1, 2), torch.zeros(1, dtype=torch.int64)))
    >>> head, weights = last_layer(net, torch.arange(6.0))
    >>> head.x, weights
    (tensor([[1., 5.]]), tensor([4., 5.]))
    """
    _chain(landscape, w)
    layer = list(plain_layers(landscape).values())[-1]
    head, seen = copy.deepcopy(layer), []
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        with torch.no_grad():
            for x in landscape.x.split(AT_ONCE):
                landscape.outputs(w, x)
    finally:
        handle.remove()
    size = sum(p.numel() for p in layer.parameters())
    return Landscape.of(head, landscape.loss_fn, (torch.cat(seen), landscape.y)), w.detach()[-size:]


def last_layer_trace(head: Network, w: Tensor) -> float:
    r"""`Tr H` of a linear layer and its bias: $\frac1n \sum_i (\|\phi_i\|^2 + 1) \sum_c p_{ic} (1 - p_{ic})$.

    The loss is cross-entropy; `head` and `w` are as `last_layer` gives them, with inputs $\phi_i$ and probabilities $p_i$.

    >>> from torch import nn
    >>> head = Landscape.of(nn.Linear(2, 2), cross_entropy, (torch.ones(1, 2), torch.zeros(1, dtype=torch.int64)))
    >>> last_layer_trace(head, torch.zeros(6))          # (2 + 1) (1/4 + 1/4)
    1.5
    """
    with torch.no_grad():
        p = head.outputs(w, head.x).double().softmax(1)
    return float(((head.x.double().square().sum(1) + 1) * (p * (1 - p)).sum(1)).mean())


def margins(landscape: Network, w: Tensor) -> Tensor:
    """The right class's output less the largest other one, of every example, `(n,)`; negative where it errs.

    >>> from torch import nn
    >>> net = Landscape.of(nn.Linear(1, 3, bias=False), cross_entropy, (torch.ones(2, 1), torch.tensor([0, 2])))
    >>> margins(net, torch.tensor([5.0, 1.0, 3.0]))
    tensor([ 2., -2.])
    """
    with torch.no_grad():
        outputs = torch.cat([landscape.outputs(w, x) for x in landscape.x.split(AT_ONCE)])
    label = landscape.y[:, None]
    right = outputs.gather(1, label)[:, 0]
    return right - outputs.scatter(1, label, -math.inf).amax(1)


def _chain(landscape: Network, w: Tensor) -> list[tuple[Tensor, Tensor | None]]:
    """Weight and bias of every layer, from the first to the last, as views of `w`."""
    layers = plain_layers(landscape)
    if layers is None:
        raise ValueError(f"{type(landscape.model).__name__} has parameters beside those of Linear and Conv2d layers")
    named = landscape.named(w)
    return [(named[f"{name}.weight"], named.get(f"{name}.bias")) for name in layers]
