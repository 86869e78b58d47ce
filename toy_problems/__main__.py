"""Run an experiment on a toy, or many, and look at the records: `python -m toy_problems lucchi-success-rate --help`."""

from flatlab.runs.program import main

if __name__ == "__main__":
    main("python -m toy_problems", ["toy_problems"], __doc__)
