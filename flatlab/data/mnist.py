"""MNIST from its official files."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
import torch

from flatlab.data.files.fetch import Remote, fetch
from flatlab.data.files.genuine import genuine
from flatlab.data.image_set import ImageSet
from flatlab.data.source import Source

__all__ = ["mnist"]

MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
MD5 = {
    "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
}
"""Of the files as published, with the ending `.gz`."""
PLAIN = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""MD5s of what they hold."""


def mnist(root: Path) -> ImageSet:
    """70,000 handwritten digits of 28 x 28 from `root/MNIST/raw`, where what is missing (11 MB in all) is fetched."""
    folder = root / "MNIST" / "raw"
    parts = []
    for split, count in (("train", 60_000), ("t10k", 10_000)):
        images = _idx(folder, f"{split}-images-idx3-ubyte", (count, 28, 28))
        labels = _idx(folder, f"{split}-labels-idx1-ubyte", (count,))
        parts += [torch.from_numpy(images)[:, None], torch.from_numpy(labels.astype(np.int64))]
    return ImageSet("mnist", *parts, white=255, classes=tuple("0123456789"))


def _idx(folder: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    path = folder / name
    if not path.exists():
        path = folder / f"{name}.gz"
        if not path.exists():
            fetch(Remote(path.name, MD5[name], MIRRORS), folder)
    raw = path.read_bytes()
    if path.suffix == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is damaged ({error}): delete it and load again") from error
    header = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)
    if not raw.startswith(header) or len(raw) != len(header) + int(np.prod(shape)):
        raise ValueError(f"{path} is damaged (its header or size is wrong): delete it and load again")
    genuine(path, PLAIN[name], lambda: hashlib.md5(raw).hexdigest())
    return np.frombuffer(raw, np.uint8, offset=len(header)).reshape(shape).copy()


MNIST = Source(name="mnist", title="MNIST", place=3, read=mnist, fetched=True)
