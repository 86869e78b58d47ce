"""Figure 1 of the nonuniformity paper, whole: five optimizers x 40 learning rates x 2,000 runs x 2,000 steps."""

import os
import time

from toy_problems.nonuniform_minima import METHODS, NonuniformEscape


def main():
    """Print the time of each method, of the five of the paper's figure and its control, and the load of the machine."""
    setting = NonuniformEscape()
    runs = setting.learning_rates * setting.runs
    print(f"Escape from the minimum at 1: {runs:,} runs of {setting.steps[-1]:,} steps a method (GD: one run a rate)")
    load, lines, began = os.getloadavg()[0], [], time.perf_counter()
    setting.run(lines.append)
    for line in lines:
        print("   " + line)
    total = time.perf_counter() - began
    beside = next(float(line.split()[-2]) for line in lines if line.startswith("SAM as published"))
    print(f"   {total:.1f} s for {len(METHODS)} methods, {total - beside:.1f} s without the published SAM")
    print(f"   load of the machine before: {load:.1f} on {os.cpu_count()} cores")
