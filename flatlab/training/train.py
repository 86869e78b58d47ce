"""One training run: its settings, what they allow, and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from flatlab import data, models
from flatlab.runs import records, tensor_file
from flatlab.runs.experiment import Experiment, option, setting
from flatlab.runs.host import Host, device_of
from flatlab.runs.nearest import nearest
from flatlab.runs.option import SEEDS
from flatlab.training import own
from flatlab.training.arithmetic import PRECISIONS, arithmetic
from flatlab.training.batches import AUGMENTATIONS
from flatlab.training.drive import drive
from flatlab.training.examples import examples
from flatlab.training.methods import BASES, METHODS, OWNERS, UNCAPTURED, check, options_of, with_options
from flatlab.training.trainer import Trainer

__all__ = ["Train"]

if TYPE_CHECKING:
    Named = Any  # besides a word, whatever `own.word` makes one of
else:
    Named = str
NETWORKS = (*models.NAMES, "timm:*", own.PATTERN)
SCHEDULES = ("constant", "cosine", "triangle")
DATA, NETWORK, METHOD, BASE, PENALTY, RUN = "data", "network", "method", "base optimizer", "penalty", "run"
"""What the settings belong to."""


@dataclass(frozen=True)
@with_options(before="fa", group=METHOD)
class Train(Experiment):
    """Train a network by one method, and record its curves and its last epoch's scores.

    A setting that is None takes the method's own default, or is off. `network` and `data` may be anybody's: a function
    `MODULE:FUNCTION`, which gets `(shape, classes)` and gives a module, or gets nothing and gives
    `(x_train, y_train, x_test, y_test)`; in Python also that function, a module with the weights to begin with, and the
    four tensors themselves. Raises `ValueError` for a value that is not allowed, and for a setting that the others leave
    without effect.
    """

    resumable: ClassVar[bool] = True

    data: Named = option("cifar10", "its name", allowed=(*data.NAMES, own.PATTERN), group=DATA)
    network: Named = option("resnet20", "its name", allowed=NETWORKS, group=NETWORK)
    width: tuple[int, ...] | None = option(
        None, "fast_cifar: channels of its three blocks; 64 256 256 unless given", least=1, count=3, group=NETWORK
    )
    method: str = option("plain", "its name; plain is the base optimizer alone", allowed=METHODS, group=METHOD)
    perturb_every: int | None = option(
        None,
        "steps from one that the method makes to the next, the base alone in those between; 1 unless given",
        least=1,
        group=METHOD,
    )
    base: str = option("SGD", "base optimizer", allowed=tuple(BASES), group=BASE)
    lr: float = option(0.1, "largest learning rate", above=0, group=BASE)
    schedule: str = option("cosine", "of the learning rate, over all steps", allowed=SCHEDULES, group=BASE)
    peak: float | None = option(
        None, "triangle: share of the steps in which the rate rises, 0.2 unless given", above=0, below=1, group=BASE
    )
    momentum: float | None = option(None, "of SGD, 0.9 unless given", least=0, below=1, group=BASE)
    nesterov: bool | None = option(None, "of SGD: Nesterov's momentum", group=BASE)
    weight_decay: float = option(5e-4, "on all parameters", least=0, group=BASE)
    epochs: int = option(200, "passes over the training set", least=1, group=RUN)
    batch: int = option(128, "samples a step; what is left over of an epoch is dropped", least=1, group=RUN)
    seed: int = option(1, "of initialization, order, augmentation and all else that is random", **SEEDS, group=RUN)

    fa: float | None = option(
        None, "weight of the FA penalty tr(H^2) / B; 0 measures tr(H^2) alone", least=0, group=PENALTY
    )
    cov: float | None = option(None, "weight of the COV penalty Tr C (n - b) / (b (n - 1))", least=0, group=PENALTY)
    probes: int | None = option(None, "FA: random vectors an estimate, 5 unless given", least=1, group=PENALTY)
    penalty_every: int | None = option(
        None, "FA: steps from one estimate to the next, 1 unless given", least=1, group=PENALTY
    )

    augment: str = option("none", "of images: crop shifts by up to 4 pixels", allowed=AUGMENTATIONS, group=DATA)
    label_smoothing: float = option(
        0.0, "share of every label that is spread over all classes", least=0, below=1, group=DATA
    )
    label_noise: float | None = option(
        None, "share of the training labels that are redrawn among the other classes", least=0, below=1, group=DATA
    )
    examples: int | None = option(
        None, "size of the training set, drawn from the whole; all unless given", least=1, group=DATA
    )
    validation: int | None = option(
        None, "examples held out of the training set and evaluated on, instead of the test set", least=1, group=DATA
    )
    evaluate_train: bool = option(False, "whether the whole training set is evaluated, too, after every epoch", group=RUN)
    stop_at_loss: float | None = option(
        None, "ends the run after an epoch whose mean training loss is not above it", least=0, group=RUN
    )
    precision: str = option(
        "fp32",
        "of forward and backward passes: bf16 and fp16 by autocast; tf32 and fp16 on a GPU alone",
        allowed=PRECISIONS,
        group=NETWORK,
    )

    def __post_init__(self):
        kept = []
        for what in ("network", "data"):
            word, given = own.word(what, getattr(self, what))
            object.__setattr__(self, what, word)
            kept.append(given)
        object.__setattr__(self, "_given", kept)  # what was given in Python lives as long as the settings that name it
        super().__post_init__()
        self._own_settings()
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum > 0, got 0")
        check(self.method, self.batch, {name: getattr(self, name) for name in options_of(self.method)})

    def _own_settings(self) -> None:
        """Fill in the defaults of the settings that the method, base and penalty have; refuse those that they have not."""
        defaults = {name: option.default for name, option in options_of(self.method).items()}
        for name, owners in OWNERS.items():
            self._own(name, name in defaults, defaults.get(name), f"method {' or '.join(owners)}")
        own_width = models.WIDTH.get(self.network)
        self._own("width", own_width is not None, own_width, f"network {' or '.join(models.WIDTH)}")
        self._own("peak", self.schedule == "triangle", 0.2, "schedule triangle")
        self._own("momentum", self.base == "SGD", 0.9, "base SGD")
        self._own("perturb_every", self.method != "plain", None, "a method other than plain")
        if self.perturb_every == 1:  # as if not given: one run, one key
            object.__setattr__(self, "perturb_every", None)
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

    def _wide(self) -> str:
        return "" if self.width is None else f" {'/'.join(map(str, self.width))}"

    @property
    def replays(self) -> bool:
        """Whether a GPU can replay its step as a graph: no fresh draws, no scale of fp16, no steps of two kinds."""
        return self.method not in UNCAPTURED and self.fa is None and self.precision != "fp16" and self.perturb_every is None

    def title(self) -> str:
        """The run in a line."""
        how = self.method if self.rho is None else f"{self.method} with rho {self.rho:g}"
        return f"{self.network}{self._wide()} on {self.data}: {how}, lr {self.lr:g}, {self.epochs} epochs, seed {self.seed}"

    def run(self, report: Callable[[str], None] = lambda line: None, host: Host | None = None) -> dict:
        """Train, and return the curves (a dict an epoch), the last epoch's scores, and what they stand on.

        `curves` hold `epoch`, `lr`, `train_loss` and `train_accuracy` (means over the epoch's steps, at the moving
        weights), `loss` and `accuracy` (held-out images, after the epoch); with `fa`, `hessian_frobenius` is the mean of
        the epoch's estimates of tr(H^2), each that of a minibatch's loss without dropout, where the step takes its first
        gradient (LSAM at its first draw; None for a method that cuts the minibatch). `gradients` counts gradient
        evaluations of a minibatch, `weights` is a checksum of the final weights. Raises `FloatingPointError` once the loss
        is not finite, and `Stopped` where `host.stop` is set.
        """
        host = Host() if host is None else host
        return summary(self.trained(report, host))

    def trained(self, report: Callable[[str], None], host: Host) -> Trainer:
        """The trainer at the end of its run, with all that `run` raises."""
        with arithmetic(host.device, self.precision):
            trainer = Trainer(self, examples(self), host.device, host.graph)
            report(f"{self.title()}: {trainer.weights().numel():,} parameters on {host.device}")
            drive(trainer, host, report)
        host.trained = trainer.model.state_dict()
        return trainer

    @classmethod
    def finished(cls, where: str | Path, *, device: str = "auto", **config: Any) -> Trainer:
        """The trainer of a run that has ended: `model` has the trained weights, `evaluate(x, y)` gives loss and accuracy.

        `where` is the file of the record, or a folder of records, in which one fits `config`. `train` and `held` are the
        run's examples as stored, `scale` brings inputs to the network's scale, `landscape()` is what measures take. A run
        in tf32 or fp16 is evaluated in fp32 on a device that has neither.

        Raises `LookupError` where not just one record fits; `ValueError` for a setting that there is not, and, naming the
        file, where the record is damaged, kept no weights, or the weights, the network or the data are no longer those of
        the record.

        >>> import tempfile
        >>> from flatlab.runs.experiment import perform
        >>> folder = tempfile.TemporaryDirectory()
        >>> chosen = Train(data="digits", network="logistic", epochs=2, lr=0.05)
        >>> file = perform(chosen, folder.name)
        >>> run = Train.finished(folder.name, seed=1)
        >>> loss, accuracy = run.evaluate(*run.held)
        >>> accuracy == run.curves[-1]["accuracy"]
        True
        """
        where = Path(where)
        if not where.exists():
            raise LookupError(f"there is no folder or record {where}")
        for name in config.keys() - {field.name for field in fields(cls)}:
            raise ValueError(f"no run has a setting {name!r}; {nearest(name, [field.name for field in fields(cls)])}")
        if config or where.is_dir():
            where = where / cls.experiment / f"{records.only(where, cls.experiment, **config)['key']}.json"
        record = records.read(where)
        if "trained" not in record:
            raise ValueError(f"{where} is of a run that kept no weights: run it again with `--again`")
        file, at = where.with_name(record["trained"]), device_of(device)
        try:
            chosen = setting(cls, record["config"])
            weights, _ = tensor_file.read(file)
        except ValueError as error:
            raise ValueError(f"{file} cannot be loaded ({error}): run it again with `--again`") from None
        if at.type != "cuda" and chosen.precision in ("tf32", "fp16"):
            chosen = replace(chosen, precision="fp32")
        source = examples(chosen)
        if source.checksum != record["result"]["data_checksum"]:
            raise ValueError(f"{chosen.data} is no longer the data that {where} was trained on (another checksum)")
        with torch.random.fork_rng([at] if at.type == "cuda" else []):
            trainer = Trainer(chosen, source, at)
        try:
            trainer.model.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"{file} does not fit the network {chosen.network}: {' '.join(str(error).split())}") from None
        if trainer.checksum() != record["result"]["weights"]:
            raise ValueError(f"{file} does not hold the weights of {where}: run it again with `--again`")
        trainer.model.eval()
        trainer.curves, trainer.epoch = record["result"]["curves"], len(record["result"]["curves"])
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
