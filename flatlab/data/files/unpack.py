"""Files out of an archive, each whole or not at all."""

from __future__ import annotations

import gzip
import os
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from flatlab.data.files.fetch import unwritable

__all__ = ["packed", "unpack"]


def unpack(archive: Path, folder: Path, files: Sequence[str]) -> None:
    """Put the plain files `folder.name/file` of a .tar.gz archive into `folder`, where files that are there stay.

    Nothing else of the archive is written. Every file is written elsewhere first and gets its name in one move. Raises
    `ValueError` if the archive is damaged, lacks a file or has something else in its place, and another `OSError` if
    `folder` cannot be written.
    """
    wanted = {f"{folder.name}/{file}" for file in files}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as aside:
            try:
                with gzip.open(archive) as plain, tarfile.open(fileobj=plain, mode="r:") as tar:
                    for member in tar:  # one pass: going back in a gzip file starts it from the beginning
                        if member.name in wanted and member.isreg():
                            tar.extract(member, aside, filter="data")
                    while plain.read(1 << 20):  # to the end, where gzip's checksum is
                        pass
            except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
                raise ValueError(f"{archive} is damaged ({error}): delete it and load again") from error
            lacking = sorted(name for name in wanted if not Path(aside, name).is_file())
            if lacking:
                raise ValueError(f"{archive} has no file {lacking[0]}: delete it and load again")
            for file in files:
                if not (folder / file).exists():
                    os.replace(Path(aside, folder.name, file), folder / file)
    except OSError as error:
        raise unwritable(folder, error) from error


def packed(archive: Path, name: str) -> bytes:
    """What the plain file `name` of a .tar.gz archive holds. Raises `ValueError` if that cannot be read."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            file = tar.extractfile(name)
            if file is None:
                raise KeyError(f"{name} is no plain file")
            return file.read()
    except (KeyError, tarfile.TarError, OSError, zlib.error, EOFError) as error:
        raise ValueError(f"{archive}: {name} cannot be read ({error})") from error
