"""Lucchi's saddle, and who escapes from it."""

from toy_problems.lucchi.caught import caught
from toy_problems.lucchi.experiment import LucchiSuccessRate
from toy_problems.lucchi.landscape import Lucchi
from toy_problems.lucchi.sam_saddle import SamSaddle
from toy_problems.lucchi.success_rates import SuccessRates

__all__ = ["Lucchi", "LucchiSuccessRate", "SamSaddle", "SuccessRates", "caught"]
