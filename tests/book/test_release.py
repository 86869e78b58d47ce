"""What is written for machines is valid by its schemas and by the formats' own rules, without a network."""

import hashlib
import io
import json
import re

import jsonschema
import mlcroissant
import pytest

from book import ledger
from book.finding import RESULTS
from book.release import records
from book.release.__main__ import files

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def release():
    return files()


def test_the_ledger_is_valid_and_whole(release):
    document, schema = (json.loads(release[name]) for name in ("claims.json", "claims.schema.json"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)
    told = [(claim["id"], claim["verdict"]) for claim in document["claims"]]
    assert told == [(row["id"], row["verdict"]) for row in ledger.claims()]
    named = {name for claim in document["claims"] for name in claim["evidence"].get("records", ()) if "/" in name}
    assert {f"records/{name}.json" for name in named} <= release.keys()
    document["claims"][0]["verdict"] = "did not hold"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(document)


def test_the_table_is_valid_and_gives_the_records_back(release):
    schema = json.loads(release["records.schema.json"])
    jsonschema.Draft202012Validator.check_schema(schema)
    types = {name: column["type"] for name, column in schema["properties"].items()}
    rows = records.read_back(io.StringIO(release["records.csv"].decode()), types)
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    for row in rows:
        validator.validate(row)
    whole = records.table(records.every())
    assert len(rows) == len(whole) == len(list(RESULTS.rglob("*.json")))
    for row, own in zip(rows, whole, strict=True):
        texts = {k: str(v) if types[k] == "string" else v for k, v in own.items() if v != ""}
        assert row == texts, own["key"]


def test_the_checksums_are_whole_and_right(release):
    sums = dict(reversed(line.split("  ")) for line in release["SHA256SUMS"].decode().splitlines())
    assert sums == {name: hashlib.sha256(content).hexdigest() for name, content in release.items() if name != "SHA256SUMS"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of pandas and rdflib, inside the format's library
def test_croissant_reads_the_table(release, tmp_path):
    """By the format's own library: no error, no warning but that of the context's order, and the rows as they are."""
    for name in ("croissant.json", "records.csv"):
        (tmp_path / name).write_bytes(release[name])
    dataset = mlcroissant.Dataset(jsonld=tmp_path / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors and not dataset.metadata.ctx.issues.warnings
    first = next(iter(dataset.records(record_set="runs")))
    assert first["runs/key"].decode() == records.every()[0]["key"]


def test_the_crate_is_a_process_run_crate(release):
    """What RO-Crate 1.1 and Process Run Crate 0.5 ask for: each in their words, must by must; of the root the shoulds."""
    graph = {entity["@id"]: entity for entity in json.loads(release["ro-crate-metadata.json"])["@graph"]}
    assert graph["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    assert graph["ro-crate-metadata.json"]["conformsTo"]["@id"] == "https://w3id.org/ro/crate/1.1"
    root = graph["./"]
    assert {"name", "description", "datePublished", "license"} <= root.keys() and root["@type"] == "Dataset"
    assert graph[root["conformsTo"]["@id"]]["@type"] == "CreativeWork"
    publisher = graph[root["publisher"]["@id"]]
    assert publisher["@type"] == "Organization" and publisher["url"].startswith("https://")
    for part in root["hasPart"]:
        file = graph[part["@id"]]
        content = release[part["@id"]]
        assert file["@type"] == "File" and file["sha256"] == hashlib.sha256(content).hexdigest()
        assert int(file["contentSize"]) == len(content)
    runs = [graph[run["@id"]] for run in root["mentions"]]
    assert len(runs) == len(records.every())
    for run in runs:
        assert run["@type"] == "CreateAction" and graph[run["instrument"]["@id"]]["@type"] == "SoftwareApplication"
        assert graph[run["result"]["@id"]]["@type"] == "File" and run["startTime"] < run["endTime"]
        assert run["description"].startswith("python -m ")
    referred = set(re.findall(r'\{\s*"@id": "([^"]+)"\s*\}', release["ro-crate-metadata.json"].decode()))
    assert referred - graph.keys() == {"https://w3id.org/ro/crate/1.1"}


def test_codemeta_says_what_the_package_says(release):
    meta = json.loads(release["codemeta.json"])
    assert meta["@context"] == "https://w3id.org/codemeta/3.0" and meta["name"] == "flatlab"
    assert meta["license"] == "https://spdx.org/licenses/BSD-3-Clause" and any(
        "torch" in r for r in meta["softwareRequirements"]
    )


def test_the_same_ledger_gives_the_same_files(release):
    assert files() == release
