"""Timings: `make bench` takes them all, `make bench PART="optimizers trainer"` some."""

import sys
from importlib import import_module

from flatlab.runs import records

PARTS = {
    "explorables": 1,
    "site": 1,
    "optimizers": 7,
    "measures": 1,
    "success_rate": 2,
    "escape": 1,
    "diagonal_network": 1,
    "trainer": 10,
    "rounding": 2,
    "sweep": 1,
}
"""Each with the minutes that it takes on two cores of a laptop, roughly."""

chosen = sys.argv[1:] or list(PARTS)
if unknown := [part for part in chosen if part not in PARTS]:
    sys.exit(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
print("Machine:", records.provenance()["hardware"])
for part in chosen:
    print(f"== {part}, about {PARTS[part]} min", flush=True)
    import_module(f"benchmarks.{part}").main()
