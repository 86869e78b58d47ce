"""Run an experiment on a network and write its record: `python -m flatlab gradient-pairs --help`."""

from flatlab.experiment import main
from flatlab.training import GradientPairs

if __name__ == "__main__":
    main("python -m flatlab", {"gradient-pairs": GradientPairs}, __doc__)
