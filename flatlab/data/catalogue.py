"""The data sets by name. A file beside this one that declares a `Source` is found by itself."""

from __future__ import annotations

from pathlib import Path

from flatlab.data.feature_set import FeatureSet
from flatlab.data.files.root import data_root
from flatlab.data.image_set import ImageSet
from flatlab.data.source import Source
from flatlab.data.text_set import TextSet
from flatlab.declared import declared

__all__ = ["IMAGES", "NAMES", "SOURCES", "TITLES", "load"]

SOURCES: dict[str, Source] = declared("flatlab.data", Source)
NAMES: tuple[str, ...] = tuple(SOURCES)
TITLES: dict[str, str] = {name: source.title for name, source in SOURCES.items()}
"""What tables and legends call them."""
IMAGES: tuple[str, ...] = tuple(name for name, source in SOURCES.items() if source.holds is ImageSet)
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
    if name not in SOURCES:
        raise ValueError(f"no data set {name!r}; there are {', '.join(NAMES)}")
    source = SOURCES[name]
    return source.read(data_root(root)) if source.fetched else source.read()
