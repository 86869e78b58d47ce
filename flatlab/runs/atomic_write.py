"""A file that is there as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

__all__ = ["PART", "atomic_write"]

PART = ".part"
"""How the name of a half-written file ends; it begins with that of the whole one."""


def atomic_write(file: Path, content: bytes) -> None:
    """Write `file` and its folder in one move: a reader, or a run after a power cut, finds the old one or the new one.

    Raises `OSError`, naming the file, where it cannot be written; then nothing of it is left.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     atomic_write(Path(folder, "new", "file"), b"whole")
    ...     Path(folder, "new", "file").read_bytes()
    b'whole'
    """
    part = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=file.stem, suffix=PART, delete=False) as part:
            part.write(content)
            part.flush()
            os.fsync(part.fileno())
        os.chmod(part.name, 0o644)  # a temporary file is its owner's alone
        os.replace(part.name, file)
    except OSError as error:
        if part is not None:
            with contextlib.suppress(OSError):
                os.unlink(part.name)
        why = error.strerror or error
        raise OSError(
            error.errno, f"{file} could not be written ({why}): free some space, or choose another folder"
        ) from error
