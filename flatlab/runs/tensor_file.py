"""Tensors by name in one file without pickle, and JSON beside them in the file's header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from flatlab.runs.atomic_write import atomic_write

__all__ = ["read", "write"]


def write(file: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write the file in one move. Tensors that share memory, as tied weights do, are written once for each name.

    Raises `OSError`, naming the file, where it cannot be written.
    """
    whole: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        whole[name] = own.clone() if place in seen else own
        seen.add(place)
    atomic_write(file, save(whole, {"state": json.dumps(state, allow_nan=False)}))


def read(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write` was given, on the CPU. Raises `ValueError`, saying what is wrong, for a file that it did not write.

    >>> import tempfile, torch
    >>> tied = torch.ones(2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Path(folder, "file"), {"a": tied, "b": tied}, {"epoch": 3})
    ...     read(Path(folder, "file"))
    ({'a': tensor([1., 1.]), 'b': tensor([1., 1.])}, {'epoch': 3})
    """
    try:
        with safe_open(file, "pt") as whole:
            state = json.loads(whole.metadata()["state"])
            return {name: whole.get_tensor(name) for name in whole.keys()}, state  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"it has no {error}" if isinstance(error, KeyError) else str(error)) from None
