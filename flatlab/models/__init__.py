"""The papers' networks, by name."""

from flatlab.models.catalogue import NAMES as NAMES
from flatlab.models.catalogue import build

__all__ = ["build"]
