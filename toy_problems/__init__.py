"""The papers' toys: one module a toy, its landscape in closed form and the experiment of the paper's figure."""

from toy_problems.diagonal_network import DiagonalNetwork
from toy_problems.gaussian_features import GaussianFeatures
from toy_problems.lucchi import Lucchi
from toy_problems.nonuniform_minima import NonuniformMinima
from toy_problems.ravines import Ravines
from toy_problems.scalar_factorization import ScalarFactorization

__all__ = ["DiagonalNetwork", "GaussianFeatures", "Lucchi", "NonuniformMinima", "Ravines", "ScalarFactorization"]
