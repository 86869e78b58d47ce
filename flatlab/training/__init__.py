"""Networks in training, and what is measured on the way."""

from flatlab.training.gradient_pairs import GradientPairs

__all__ = ["GradientPairs"]
