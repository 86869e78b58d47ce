"""Where the data sets live on this machine."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["data_root"]


def data_root(root: str | Path | None = None) -> Path:
    """`root` if given, else `$FLATLAB_DATA` if set, else `flatlab` in the user's cache folder.

    >>> data_root("data").as_posix()
    'data'
    """
    chosen = root or os.environ.get("FLATLAB_DATA")
    if not chosen:
        import pooch  # only this way needs it

        chosen = pooch.os_cache("flatlab")
    return Path(chosen).expanduser()
