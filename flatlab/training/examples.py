"""What a run trains on and what it is evaluated on: a data set, cut, held out and corrupted as the settings say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flatlab import data
from flatlab.training import own
from flatlab.training.batches import Scale

if TYPE_CHECKING:
    from flatlab.training.train import Train

__all__ = ["Examples", "examples", "with_label_noise"]

Pair = tuple[Tensor, Tensor]
SPLIT_SEED = 0
"""One split into training and validation for all runs, whatever their seed: seeds then differ in the training alone."""


@dataclass(frozen=True)
class Examples:
    """The pair `(x, y)` to train on and the one to evaluate on, as stored, and what goes with them."""

    train: Pair
    held: Pair
    evaluated_on: str
    scale: Scale
    classes: int
    checksum: str


def examples(setting: Train) -> Examples:
    """The examples of a run. Inputs are scaled by the statistics of the whole official training set.

    Raises `ValueError` if the settings ask for more examples than there are, for a batch larger than what is left, or to
    augment what is no image.
    """
    found = own.load(setting.data) if own.is_own(setting.data) else data.load(setting.data)
    if isinstance(found, data.TextSet):
        found = found.features()
    x, y = found.x_train, found.y_train
    if setting.augment != "none" and x.ndim != 4:
        raise ValueError(f"augment {setting.augment} is for images (channels, height, width), got {tuple(x.shape[1:])}")
    scale, held, evaluated_on = Scale(x), (found.x_test, found.y_test), "test"
    asked = (setting.examples or 0) + (setting.validation or 0)
    if asked > len(y) or setting.validation == len(y):
        raise ValueError(f"examples and validation ask for {asked} of the {len(y)} training examples of {setting.data}")
    if setting.validation is not None:
        rest, validation = data.held_out(len(y), setting.validation, SPLIT_SEED)
        held, evaluated_on = (x[validation], y[validation]), "validation"
        x, y = x[rest], y[rest]
    if setting.examples is not None:
        chosen = torch.randperm(len(y), generator=_generator(setting, 1))[: setting.examples]
        x, y = x[chosen], y[chosen]
    if setting.batch > len(y):
        raise ValueError(f"batch must be at most the {len(y)} training examples, got {setting.batch}")
    if setting.label_noise is not None:
        y = with_label_noise(y, setting.label_noise, len(found.classes), _generator(setting, 2))
    return Examples((x, y), held, evaluated_on, scale, len(found.classes), found.checksum())


def with_label_noise(y: Tensor, share: float, classes: int, generator: torch.Generator) -> Tensor:
    """`y` `(n,)` with `round(share n)` labels, chosen at random, each replaced by one of the other classes, uniformly.

    >>> y = torch.zeros(10, dtype=torch.int64)
    >>> int((with_label_noise(y, 0.4, 3, torch.Generator()) != y).sum())
    4
    """
    count = round(share * len(y))
    chosen = torch.randperm(len(y), generator=generator)[:count]
    steps = torch.randint(1, classes, (count,), generator=generator)
    out = y.clone()
    out[chosen] = (y[chosen] + steps) % classes
    return out


def _generator(setting: Train, purpose: int) -> torch.Generator:
    # Apart from the seeds of the epochs, 10,000 seed + epoch: torch keeps 32 bits of a seed, and of seed 0 both are small.
    return torch.Generator().manual_seed(100 * setting.seed + purpose + (1 << 31) * (setting.seed == 0))
