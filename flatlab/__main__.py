"""Run an experiment on a network, or many, and look at the records: `python -m flatlab train --help`."""

from flatlab.runs.program import main


def run() -> None:
    """The command `flatlab`."""
    main("python -m flatlab", ["flatlab.training", "flatlab.studies"], __doc__)


if __name__ == "__main__":
    run()
