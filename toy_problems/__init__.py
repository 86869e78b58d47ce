"""The papers' toys, a room a toy: its landscape and twin in JavaScript, its explorables, its figure's experiment."""

from toy_problems.ball_in_d import BallInD
from toy_problems.diagonal_network import DiagonalNetwork, SparseRace
from toy_problems.gaussian_features import GaussianFeatures, LocallyConstantLabels
from toy_problems.hutchinson_dice import HutchinsonDice
from toy_problems.lucchi import Lucchi, SamSaddle, SuccessRates
from toy_problems.noise_ellipsoid import NoiseEllipsoid
from toy_problems.nonuniform_minima import EscapeSwarm, NonuniformMinima
from toy_problems.one_dimensional import LebesgueLens
from toy_problems.ravines import PenalizedRavines, Ravines
from toy_problems.relu_curve import Reparameterize
from toy_problems.risk_bound import RiskBound
from toy_problems.scalar_factorization import FactorizationValley, ScalarFactorization

__all__ = [
    "BallInD",
    "DiagonalNetwork",
    "EscapeSwarm",
    "FactorizationValley",
    "GaussianFeatures",
    "HutchinsonDice",
    "LebesgueLens",
    "LocallyConstantLabels",
    "Lucchi",
    "NoiseEllipsoid",
    "NonuniformMinima",
    "PenalizedRavines",
    "Ravines",
    "Reparameterize",
    "RiskBound",
    "SamSaddle",
    "ScalarFactorization",
    "SparseRace",
    "SuccessRates",
]
