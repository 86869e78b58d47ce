"""The race of the chapter on training: SGD, SAM and StableSAM on digits with wrong labels, five seeds each."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from flatlab.runs.experiment import perform, record_of
from flatlab.training import Train

__all__ = ["COURSE", "ENTRANTS", "FOLDER", "SEEDS", "race", "run"]

SEEDS = (1, 42, 123, 7, 2024)
COURSE = {"data": "digits", "network": "fcn3", "label_noise": 0.3, "batch": 64, "epochs": 20}
ENTRANTS: dict[str, dict[str, Any]] = {"SGD": {}, "SGD, 40 epochs": {"epochs": 40}}
ENTRANTS |= {f"{name} {rho}": {"method": name, "rho": rho} for name in ("SAM", "StableSAM") for rho in (0.05, 0.2)}
FOLDER = Path(tempfile.mkdtemp())
"""Of the records, which last as long as the machine's temporary files."""


def run(**settings: Any) -> dict[str, Any]:
    """The record of a run on the course, which is made unless that has been done before."""
    chosen = Train(**(COURSE | settings))
    path = record_of(chosen, FOLDER)
    if not path.exists():
        perform(chosen, FOLDER)
    return json.loads(path.read_text())


def race() -> dict[str, list[dict[str, Any]]]:
    """Every entrant's records, seed by seed."""
    return {name: [run(seed=seed, **settings) for seed in SEEDS] for name, settings in ENTRANTS.items()}
