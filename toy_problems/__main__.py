"""Run an experiment on a toy, or many, and look at the records: `python -m toy_problems lucchi-success-rate --help`."""

from flatlab.runs.program import main

if __name__ == "__main__":
    # Records of the mistakes, now a study of the library, name this program.
    main("python -m toy_problems", ["toy_problems", "flatlab.studies.mistakes"], __doc__)
