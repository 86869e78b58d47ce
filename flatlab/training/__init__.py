"""One training run of a network: its settings, and the engine."""

from flatlab.training.train import Train

__all__ = ["Train"]
