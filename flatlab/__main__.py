"""Run an experiment on a network, or many, and look at the records: `python -m flatlab train --help`."""

import sys
import time

PROGRAM = "python -m flatlab"
BESIDE = {"sweep": "Make the runs of a file that have no record yet.", "runs": "List the records, and draw their curves."}


def run(argv: list[str] | None = None) -> None:
    """The command `flatlab`."""
    began = time.monotonic()
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["runs"]:
        from flatlab import runs  # without torch: it answers at once

        return runs.main(argv[1:], PROGRAM)
    from flatlab.experiment import main
    from flatlab.training import GradientPairs, LocalGradients, LossPlane, Minimum, NetworkSlice, Train, Twins

    experiments = {"train": Train, "minimum": Minimum, "twins": Twins, "gradient-pairs": GradientPairs}
    experiments |= {"local-gradients": LocalGradients, "loss-plane": LossPlane, "network-slice": NetworkSlice}
    if argv[:1] == ["sweep"]:
        from flatlab.sweep.command import main as sweep

        sys.exit(sweep(argv[1:], experiments, PROGRAM, began))
    main(PROGRAM, experiments, __doc__, argv, BESIDE)


if __name__ == "__main__":
    run()
