"""A claim's runs made once more, in a folder of their own, and the claim decided from them in place of the stored ones."""

from __future__ import annotations

import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from book.finding import RESULTS, Record
from flatlab.runs import records

__all__ = ["again", "decided", "how_long", "minutes", "within"]

ROOT = Path(__file__).parents[1]
DECIDE = "import json, sys; from book import ledger; print(json.dumps(ledger.functions()[sys.argv[1]]()[:3]))"


def minutes(read: Iterable[Record]) -> float:
    """How long these runs took, one after the other on one core of the machine that made them."""
    return sum(r.get("cpu_s") or r["wall_s"] for r in read) / 60


def how_long(minutes: float) -> str:
    """A time in words.

    >>> how_long(0.2), how_long(51.3), how_long(555.3)
    ('a minute', '52 minutes', '9.3 hours')
    """
    if minutes < 90:
        return "a minute" if minutes <= 1 else f"{math.ceil(minutes)} minutes"
    return f"{minutes / 60:.1f} hours"


def within(read: Iterable[Record], most: float) -> list[Record]:
    """As many of these, the shortest first, as take `most` minutes together; none that a GPU made.

    >>> [r["cpu_s"] for r in within([{"cpu_s": 90.0, "result": {}}, {"cpu_s": 30.0, "result": {}}], 1.9)]
    [30.0]
    """
    chosen: list[Record] = []
    for record in sorted((r for r in read if _on_a_processor(r)), key=lambda r: minutes([r])):
        if minutes([*chosen, record]) > most:
            break
        chosen.append(record)
    return chosen


def _on_a_processor(record: Record) -> bool:
    return not isinstance(record["result"], dict) or record["result"].get("device", "cpu") == "cpu"


def again(record: Record, folder: Path) -> Record:
    """The record of the same run, made by its own command unless `folder` has it already.

    Raises `ValueError`, with the last line that the run said, if it fails or makes another record.
    """
    file = folder.resolve() / record["experiment"] / f"{record['key']}.json"
    if not file.exists():
        _, *words = shlex.split(record["command"])
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, *words, "--out", str(folder.resolve())]
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if not file.exists():
            last = (run.stderr.strip() or run.stdout.strip() or "it said nothing").splitlines()[-1]
            raise ValueError(f"no record {record['experiment']}/{record['key']} came of {record['command']}: {last}")
    return records.read(file)


def decided(claim: str, made: Iterable[Record], folder: Path) -> tuple[str, str, str]:
    """Verdict, words and scale by the claim's own function, with these records of `folder` in the place of the stored ones.

    Raises `ValueError`, with the last line that the function said, if it finds nothing.
    """
    own = {f"{r['experiment']}/{r['key']}.json" for r in made}
    with tempfile.TemporaryDirectory() as scratch:
        for file in RESULTS.glob("*/*.json"):
            name = file.relative_to(RESULTS).as_posix()
            place = Path(scratch) / name
            place.parent.mkdir(exist_ok=True)
            place.symlink_to((folder if name in own else RESULTS).resolve() / name)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "FLATLAB_EVIDENCE": scratch}
        command = [sys.executable, "-c", DECIDE, claim]
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if run.returncode:
        raise ValueError(f"{claim} cannot be decided from these records: {run.stderr.strip().splitlines()[-1]}")
    return tuple(json.loads(run.stdout))
