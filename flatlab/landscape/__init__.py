"""A loss on flat vectors: the one interface that toys and networks share."""

from flatlab.landscape.landscape import Landscape
from flatlab.landscape.network import Network

__all__ = ["Landscape", "Network"]
