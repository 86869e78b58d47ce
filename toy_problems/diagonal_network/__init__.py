"""Sparse regression by a diagonal linear network."""

from toy_problems.diagonal_network.experiment import SparseRegression, direction
from toy_problems.diagonal_network.landscape import DiagonalNetwork, implicit_regularizer
from toy_problems.diagonal_network.sparse_race import SparseRace

__all__ = ["DiagonalNetwork", "SparseRace", "SparseRegression", "direction", "implicit_regularizer"]
