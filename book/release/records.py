"""The records as one table, and the schema of a row."""

from __future__ import annotations

import csv
from typing import IO, Any

from book.finding import RESULTS, Record
from flatlab.runs import records
from flatlab.runs.frame import rows

__all__ = ["columns", "every", "read_back", "schema", "table", "write"]


def every() -> list[Record]:
    """All records of the book, experiment by experiment, the oldest first."""
    return [r for folder in sorted(RESULTS.iterdir()) if folder.is_dir() for r in records.find(RESULTS, folder.name)]


def columns(table: list[dict[str, Any]]) -> dict[str, str]:
    """The names of a table's columns, and the JSON type that holds all values of each.

    >>> columns([{"a": 1, "b": 1.5}, {"a": 0.5, "c": True}, {"a": None, "c": False, "d": "x"}])
    {'a': 'number', 'b': 'number', 'c': 'boolean', 'd': 'string'}
    """
    kinds: dict[str, set[str]] = {}
    of = {bool: "boolean", int: "integer", float: "number", str: "string"}
    for row in table:
        for name, value in row.items():
            kinds.setdefault(name, set()).update({of[type(value)]} if value is not None else ())
    return {name: _whole(found) for name, found in kinds.items()}


def _whole(found: set[str]) -> str:
    return found.pop() if len(found) == 1 else "number" if found == {"integer", "number"} else "string"


def write(table: list[dict[str, Any]], file: IO[str]) -> None:
    """The table as CSV; what a record lacks stays empty, and booleans are `true` and `false`."""
    writer = csv.writer(file, lineterminator="\n")
    names = list(columns(table))
    writer.writerow(names)
    for row in table:
        values = [row.get(name) for name in names]
        writer.writerow([str(value).lower() if isinstance(value, bool) else value for value in values])


def read_back(file: IO[str], types: dict[str, str]) -> list[dict[str, Any]]:
    """The rows of such a CSV as they were, without what is empty."""
    to = {"boolean": lambda word: {"true": True, "false": False}[word], "integer": int, "number": float, "string": str}
    return [{k: to[types[k]](v) for k, v in row.items() if v != ""} for row in csv.DictReader(file)]


def schema(table: list[dict[str, Any]]) -> dict[str, Any]:
    """The JSON Schema of a row, whose empty cells are left out."""
    properties: dict[str, Any] = {name: {"type": kind} for name, kind in columns(table).items()}
    properties["key"]["pattern"] = "^[0-9a-f]{12}$"
    properties["provenance.finished"]["format"] = "date-time"
    properties["wall_s"]["exclusiveMinimum"] = 0
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A run of Flatlab: settings (config.), provenance, and what came out (result.)",
        "type": "object",
        "properties": properties,
        "required": ["experiment", "key", "command", "wall_s", "provenance.commit", "provenance.finished"],
        "additionalProperties": False,
    }


def table(found: list[Record]) -> list[dict[str, Any]]:
    """A row a record; without values that are null."""
    return [{k: v for k, v in row.items() if v is not None} for row in rows(found)]
