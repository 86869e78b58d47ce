"""All timings: `make bench`."""

from benchmarks import explorables, measures, optimizers, success_rate, sweep, trainer
from flatlab import records

print("Machine:", records.provenance()["hardware"])
explorables.main()
optimizers.main()
measures.main()
success_rate.main()
trainer.main()
sweep.main()
