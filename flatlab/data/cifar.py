"""CIFAR-10 and CIFAR-100 from the official archives' binary version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flatlab.data.fetch import Remote, fetch
from flatlab.data.image_set import ImageSet
from flatlab.data.unpack import unpack

__all__ = ["CIFAR10", "CIFAR100", "Cifar", "cifar"]

MIRRORS = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")
PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Cifar:
    """One of the two sets: a record of its files is `labels` bytes, of which the last is the class, and the pixels."""

    name: str
    archive: Remote
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: int
    classes: tuple[str, ...]
    n_train: int = 50_000
    n_test: int = 10_000


CIFAR10 = Cifar(
    "cifar10",
    Remote("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", MIRRORS),
    "cifar-10-batches-bin",
    tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
    ("test_batch.bin",),
    labels=1,
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
FINE = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CIFAR100 = Cifar(
    "cifar100",
    Remote("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8", MIRRORS),
    "cifar-100-binary",
    ("train.bin",),
    ("test.bin",),
    labels=2,
    classes=tuple(FINE.split()),
)


def cifar(which: Cifar, root: Path) -> ImageSet:
    """60,000 colour images of 32 x 32 from `root`, where the archive (162 MB) is fetched if a file is missing."""
    folder = root / which.folder
    files = (*which.train, *which.test)
    if not all((folder / file).exists() for file in files):
        unpack(fetch(which.archive, root), folder, files)
    train = _split(which, folder, which.train, which.n_train)
    test = _split(which, folder, which.test, which.n_test)
    return ImageSet(which.name, *train, *test, white=255, classes=which.classes)


def _split(which: Cifar, folder: Path, files: tuple[str, ...], count: int) -> tuple[Tensor, Tensor]:
    each, width, known = count // len(files), which.labels + PIXELS, len(which.classes)
    x, y = np.empty((count, PIXELS), np.uint8), np.empty(count, np.int64)
    for k, path in enumerate(folder / file for file in files):
        raw = np.fromfile(path, np.uint8)
        if raw.size != each * width:
            raise ValueError(f"{path} is damaged ({raw.size} bytes of {each * width}): delete it and load again")
        records, rows = raw.reshape(each, width), slice(k * each, (k + 1) * each)
        x[rows], y[rows] = records[:, which.labels :], records[:, which.labels - 1]
        if y[rows].max() >= known:
            raise ValueError(f"{path} is damaged (it has a label above {known - 1}): delete it and load again")
    if (np.bincount(y, minlength=known) != count // known).any():
        raise ValueError(
            f"{folder}: {', '.join(files)} do not hold {count // known} images of each class: delete them and load again"
        )
    return torch.from_numpy(x).view(count, 3, 32, 32), torch.from_numpy(y)
