"""Where the evidence of a claim lies: its records and the query that finds them, its test and the line of it.

Addresses of pages are those within the site.
"""

from __future__ import annotations

import ast
import functools
import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from book import ledger
from book.finding import RESULTS, Record
from flatlab.runs import records
from flatlab.runs.listing import called

__all__ = [
    "Query",
    "address",
    "anchor",
    "command",
    "every",
    "findings",
    "page",
    "queries",
    "read_by",
    "read_for",
    "place_of_test",
]

ROOT = Path(__file__).parents[1]
TOLD = ("data", "network", "method", "epochs")
"""Settings that a query names where its records share them, though it could do without."""


class Query(NamedTuple):
    """Settings that find records of an experiment, how many they find, and how many of those are not meant."""

    experiment: str
    settings: dict[str, Any]
    found: int
    others: int

    def __str__(self) -> str:
        words = called({k: "none" if v is None else v for k, v in self.settings.items()}, list(self.settings))
        number = "the record" if self.found == 1 else f"all {self.found} records"
        aside = f", of which {self.others} were not read" if self.others else ""
        return f"{number} of {self.experiment}{f' with {words}' if self.settings else ''}{aside}"


def anchor(claim: str) -> str:
    """What stands behind the # in the address of a claim's row.

    >>> anchor("stable-sam/theorem-10")
    'stable-sam--theorem-10'
    """
    return claim.replace("/", "--")


def page(record: Record) -> str:
    """The page of a record."""
    return f"records/{record['experiment']}/{record['key']}.html"


def address(claim: str, read: Sequence[Record]) -> str:
    """The page of what was read for a claim: the record, or the list of the records."""
    return page(read[0]) if len(read) == 1 else f"records/claims/{anchor(claim)}.html"


@functools.cache
def every(experiment: str) -> list[Record]:
    """The records of an experiment in this repository, oldest first."""
    return records.find(RESULTS, experiment)


def read_for(claim: str) -> list[Record]:
    """The records that the function of a claim's verdict reads; none where there is no function."""
    return list(ledger.found(claim).records) if claim in ledger.functions() else []


def findings() -> dict[str, list[Record]]:
    """By the id of a claim whose verdict is computed: the records that its function reads."""
    return {claim: read_for(claim) for claim in ledger.functions()}


def read_by() -> dict[str, list[str]]:
    """By the key of a record: the claims whose verdicts are computed from it."""
    readers: dict[str, list[str]] = {}
    for claim, read in findings().items():
        for key in dict.fromkeys(r["key"] for r in read):
            readers.setdefault(key, []).append(claim)
    return readers


def queries(read: Iterable[Record]) -> list[Query]:
    """The fewest settings, and few queries, that find these records among all of this repository.

    What no query can tell from the rest is found together with it, and counted.
    """
    by: dict[str, set[str]] = {}
    for record in read:
        by.setdefault(record["experiment"], set()).add(record["key"])
    return [q for experiment, wanted in by.items() for q in _split(experiment, frozenset(wanted), depth=2)]


def command(query: Query) -> str:
    """The command that lists what a query finds.

    >>> command(Query("train", {"data": "cifar10", "fa": None, "hidden": [128, 64]}, 3, 0))
    "python -m flatlab runs train data=cifar10 fa=null 'hidden=[128, 64]'"
    """
    words = [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in query.settings.items()]
    return shlex.join(["python", "-m", "flatlab", "runs", query.experiment, *words])


@functools.cache
def _having(experiment: str) -> dict[str, dict[str, frozenset[str]]]:
    """By setting and value, as JSON: the keys of the records that have it."""
    configs = {r["key"]: r["config"] for r in every(experiment)}
    having: dict[str, dict[str, frozenset[str]]] = {}
    for name in dict.fromkeys(name for config in configs.values() for name in config):
        by: dict[str, set[str]] = {}
        for key, config in configs.items():
            by.setdefault(json.dumps(config.get(name)), set()).add(key)
        having[name] = {value: frozenset(keys) for value, keys in by.items()}
    return having


def _split(experiment: str, wanted: frozenset[str], depth: int) -> list[Query]:
    """One query, or else one for each value of the setting that parts them best, and so on."""
    best = [_one(experiment, wanted)]
    if not best[0].others or not depth:
        return best
    for values in _having(experiment).values():
        parts = [part for keys in values.values() if (part := keys & wanted)]
        if 1 < len(parts) <= 8:
            found = [q for part in parts for q in _split(experiment, part, depth - 1)]
            best = min(best, found, key=lambda qs: (sum(q.others for q in qs), len(qs)))
    return best


@functools.cache
def _one(experiment: str, wanted: frozenset[str]) -> Query:
    """The settings that all of these share, less those that need not be said, the last first."""
    shared = {name: value for name, by in _having(experiment).items() for value, keys in by.items() if wanted <= keys}
    found = _fitting(experiment, shared)
    for name in reversed([name for name in shared if name not in TOLD]):
        fewer = {k: v for k, v in shared.items() if k != name}
        if _fitting(experiment, fewer) == found:
            shared = fewer
    settings = {name: json.loads(value) for name, value in shared.items()}
    return Query(experiment, settings, len(found), len(found - wanted))


def _fitting(experiment: str, shared: dict[str, str]) -> frozenset[str]:
    having = _having(experiment)
    everything = frozenset(r["key"] for r in every(experiment))
    return everything.intersection(*(having[name][value] for name, value in shared.items()))


@functools.cache
def _lines(file: str) -> dict[str, int]:
    tree = ast.parse((ROOT / file).read_text())
    return {node.name: node.lineno for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def place_of_test(test: str) -> tuple[str, int]:
    """File and line of a test named as "tests/FILE.py::NAME". Raises `LookupError` where there is no such test."""
    file, _, name = test.partition("::")
    try:
        return file, _lines(file)[name.split("::")[-1].split("[")[0]]
    except (KeyError, OSError):
        raise LookupError(f"there is no test {test}") from None


place_of_test.__test__ = False  # it finds tests, and is none
