"""The records as a research object: RO-Crate 1.1 with the profile Process Run Crate 0.5."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from book.finding import Record
from book.release.project import DATA_LICENSE, about, repository

__all__ = ["crate"]

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
FORMATS = {".json": "application/json", ".csv": "text/csv"}


def crate(records: list[Record], files: dict[str, tuple[int, str]]) -> dict[str, Any]:
    """Each run as a `CreateAction`: the program at its commit, when it ran, on what, its command, and its record as result.

    `files` are all files of the release by name: their sizes in bytes and their SHA-256.
    """
    commits = sorted({r["provenance"]["commit"] for r in records})
    parts = [{"@id": name} for name in files]
    runs = [{"@id": f"#run-{r['experiment']}-{r['key']}"} for r in records]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"{about()['title']}: records and ledger",
        "description": "What five papers on flat minima report, what was found, and every run behind it.",
        "datePublished": str(about()["date-released"]),
        "license": {"@id": DATA_LICENSE},
        "conformsTo": {"@id": PROFILE},
        "author": {"@id": "#authors"},
        "publisher": {"@id": "#authors"},
        "hasPart": parts,
        "mentions": runs,
    }
    described = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        "about": {"@id": "./"},
    }
    profile = {"@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    license_of = {"@id": DATA_LICENSE, "@type": "CreativeWork", "name": "CC BY 4.0", "identifier": DATA_LICENSE}
    authors = {"@id": "#authors", "@type": "Organization", "name": about()["authors"][0]["name"], "url": repository()}
    graph = [described, root, profile, license_of, authors]
    graph += [_program(commit) for commit in commits]
    graph += [_file(name, *of) for name, of in files.items()]
    graph += [_run(r) for r in records]
    return {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}


def _program(commit: str) -> dict[str, Any]:
    return {
        "@id": f"{repository()}/tree/{commit}",
        "@type": "SoftwareApplication",
        "name": f"Flatlab at {commit}",
        "softwareVersion": commit,
        "url": repository(),
    }


def _file(name: str, size: int, digest: str) -> dict[str, Any]:
    kind = FORMATS["." + name.rsplit(".", 1)[-1]]
    return {"@id": name, "@type": "File", "name": name, "encodingFormat": kind, "contentSize": str(size), "sha256": digest}


def _run(record: Record) -> dict[str, Any]:
    p = record["provenance"]
    end = datetime.fromisoformat(p["finished"])
    versions = ", ".join(f"{name} {version}" for name, version in p["libraries"].items())
    return {
        "@id": f"#run-{record['experiment']}-{record['key']}",
        "@type": "CreateAction",
        "name": f"{record['experiment']} {record['key']}",
        "description": f"{record['command']} (on {p['hardware']}; Python {p['python']}, {versions})",
        "instrument": {"@id": f"{repository()}/tree/{p['commit']}"},
        "agent": {"@id": "#authors"},
        "startTime": (end - timedelta(seconds=record["wall_s"])).isoformat(timespec="seconds"),
        "endTime": end.isoformat(timespec="seconds"),
        "actionStatus": "http://schema.org/CompletedActionStatus",
        "result": {"@id": f"records/{record['experiment']}/{record['key']}.json"},
    }
