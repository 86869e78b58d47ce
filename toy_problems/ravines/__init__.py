"""A sharp valley and a flat one under a penalty on the curvature."""

from toy_problems.ravines.landscape import Ravines
from toy_problems.ravines.penalized_ravines import PenalizedRavines

__all__ = ["PenalizedRavines", "Ravines"]
