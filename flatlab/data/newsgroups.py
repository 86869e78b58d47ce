"""The 20 newsgroups, through scikit-learn."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import zlib
from pathlib import Path
from urllib.error import URLError

import torch

from flatlab.data.files.fetch import unwritable
from flatlab.data.source import Source
from flatlab.data.text_set import TextSet

__all__ = ["newsgroups"]

CACHE = "20news-bydate_py3.pkz"
"""scikit-learn's name for what it makes of the published archive."""
COUNTS = {"train": 11_314, "test": 7_532}


def newsgroups(root: Path) -> TextSet:
    """18,846 posts in 20 newsgroups, split by date, from scikit-learn's cache file in `root`.

    If it is missing, scikit-learn fetches the published archive (14 MB), checks it and makes the file. That file is
    the one exception to binary formats only: scikit-learn pickles what it has parsed, so take it from nobody else.
    """
    path = root / CACHE
    if not path.exists():
        _fetch(path)
    try:
        zlib.decompress(path.read_bytes())  # its checksum tells a damaged file before it is unpickled
    except zlib.error as error:
        raise ValueError(f"{path} is damaged ({error}): delete it and load again") from error
    train, test = (_part(path, subset) for subset in COUNTS)
    return TextSet("newsgroups", *train[:2], *test[:2], classes=train[2])


def _part(path: Path, subset: str) -> tuple[list[str], torch.Tensor, tuple[str, ...]]:
    from sklearn.datasets import fetch_20newsgroups  # slow to import, and only this set needs it

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints the reason of a failure
            bunch = fetch_20newsgroups(data_home=path.parent, subset=subset, shuffle=False, download_if_missing=False)
    except OSError as error:
        raise ValueError(f"{path} cannot be read by this scikit-learn: delete it and load again") from error
    if len(bunch.data) != COUNTS[subset] or len(bunch.target_names) != 20:
        raise ValueError(f"{path} has {len(bunch.data)} posts of {COUNTS[subset]} for {subset}: delete it and load again")
    return list(bunch.data), torch.as_tensor(bunch.target, dtype=torch.int64), tuple(bunch.target_names)


def _fetch(path: Path) -> None:
    from filelock import FileLock
    from sklearn.datasets import fetch_20newsgroups

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            FileLock(path.parent / f".{CACHE}.lock"),
            tempfile.TemporaryDirectory(dir=path.parent, prefix=".20news-") as aside,
        ):
            if not path.exists():
                fetch_20newsgroups(data_home=aside)  # writes in place, so beside, and then in one move
                os.replace(Path(aside, CACHE), path)
    except (URLError, TimeoutError, ConnectionError) as error:
        raise FileNotFoundError(
            f"{path} is missing and could not be fetched ({error}): load again with a network, or copy the file from a "
            "machine where this has worked"
        ) from error
    except OSError as error:
        if error.errno is None:  # scikit-learn's word for a wrong checksum
            raise ValueError(f"{path}: what was fetched is not the published archive ({error}): load again") from error
        raise unwritable(path, error) from error


NEWSGROUPS = Source(name="newsgroups", title="20 Newsgroups", place=6, read=newsgroups, holds=TextSet, fetched=True)
