"""All timings: `make bench`."""

from benchmarks import explorables, optimizers, success_rate
from flatlab import records

print("Machine:", records.provenance()["hardware"])
explorables.main()
optimizers.main()
success_rate.main()
