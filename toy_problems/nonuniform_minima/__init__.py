"""Two minima of one curvature whose terms disagree at one of them only."""

from toy_problems.nonuniform_minima.arrived import arrived
from toy_problems.nonuniform_minima.escape_swarm import EscapeSwarm
from toy_problems.nonuniform_minima.experiment import NonuniformEscape
from toy_problems.nonuniform_minima.landscape import METHODS, NonuniformMinima, linearized, slope, step

__all__ = ["METHODS", "EscapeSwarm", "NonuniformEscape", "NonuniformMinima", "arrived", "linearized", "slope", "step"]
