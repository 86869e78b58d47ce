"""The papers' networks, by name."""

from flatlab.models.catalogue import NAMES as NAMES
from flatlab.models.catalogue import TITLES as TITLES
from flatlab.models.catalogue import WIDTH as WIDTH
from flatlab.models.catalogue import build

__all__ = ["build"]
