"""The explorables of the book: one class each, live in a notebook and on a static page."""

from flatlab.widgets.ball_in_d import BallInD
from flatlab.widgets.hutchinson_dice import HutchinsonDice
from flatlab.widgets.lebesgue_lens import LebesgueLens
from flatlab.widgets.locally_constant_labels import LocallyConstantLabels
from flatlab.widgets.noise_ellipsoid import NoiseEllipsoid
from flatlab.widgets.nonuniform_minima import EscapeSwarm
from flatlab.widgets.paired_runs import PairedRuns
from flatlab.widgets.penalized_ravines import PenalizedRavines
from flatlab.widgets.reparameterize import Reparameterize
from flatlab.widgets.risk_bound import RiskBound
from flatlab.widgets.run_curves import RunCurves
from flatlab.widgets.sam_saddle import SamSaddle
from flatlab.widgets.scalar_factorization import FactorizationValley
from flatlab.widgets.sparse_race import SparseRace
from flatlab.widgets.success_rate import SuccessRates
from flatlab.widgets.training_panel import TrainingPanel

__all__ = [
    "BallInD",
    "EscapeSwarm",
    "FactorizationValley",
    "HutchinsonDice",
    "LebesgueLens",
    "LocallyConstantLabels",
    "NoiseEllipsoid",
    "PairedRuns",
    "PenalizedRavines",
    "Reparameterize",
    "RiskBound",
    "RunCurves",
    "SamSaddle",
    "SparseRace",
    "SuccessRates",
    "TrainingPanel",
]
