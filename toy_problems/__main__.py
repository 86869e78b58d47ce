"""Run an experiment on a toy and write its record: `python -m toy_problems lucchi --help`."""

from flatlab.experiment import main
from toy_problems.lucchi import SuccessRate

if __name__ == "__main__":
    main("python -m toy_problems", {"lucchi": SuccessRate}, __doc__)
