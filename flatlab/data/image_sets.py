"""Grey-scale images with labels: MNIST from its official files, digits from scikit-learn."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

__all__ = ["ImageSet", "load"]

NAMES = ("digits", "mnist")


@dataclass(frozen=True)
class ImageSet:
    """A split into training and test images.

    `x_train` and `x_test` have shape `(n, channels, height, width)` and type uint8, with values from 0 to `white`;
    `y_train` and `y_test` are labels, shape `(n,)`, int64.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    white: int

    def flat(self, x: Tensor) -> Tensor:
        """Images as rows of numbers in [0, 1]: `(n, ...) -> (n, channels * height * width)`, float32."""
        return x.flatten(1).float() / self.white

    def checksum(self) -> str:
        """Twelve hexadecimal digits of a SHA-256 over all images and labels."""
        digest = hashlib.sha256()
        for part in (self.x_train, self.y_train, self.x_test, self.y_test):
            digest.update(part.numpy().tobytes())
        return digest.hexdigest()[:12]


def load(name: str, root: str | Path | None = None) -> ImageSet:
    """The data set `name`: `digits` (1,797 images of 8 x 8, bundled with scikit-learn) or `mnist` (70,000 of 28 x
    28).

    MNIST is read from its four official `idx` files, plain or gzipped, in `root/MNIST/raw`; `root` is `$FLATLAB_DATA`
    if not given. Raises `ValueError` for another name, `FileNotFoundError` (with the remedy) if the files are not
    there, and `ValueError` if one of them is damaged.

    >>> digits = load("digits")
    >>> tuple(digits.x_train.shape), tuple(digits.x_test.shape), digits.white
    ((1437, 1, 8, 8), (360, 1, 8, 8), 16)
    """
    if name not in NAMES:
        raise ValueError(f"no data set {name!r}; there are {', '.join(NAMES)}")
    return _digits() if name == "digits" else _mnist(root)


def _digits() -> ImageSet:
    from sklearn.datasets import load_digits  # slow to import, and only this set needs it

    bunch = load_digits()
    x = torch.from_numpy(bunch.images.astype(np.uint8))[:, None]
    y = torch.from_numpy(bunch.target.astype(np.int64))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:1437], order[1437:]
    return ImageSet("digits", x[train], y[train], x[test], y[test], white=16)


def _mnist(root: str | Path | None) -> ImageSet:
    root = root or os.environ.get("FLATLAB_DATA")
    if not root:
        raise FileNotFoundError("MNIST: set FLATLAB_DATA to a folder that holds MNIST/raw, or pass root=")
    folder = Path(root) / "MNIST" / "raw"
    parts = []
    for split, count in (("train", 60_000), ("t10k", 10_000)):
        images = _idx(folder / f"{split}-images-idx3-ubyte", (count, 28, 28))
        labels = _idx(folder / f"{split}-labels-idx1-ubyte", (count,))
        parts += [torch.from_numpy(images)[:, None], torch.from_numpy(labels.astype(np.int64))]
    return ImageSet("mnist", *parts, white=255)


def _idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    zipped = path.with_name(path.name + ".gz")
    if path.exists():
        raw = path.read_bytes()
    elif zipped.exists():
        raw = gzip.decompress(zipped.read_bytes())
    else:
        raise FileNotFoundError(f"{path} is missing: put MNIST's official idx files there")
    header = 4 + 4 * len(shape)
    expected = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    if raw[:header] != expected or len(raw) != header + int(np.prod(shape)):
        raise ValueError(f"{path} is damaged ({len(raw)} bytes): delete it and fetch it again")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape).copy()
