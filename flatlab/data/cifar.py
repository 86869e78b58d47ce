"""CIFAR-10 and CIFAR-100 from the official archives' binary version."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flatlab.data.files.fetch import Remote, fetch
from flatlab.data.files.genuine import genuine
from flatlab.data.files.unpack import packed, unpack
from flatlab.data.image_set import ImageSet
from flatlab.data.source import Source

__all__ = ["CIFAR10", "CIFAR100", "Cifar", "cifar", "digest"]

MIRRORS = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")
PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Cifar:
    """One of the two sets: a record of its files is `labels` bytes, of which the last is the class, and the pixels.

    `train` and `test` have the `digest` of each file by its name. A file is right if it has that digest, or if it equals
    the one in the archive beside its folder, whose MD5 is the published one. The digests of CIFAR-10 are those of the
    published files. Those of CIFAR-100 were taken from a copy whose records stand in another order, and no checksum of
    its files is published: there the archive has the last word.
    """

    name: str
    archive: Remote
    folder: str
    train: Mapping[str, str]
    test: Mapping[str, str]
    labels: int
    classes: tuple[str, ...]
    n_train: int = 50_000
    n_test: int = 10_000


CIFAR10 = Cifar(
    "cifar10",
    Remote("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", MIRRORS),
    "cifar-10-batches-bin",
    {
        "data_batch_1.bin": "02bce57ec0c9a230da33d891be222261",
        "data_batch_2.bin": "f98e0edaace4c98eadd7f9ae2c2ab3e2",
        "data_batch_3.bin": "98c855d89c4f6a6800505f6657a61e47",
        "data_batch_4.bin": "79a0c7dcf6686750105288c1ffa6ce03",
        "data_batch_5.bin": "18fc227bea9ee5a35fb8789071d8fb89",
    },
    {"test_batch.bin": "5c541f6619e05a6b3e6c4b873d02048d"},
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
    {"train.bin": "737c07b94cd0a50322ca4d8b6e7e9649"},
    {"test.bin": "3c6bd781c1ad61d3b7ac9dfb43e78c82"},
    labels=2,
    classes=tuple(FINE.split()),
)


def cifar(which: Cifar, root: Path) -> ImageSet:
    """60,000 colour images of 32 x 32 from `root`, where the archive (162 MB) is fetched if a file is missing."""
    folder = root / which.folder
    files = (*which.train, *which.test)
    if not all((folder / file).exists() for file in files):
        unpack(fetch(which.archive, root), folder, files)
    train = _split(which, root, which.train, which.n_train)
    test = _split(which, root, which.test, which.n_test)
    return ImageSet(which.name, *train, *test, white=255, classes=which.classes)


def _split(which: Cifar, root: Path, files: Mapping[str, str], count: int) -> tuple[Tensor, Tensor]:
    each, width = count // len(files), which.labels + PIXELS
    x, y = np.empty((count, PIXELS), np.uint8), np.empty(count, np.int64)
    for k, (file, published) in enumerate(files.items()):
        path, rows = root / which.folder / file, slice(k * each, (k + 1) * each)
        raw = np.fromfile(path, np.uint8)
        if raw.size != each * width:
            raise ValueError(f"{path} is damaged ({raw.size} bytes of {each * width}): delete it and load again")
        records = raw.reshape(each, width)[:, which.labels - 1 :]
        genuine(path, published, partial(digest, records), partial(_as_in_archive, which, path))
        x[rows], y[rows] = records[:, 1:], records[:, 0]
    return torch.from_numpy(x).view(count, 3, 32, 32), torch.from_numpy(y)


def _as_in_archive(which: Cifar, path: Path) -> bool:
    """Whether the file is that of the archive beside its folder, and the archive the published one."""
    archive = path.parent.with_name(which.archive.name)
    if not archive.exists():
        return False
    with archive.open("rb") as file:
        whole = hashlib.file_digest(file, "md5").hexdigest() == which.archive.md5
    return whole and packed(archive, f"{which.folder}/{path.name}") == path.read_bytes()


def digest(records: np.ndarray) -> str:
    """The MD5 of the MD5s of the rows, in ascending order: the same for copies that have them in another order.

    >>> rows = np.array([[1, 2], [3, 4]], np.uint8)
    >>> digest(rows) == digest(rows[::-1]), digest(rows) == digest(rows[:, ::-1])
    (True, False)
    """
    return hashlib.md5(b"".join(sorted(hashlib.md5(row.tobytes()).digest() for row in records))).hexdigest()


OF_TEN = Source(name=CIFAR10.name, title="CIFAR-10", place=4, read=partial(cifar, CIFAR10), fetched=True)
OF_A_HUNDRED = Source(name=CIFAR100.name, title="CIFAR-100", place=5, read=partial(cifar, CIFAR100), fetched=True)
