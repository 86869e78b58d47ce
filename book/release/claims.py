"""The ledger as JSON, and the schema of it."""

from __future__ import annotations

from typing import Any

from book import evidence, ledger
from book.release.project import about

__all__ = ["document", "schema"]

TEXT = {"type": "string", "minLength": 1}
MAYBE = {"type": ["string", "null"], "minLength": 1}


def document() -> dict[str, Any]:
    """All claims, each with all of its evidence: keys of the records read, test and function at their lines."""
    return {
        "title": f"{about()['title']}: the ledger",
        "version": about()["version"],
        "papers": ledger.NAMES,
        "verdicts": ledger.VERDICTS,
        "claims": [_entry(claim) for claim in ledger.claims()],
    }


def _entry(claim: dict[str, Any]) -> dict[str, Any]:
    named, read = claim["evidence"] or {}, evidence.read_for(claim["id"])
    found: dict[str, Any] = {}
    if read:
        found["records"] = [f"{r['experiment']}/{r['key']}" for r in read]
        found["queries"] = [evidence.command(query) for query in evidence.queries(read)]
    elif "record" in named:
        found["records"] = [named["record"]]
    if "test" in named:
        file, line = evidence.place_of_test(named["test"])
        found["test"] = {"name": named["test"], "file": file, "line": line}
    if claim["id"] in ledger.functions():
        file, line = ledger.place(claim["id"])
        found["function"] = {"file": file, "line": line}
    if "section" in named:
        found["section"] = named["section"]
    fields = ("id", "paper", "where", "claim", "kind", "verdict", "measured", "scale", "needs")
    return {field: claim.get(field) for field in fields} | {"evidence": found}


def schema() -> dict[str, Any]:
    """The JSON Schema of `document`."""
    place = {"type": "object", "properties": {"file": TEXT, "line": {"type": "integer", "minimum": 1}}}
    evidence_of = {
        "type": "object",
        "properties": {
            "records": {"type": "array", "minItems": 1, "items": TEXT},
            "queries": {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": "^python -m flatlab runs "}},
            "test": place | {"required": ["name", "file", "line"]},
            "function": place | {"required": ["file", "line"]},
            "section": TEXT,
        },
        "additionalProperties": False,
    }
    fields = {
        "id": {"type": "string", "pattern": "^[a-z-]+/[a-z0-9.-]+$"},
        "paper": {"enum": list(ledger.NAMES)},
        "where": TEXT,
        "claim": TEXT,
        "kind": {"enum": ["theory", "toy", "measurement", "benchmark"]},
        "verdict": {"enum": list(ledger.VERDICTS)},
        "measured": MAYBE,
        "scale": MAYBE,
        "needs": MAYBE,
        "evidence": evidence_of,
    }
    claim = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    names = {"type": "object", "additionalProperties": TEXT}
    properties = {
        "title": TEXT,
        "version": TEXT,
        "papers": names,
        "verdicts": names,
        "claims": {"type": "array", "minItems": 1, "items": claim},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The ledger of Flatlab",
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
