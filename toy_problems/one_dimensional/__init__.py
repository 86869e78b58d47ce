"""Losses of one weight with their local averages and maxima."""

from toy_problems.one_dimensional.landscape import CURVES, Curve, Rough, Step, Table, Valley, Wells
from toy_problems.one_dimensional.lebesgue_lens import LebesgueLens

__all__ = ["CURVES", "Curve", "LebesgueLens", "Rough", "Step", "Table", "Valley", "Wells"]
