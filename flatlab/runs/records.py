"""A run is one record: what was asked, what came out, and where, when and with what it was run."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from flatlab.runs.atomic_write import atomic_write
from flatlab.runs.frame import to_frame

__all__ = ["describe", "find", "key", "only", "out", "path", "provenance", "read", "save", "to_frame"]

UNFINISHED = ".unfinished"
"""Folder, among those of the records, of the states of runs that have not ended."""
WEIGHTS = ".safetensors"
"""How the name of the file of trained weights ends; it begins as the record's."""
LIBRARIES = ("torch", "numpy", "scikit-learn")


def key(config: dict) -> str:
    """Twelve hexadecimal digits that stand for `config`, whatever the order of its fields.

    >>> key({"lr": 0.1, "rho": 0.2}) == key({"rho": 0.2, "lr": 0.1})
    True
    """
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def provenance() -> dict:
    """Code version, libraries, machine and time (UTC) of a run that ends now."""
    return {
        "commit": _commit(),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "hardware": f"{_processor()}, {os.cpu_count()} cores",
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def out() -> Path:
    """The folder of the records unless another is given: `$FLATLAB_RUNS`, else `book/results`."""
    return Path(os.environ.get("FLATLAB_RUNS") or "book/results").expanduser()


def path(folder: str | Path, experiment: str, config: dict) -> Path:
    """Where the record of these settings lies, or would."""
    return Path(folder) / experiment / f"{key(config)}.json"


def save(
    folder: str | Path,
    experiment: str,
    config: dict,
    result: dict,
    *,
    wall_s: float,
    cpu_s: float,
    command: str,
    trained: str | None = None,
) -> Path:
    """Write the record `folder/experiment/key.json` in one move, so that a reader never meets half of it.

    `wall_s` is the run's wall time in seconds, `cpu_s` the processor time of all its threads, which neighbours on the
    machine do not lengthen; `command` is the command line that makes the record again; `trained` is the name of the file
    with the trained weights, beside the record.
    """
    record = {
        "experiment": experiment,
        "key": key(config),
        "config": config,
        "command": command,
        "wall_s": round(wall_s, 2),
        "cpu_s": round(cpu_s, 2),
        "provenance": provenance(),
        "result": result,
    } | ({} if trained is None else {"trained": trained})
    place = path(folder, experiment, config)
    atomic_write(place, json.dumps(record, separators=(",", ":"), allow_nan=False).encode())
    return place


def read(file: str | Path) -> dict:
    """The record in that file. Raises `ValueError`, naming the file and the remedy, if it is none that is whole."""
    try:
        record = json.loads(Path(file).read_text())
        if not (isinstance(record["config"], dict) and isinstance(record["result"], dict)):
            raise TypeError("config and result must be objects")
        datetime.fromisoformat(record["provenance"]["finished"])
        for name in ("key", "command", "wall_s"):
            record[name]
        return record
    except (ValueError, KeyError, TypeError, OSError) as error:
        lacks = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{file} is no record ({lacks}): delete it or move it away, and run it anew") from None


def find(folder: str | Path, experiment: str, **config: object) -> list[dict]:
    """The records of an experiment whose config has these values, oldest first; none where nothing fits.

    A value of None also fits a config without that field. Raises `ValueError`, naming the file, where one is damaged or
    of a version that left out what belongs to a record.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for lr in (0.1, 0.2):
    ...         file = save(folder, "toy", {"lr": lr}, {"loss": 10 * lr}, wall_s=0.0, cpu_s=0.0, command="")
    ...     [r["result"] for r in find(folder, "toy", lr=0.2)], len(find(folder, "toy")), find(folder, "toy", lr=0.3)
    ([{'loss': 2.0}], 2, [])
    """
    records = (read(file) for file in (Path(folder) / experiment).glob("*.json"))
    fitting = [r for r in records if all(r["config"].get(k) == v for k, v in config.items())]
    return sorted(fitting, key=lambda r: r["provenance"]["finished"])


def only(folder: str | Path, experiment: str, **config: object) -> dict:
    """The one record of an experiment whose config has these values.

    Raises `LookupError`, naming folder and query, if there is none or more than one.
    """
    fitting = find(folder, experiment, **config)
    if len(fitting) != 1:
        wanted = "".join(f", {k}={v}" for k, v in config.items())
        number, place = len(fitting) or "no", Path(folder).resolve()
        names = {k: None for r in fitting for k, v in r["config"].items() if any(o["config"].get(k) != v for o in fitting)}
        differ = f"; they differ in {', '.join(names)}" if names else ""
        raise LookupError(f"{number} records of {experiment}{wanted} under {place}, wanted one{differ}")
    return fitting[0]


def describe(record: dict) -> str:
    """A record's provenance in words: key, settings, code, machine, time it took, and the command that makes it again."""
    p = record["provenance"]
    settings = ", ".join(f"{k} {_short(v)}" for k, v in record["config"].items())
    libraries = ", ".join(f"{name} {version}" for name, version in p["libraries"].items())
    device = record["result"].get("device", "cpu") if isinstance(record["result"], dict) else "cpu"
    machine = p["hardware"] if device == "cpu" else f"{device}, {p['hardware']}"
    return (
        f"Record {record['experiment']}/{record['key']}: {settings}. Code {p['commit']}; {libraries}; {machine}; "
        f"{record['wall_s']:.0f} s on {p['finished'][:10]}. Again: {record['command']}"
    )


def _short(value: object) -> str:
    return "/".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _commit() -> str:
    def git(*words):
        return subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True)

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # an environment inside another repository is not ours
        return git("describe", "--always", "--dirty", "--abbrev=10").stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return f"flatlab {metadata.version('flatlab')}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
