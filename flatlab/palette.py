"""The colours and dashes of every figure: those of the methods from their own files, all others from `palette.json`."""

from __future__ import annotations

import json
from pathlib import Path

from flatlab.methods import METHODS

__all__ = ["PALETTE", "PALETTE_FILE"]

PALETTE_FILE = Path(__file__).resolve().with_suffix(".json")  # a chapter may have imported us by a relative path
FIRST = ("GD", "SGD")
"""What stands before the methods, where an order is wanted."""


def _palette() -> dict[str, dict[str, str]]:
    rest = json.loads(PALETTE_FILE.read_text())
    for kind, looks in (("methods", "colour"), ("dashes", "dash")):
        own = {name: getattr(method, looks) for name, method in METHODS.items()}
        rest[kind] = {name: rest[kind][name] for name in FIRST} | own | rest[kind]
    return rest


PALETTE: dict[str, dict[str, str]] = _palette()
"""`methods`, `dashes` and `fates`, by name; the explorables get this in place of the file."""
