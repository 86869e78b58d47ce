"""Whether a file still holds what was published, found once and remembered."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

__all__ = ["genuine"]


def genuine(path: Path, published: str, digest: Callable[[], str], proof: Callable[[], bool] = lambda: False) -> None:
    """Compare `digest()`, of what the file at `path` holds, with that of the published file.

    Where they differ, `proof()` is asked whether the file is right all the same.

    What was found right is remembered in a small file beside it, by size and times of the file, so that only the first
    look after a change costs the time of a checksum; in a folder that cannot be written, every look does. Raises
    `ValueError`, naming the file, for another digest.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name, "file")
    >>> _ = path.write_bytes(b"whole")
    >>> genuine(path, "ab", lambda: "ab")
    >>> genuine(path, "ab", lambda: 1 / 0)               # not asked again
    >>> _ = path.write_bytes(b"WHOLE")
    >>> genuine(path, "ab", lambda: "cd")
    Traceback (most recent call last):
    ValueError: .../file is damaged (its checksum is cd, the published file's is ab): delete it and load again
    """
    stat, note = path.stat(), path.with_name(f".{path.name}.genuine")
    stands = f"{published} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
    with contextlib.suppress(OSError):
        if note.read_text() == stands:
            return
    found = digest()
    if found != published and not proof():
        raise ValueError(
            f"{path} is damaged (its checksum is {found}, the published file's is {published}): delete it and load again"
        )
    with contextlib.suppress(OSError):
        note.write_text(stands)
