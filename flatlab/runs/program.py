"""A program: a command for each experiment of its packages, one for many runs, and one that lists the records."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

__all__ = ["main"]

BESIDE = {"sweep": "Make the runs of a file that have no record yet.", "runs": "List the records, and draw their curves."}


def main(program: str, packages: Sequence[str], about: str, argv: Sequence[str] | None = None) -> None:
    """The command line of `program`, whose experiments are those of `packages`."""
    began = time.monotonic()
    argv = sys.argv[1:] if argv is None else argv
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())  # as `python -m` has it: somebody's own networks and data lie where they work
    if argv[:1] == ["runs"]:
        from flatlab.runs import listing as runs  # without torch: it answers at once

        return runs.main(argv[1:], program)
    from flatlab.runs import experiment

    there = experiment.experiments(*packages)
    if argv[:1] == ["sweep"]:
        from flatlab.runs.sweep.command import main as sweep

        sys.exit(sweep(argv[1:], there, program, began))
    experiment.main(program, there, about, argv, BESIDE)
