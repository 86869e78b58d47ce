"""Run an experiment on a network, or many, and look at the records: `python -m flatlab train --help`."""

import sys

from flatlab.runs.program import main


def run() -> None:
    """The command `flatlab`."""
    try:
        main("python -m flatlab", ["flatlab.training", "flatlab.studies"], __doc__)
    except KeyboardInterrupt:  # before a run begins, as while torch is imported: nothing is lost, and nothing to trace
        sys.exit(130)


if __name__ == "__main__":
    run()
