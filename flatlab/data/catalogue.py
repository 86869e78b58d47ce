"""The data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from flatlab.data.bundled import breast_cancer, digits
from flatlab.data.cifar import CIFAR10, CIFAR100, cifar
from flatlab.data.feature_set import FeatureSet
from flatlab.data.image_set import ImageSet
from flatlab.data.mnist import mnist
from flatlab.data.newsgroups import newsgroups
from flatlab.data.root import data_root
from flatlab.data.text_set import TextSet

__all__ = ["NAMES", "load"]

BUNDLED: dict[str, Callable[[], ImageSet | FeatureSet]] = {"digits": digits, "breast_cancer": breast_cancer}
FETCHED: dict[str, Callable[[Path], ImageSet | TextSet]] = {
    "mnist": mnist,
    "cifar10": partial(cifar, CIFAR10),
    "cifar100": partial(cifar, CIFAR100),
    "newsgroups": newsgroups,
}
NAMES = (*BUNDLED, *FETCHED)
IMAGES = tuple(name for name in NAMES if name not in ("breast_cancer", "newsgroups"))
"""The data sets of images among them."""


def load(name: str, root: str | Path | None = None) -> ImageSet | FeatureSet | TextSet:
    """The data set `name`, with `x_train`, `y_train`, `x_test`, `y_test`, `classes` and `checksum()`.

    | name | holds | training and test |
    |---|---|---|
    | `digits` | grey images of 8 x 8, 10 classes, bundled with scikit-learn | 1,437 and 360, split here |
    | `breast_cancer` | tables of 30 features, 2 classes, bundled with scikit-learn | 456 and 113, split here |
    | `mnist` | grey images of 28 x 28, 10 classes | 60,000 and 10,000, official |
    | `cifar10`, `cifar100` | colour images of 32 x 32, 10 or 100 (fine) classes | 50,000 and 10,000, official |
    | `newsgroups` | posts in 20 newsgroups, 20 classes | 11,314 and 7,532, official, by date |

    The sets that are not bundled live under `root`: the argument, else `$FLATLAB_DATA`, else the user's cache folder.
    Files that lie there in their official layout are used as they are: `MNIST/raw/*-ubyte` or `*-ubyte.gz`,
    `cifar-10-batches-bin/*.bin`, `cifar-100-binary/*.bin`, `20news-bydate_py3.pkz`. What is missing
    is fetched and checked against its published checksum; a broken download of images is continued. What the image files
    hold is checked, too, when they are first read and after every change of a file.

    Raises `ValueError` for another name, for a damaged file and for a download with the wrong checksum;
    `FileNotFoundError` for a missing file that cannot be fetched; another `OSError` if `root` cannot be written. Each
    names the file and the remedy.

    >>> digits = load("digits")
    >>> tuple(digits.x_train.shape), tuple(digits.x_test.shape), digits.white
    ((1437, 1, 8, 8), (360, 1, 8, 8), 16)
    """
    if name in BUNDLED:
        return BUNDLED[name]()
    if name in FETCHED:
        return FETCHED[name](data_root(root))
    raise ValueError(f"no data set {name!r}; there are {', '.join(NAMES)}")
