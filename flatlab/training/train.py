"""One training run: its settings, what they allow, and what it returns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from flatlab import data, models
from flatlab.experiment import option
from flatlab.host import Host
from flatlab.training.batches import AUGMENTATIONS
from flatlab.training.drive import drive
from flatlab.training.examples import examples
from flatlab.training.methods import BASES, METHODS, OWNERS, check, options_of, with_options
from flatlab.training.trainer import TYPES, Trainer

__all__ = ["Train"]

SCHEDULES = ("constant", "cosine", "triangle")
PRECISIONS = ("fp32", *TYPES)
PENALTIES = ("fa", "cov")


@dataclass(frozen=True)
@with_options(before="fa")
class Train:
    """Train a network by one method, and record its curves and its last epoch's scores.

    A setting that is None takes the method's own default, or is off. Raises `ValueError` for a value that is not
    allowed, and for a setting that the others leave without effect.
    """

    experiment: ClassVar[str] = "train"
    resumable: ClassVar[bool] = True

    data: str = option("cifar10", f"data set, one of {', '.join(data.NAMES)}")
    network: str = option("resnet20", f"network, one of {', '.join(models.NAMES)}")
    width: tuple[int, ...] | None = option(None, "fast_cifar: channels of its three blocks; 64 256 256 unless given")
    method: str = option("plain", f"one of {', '.join(METHODS)}; plain is the base optimizer alone")
    base: str = option("SGD", f"base optimizer, one of {', '.join(BASES)}")
    lr: float = option(0.1, "largest learning rate, > 0")
    schedule: str = option("cosine", f"of the learning rate, over all steps: {', '.join(SCHEDULES)}")
    peak: float | None = option(None, "triangle: share of the steps in which the rate rises, in (0, 1); 0.2 unless given")
    momentum: float | None = option(None, "of SGD, in [0, 1); 0.9 unless given")
    nesterov: bool | None = option(None, "of SGD: Nesterov's momentum")
    weight_decay: float = option(5e-4, "of the base optimizer, on all parameters, >= 0")
    epochs: int = option(200, "passes over the training set, >= 1")
    batch: int = option(128, "samples a step, >= 1; what is left over of an epoch is dropped")
    seed: int = option(1, "of initialization, order, augmentation and all else that is random, >= 0")

    fa: float | None = option(None, "weight of the FA penalty tr(H^2) / B, >= 0; 0 measures tr(H^2) alone")
    cov: float | None = option(None, "weight of the COV penalty Tr C (n - b) / (b (n - 1)), >= 0")
    probes: int | None = option(None, "FA: random vectors an estimate, >= 1; 5 unless given")
    penalty_every: int | None = option(None, "FA: steps from one estimate to the next, >= 1; 1 unless given")

    augment: str = option("none", f"of images, one of {', '.join(AUGMENTATIONS)}: crop shifts by up to 4 pixels")
    label_smoothing: float = option(0.0, "share of every label that is spread over all classes, in [0, 1)")
    label_noise: float | None = option(None, "share of the training labels that are redrawn among the other classes")
    examples: int | None = option(None, "size of the training set, drawn from the whole; all unless given")
    validation: int | None = option(None, "examples held out of the training set and evaluated on, instead of the test set")
    evaluate_train: bool = option(False, "whether the whole training set is evaluated, too, after every epoch")
    stop_at_loss: float | None = option(None, "ends the run after an epoch whose mean training loss is not above it")
    precision: str = option("fp32", f"of forward and backward passes, one of {', '.join(PRECISIONS)} (autocast)")

    def __post_init__(self):
        self._among("data", data.NAMES)
        self._among("method", METHODS)
        self._among("base", BASES)
        self._among("schedule", SCHEDULES)
        self._among("augment", AUGMENTATIONS)
        self._among("precision", PRECISIONS)
        if not self.network.startswith("timm:"):
            self._among("network", models.NAMES)
        self._own_settings()
        self._within("lr", above=0)
        self._within("epochs", least=1)
        self._within("batch", least=1)
        self._within("seed", least=0)
        for name in ("weight_decay", "stop_at_loss", *PENALTIES):
            self._within(name, least=0)
        for name in ("probes", "penalty_every", "examples", "validation"):
            self._within(name, least=1)
        for name in ("momentum", "label_smoothing", "label_noise"):
            self._within(name, least=0, below=1)
        self._within("peak", above=0, below=1)
        if self.width is not None and (len(self.width) != 3 or min(self.width) < 1):
            raise ValueError(f"width must be three integers >= 1, as 64 256 256, got {' '.join(map(str, self.width))}")
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum > 0, got 0")
        check(self.method, self.batch, {name: getattr(self, name) for name in options_of(self.method)})

    def _own_settings(self) -> None:
        """Fill in the defaults of the settings that the method, base and penalty have; refuse those that they have not."""
        own = {name: option.default for name, option in options_of(self.method).items()}
        for name, owners in OWNERS.items():
            self._own(name, name in own, own.get(name), f"method {' or '.join(owners)}")
        own_width = models.WIDTH.get(self.network)
        self._own("width", own_width is not None, own_width, f"network {' or '.join(models.WIDTH)}")
        self._own("peak", self.schedule == "triangle", 0.2, "schedule triangle")
        self._own("momentum", self.base == "SGD", 0.9, "base SGD")
        self._own("nesterov", self.base == "SGD", None, "base SGD")
        if self.nesterov is False:  # as if not given: one run, one key
            object.__setattr__(self, "nesterov", None)
        self._own("probes", self.fa is not None, 5, "a weight of the penalty, fa")
        self._own("penalty_every", self.fa is not None, 1, "a weight of the penalty, fa")

    def _own(self, name: str, has_it: bool, default: Any, owner: str) -> None:
        given = getattr(self, name)
        if not has_it and given is not None:
            raise ValueError(f"{name} = {given} has no effect here: it needs {owner}")
        if has_it and given is None:
            object.__setattr__(self, name, default)

    def _among(self, name: str, allowed: Any) -> None:
        if getattr(self, name) not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")

    def _within(self, name: str, *, least: float | None = None, above: float | None = None, below: float | None = None):
        value = getattr(self, name)
        if value is None:
            return
        bounds = {">=": least, ">": above, "<": below}
        wanted = " and ".join(f"{sign} {bound}" for sign, bound in bounds.items() if bound is not None)
        inside = (least is None or value >= least) and (above is None or value > above)
        if not (inside and (below is None or value < below)) or value == float("inf"):
            raise ValueError(f"{name} must be {wanted}, got {value}")

    def _wide(self) -> str:
        return "" if self.width is None else f" {'/'.join(map(str, self.width))}"

    def title(self) -> str:
        """The run in a line."""
        how = self.method if self.rho is None else f"{self.method} with rho {self.rho:g}"
        return f"{self.network}{self._wide()} on {self.data}: {how}, lr {self.lr:g}, {self.epochs} epochs, seed {self.seed}"

    def run(self, report: Callable[[str], None] = lambda line: None, host: Host | None = None) -> dict:
        """Train, and return the curves (a dict an epoch), the last epoch's scores, and what they stand on.

        `curves` hold `epoch`, `lr`, `train_loss` and `train_accuracy` (means over the epoch's steps, at the moving
        weights), `loss` and `accuracy` (held-out images, after the epoch); with `fa`, `hessian_frobenius` is the mean of
        the epoch's estimates of tr(H^2), each that of a minibatch's loss without dropout. `gradients` counts gradient
        evaluations of a minibatch, `weights` is a checksum of the final weights. Raises `FloatingPointError` once the loss
        is not finite, and `Stopped` where `host.stop` is set.
        """
        return summary(self.trained(report, Host() if host is None else host))

    def trained(self, report: Callable[[str], None], host: Host) -> Trainer:
        """The trainer at the end of its run, with all that `run` raises."""
        trainer = Trainer(self, examples(self), host.device, host.graph)
        report(f"{self.title()}: {trainer.weights().numel():,} parameters on {host.device}")
        with deterministic(host.device):
            drive(trainer, host)
        return trainer


def summary(trainer: Trainer) -> dict[str, Any]:
    """What a record says of a run that has ended."""
    device, source = trainer.device, trainer.source
    return {
        "data_checksum": source.checksum,
        "parameters": trainer.weights().numel(),
        "evaluated_on": source.evaluated_on,
        "steps": len(trainer.curves) * len(trainer.batches),
        "gradients": trainer.gradients,
        "weights": trainer.checksum(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "curves": trainer.curves,
        "final": trainer.curves[-1],
    }


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """For the length of a run: a GPU takes algorithms that give the same bits every time, where there are such."""
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark
