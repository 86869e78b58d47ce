"""All timings: `make bench`."""

from benchmarks import explorables, measures, optimizers, success_rate
from flatlab import records

print("Machine:", records.provenance()["hardware"])
explorables.main()
optimizers.main()
measures.main()
success_rate.main()
