"""The papers' networks, by name."""

from flatlab.models.catalogue import NAMES, build

__all__ = ["NAMES", "build"]
