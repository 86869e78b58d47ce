"""Orders whose run is a short script: a real process that starts at once."""

import sys
from pathlib import Path

from flatlab.runs.sweep.attempt import Order

LEADING = "import os, signal, sys, time\nfrom pathlib import Path\nrecord, state, log = map(Path, sys.argv[1:4])\n"
COUNT = "with log.open('a') as f: f.write(record.stem + chr(10))\n"
DONE = "record.parent.mkdir(exist_ok=True); record.write_text('{}')\n"


def script(folder: Path, name: str, body: str) -> Order:
    """A run that first writes its name to `folder/log`; `body` knows `record`, `state` and `log`."""
    record, state = folder / "trial" / f"{name}.json", folder / ".unfinished" / "trial" / f"{name}.safetensors"
    words = (sys.executable, "-S", "-c", LEADING + COUNT + body, str(record), str(state), str(folder / "log"))
    return Order(words, (), record, state)


def started(folder: Path) -> list[str]:
    """The names of the runs as they were started."""
    return (folder / "log").read_text().split()


class Quiet:
    """Watches, and keeps how each attempt ended."""

    def __init__(self):
        self.endings = []

    def started(self, order):
        pass

    def ended(self, order, ending, again):
        self.endings.append((order.record.stem, ending.how))

    def look(self):
        pass
