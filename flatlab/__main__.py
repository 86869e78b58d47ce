"""Run an experiment on a network, or many, and look at the records: `python -m flatlab train --help`."""

from flatlab.program import main


def run() -> None:
    """The command `flatlab`."""
    main("python -m flatlab", ["flatlab.training"], __doc__)


if __name__ == "__main__":
    run()
