"""Run an experiment on a network and write its record: `python -m flatlab train --help`."""

from flatlab.experiment import main
from flatlab.training import GradientPairs, Train, Twins

EXPERIMENTS = {"train": Train, "twins": Twins, "gradient-pairs": GradientPairs}

if __name__ == "__main__":
    main("python -m flatlab", EXPERIMENTS, __doc__)
