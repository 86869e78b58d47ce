"""One number as a product of two weights: a curved valley of minima."""

from toy_problems.scalar_factorization.experiment import PENALIZED, ValleyRuns
from toy_problems.scalar_factorization.factorization_valley import FactorizationValley
from toy_problems.scalar_factorization.landscape import ScalarFactorization

__all__ = ["PENALIZED", "FactorizationValley", "ScalarFactorization", "ValleyRuns"]
