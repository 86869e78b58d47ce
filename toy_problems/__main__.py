"""Run an experiment on a toy and write its record: `python -m toy_problems lucchi --help`."""

from flatlab.experiment import main
from toy_problems.diagonal_network import SparseRegression
from toy_problems.flatness_and_gap import FlatnessAndGap, Representativeness
from toy_problems.lucchi import SuccessRate
from toy_problems.mistakes import Mistakes
from toy_problems.nonuniform_minima import Escape
from toy_problems.scalar_factorization import Valley

if __name__ == "__main__":
    experiments = {"lucchi": SuccessRate, "escape": Escape, "valley": Valley, "sparse": SparseRegression}
    experiments |= {"mistakes": Mistakes}
    experiments |= {"features": FlatnessAndGap, "representativeness": Representativeness}
    main("python -m toy_problems", experiments, __doc__)
