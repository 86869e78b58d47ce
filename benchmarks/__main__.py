"""All timings: `make bench`."""

from benchmarks import (
    diagonal_network,
    escape,
    explorables,
    measures,
    optimizers,
    success_rate,
    sweep,
    trainer,
)
from flatlab.runs import records

print("Machine:", records.provenance()["hardware"])
explorables.main()
optimizers.main()
measures.main()
success_rate.main()
escape.main()
diagonal_network.main()
trainer.main()
sweep.main()
