"""How long a sweep of 200 finished runs takes to see that nothing is left, beside the imports that any run needs."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from flatlab.runs.experiment import config_of, record_of
from flatlab.runs.sweep.plan import read
from flatlab.training import Train

FILE = """
paper = "none"
where = "benchmark"
about = "200 runs"
experiment = "train"
[settings]
data = "digits"
network = "logistic"
method = ["SAM", "StableSAM"]
rho = [0.01, 0.02, 0.05, 0.1, 0.2]
lr = [0.1, 0.2]
seed = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
[sizes.paper]
"""


def seconds(*words):
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - began


def main():
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "sweep.toml", Path(folder) / "out"
        file.write_text(FILE)
        runs = read(file, "paper", {"train": Train}).runs
        last = {"accuracy": 0.9, "loss": 0.1, "train_loss": 0.1}
        for run in runs:
            path = record_of(run, out)
            path.parent.mkdir(parents=True, exist_ok=True)
            rest = {"wall_s": 1.0, "command": "", "provenance": {"finished": "2026-01-01T00:00:00+00:00"}}
            whole = {"experiment": "train", "key": path.stem, "config": config_of(run), "result": {"final": last}} | rest
            path.write_text(json.dumps(whole))
        began = time.perf_counter()
        found = sum(record_of(run, out).exists() for run in read(file, "paper", {"train": Train}).runs)
        inside = time.perf_counter() - began
        whole = seconds("-m", "flatlab", "sweep", str(file), "--size", "paper", "--out", str(out))
        imports = seconds("-c", "import flatlab.training")
        listing = seconds("-m", "flatlab", "runs", "--out", str(out))
    print(f"A sweep of {found} finished runs: {inside:.2f} s to read the file and find the records;")
    print(f"  the whole command {whole:.1f} s, of which imports {imports:.1f} s. `runs` lists them in {listing:.1f} s.")


if __name__ == "__main__":
    main()
