"""The ledger: each computed row says what its function finds, and its evidence is there."""

import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from book import evidence, finding, ledger

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "book" / "_ext"))
from ledger_page import links  # noqa: E402
from tally import tally  # noqa: E402

ROWS = {entry["id"]: entry for entry in ledger.claims()}
KEYS = ["id", "paper", "where", "claim", "kind", "verdict", "measured", "evidence"]


@pytest.mark.parametrize("claim", ledger.functions())
def test_a_row_says_what_its_function_finds(claim):
    """Where this fails, records or functions have changed: look at them, then `python -m book.ledger --write`."""
    row, found = ROWS[claim], ledger.found(claim)
    assert (row["verdict"], row["measured"], row["scale"]) == found[:3]
    experiments = {r["experiment"] for r in found.records} or {None}  # none where the paper's own numbers decide
    named = row["evidence"].get("record")
    assert (named and named.split("/")[0]) in experiments, "the records that the row names are those that were read"


def test_a_computed_row_has_a_scale_and_its_function_has_a_place():
    assert {claim for claim, row in ROWS.items() if "scale" in row} >= set(ledger.functions())
    for claim in ledger.functions():
        file, line = ledger.place(claim)
        assert re.match(r"def \w+\(", (ROOT / file).read_text().splitlines()[line - 1]), claim


def test_a_verdict_has_its_evidence():
    """What is decided names a record or a test, and both are there."""
    for claim in ROWS.values():
        assert [key for key in claim if key not in ("scale", "needs")] == KEYS, claim["id"]
        if claim["verdict"] == "not run yet":
            assert claim["measured"] is None and claim["evidence"] is None, claim["id"]
        elif claim["verdict"] in ("cannot be run", "out of scope", "cited"):
            assert claim["measured"], claim["id"]
        else:
            assert claim["verdict"] in ledger.VERDICTS, claim["id"]
            evidence = claim["evidence"]
            sources = {"record", "test"} | ({"section"} if claim["verdict"] == finding.CONTRADICTS else set())
            assert claim["measured"] and sources & set(evidence), claim["id"]
            if "record" in evidence:
                named = finding.RESULTS / evidence["record"]  # one record, or all of an experiment
                assert named.is_dir() or named.with_suffix(".json").exists(), claim["id"]
            if "test" in evidence:
                file, name = evidence["test"].split("::")
                assert f"\ndef {name}(" in (ROOT / file).read_text(), f"{claim['id']}: no test {evidence['test']}"
    assert len(ROWS) == len(ledger.claims()), "an id names one claim"


UNDECIDED = ("not run yet", "cannot be run", "out of scope", "cited")


@pytest.mark.parametrize("paper", ledger.PAPERS)
def test_what_runs_decide_says_how_large_they_were_and_what_waits_says_for_what(paper):
    """And only what others found is cited, and nothing is refuted without a test."""
    for claim in yaml.safe_load((ledger.BOOK / paper / "claims.yml").read_text()):
        verdict, name = claim["verdict"], claim["id"]
        if (claim["kind"] in ("measurement", "benchmark") and verdict not in UNDECIDED) or verdict == finding.NOT:
            assert claim.get("scale") or "test" not in claim["evidence"] and verdict == finding.CONTRADICTS, name
        assert ("needs" in claim) == (verdict == "not run yet"), name
        if verdict == "not run yet":
            sweeps = re.findall(r"(book/[\w/]+\.toml)(?: at its (\w+) size)?", claim["needs"])
            assert sweeps and "hour" in claim["needs"], name
            for sweep, size in sweeps:
                assert size in tomllib.loads((ROOT / sweep).read_text())["sizes"], f"{name}: {sweep}, size {size or 'none'}"
        if verdict in ("refuted", "empty"):
            assert "test" in claim["evidence"], name
        if verdict == finding.CITED:
            assert "citing" in claim["where"] or "citing" in claim["claim"], name


def test_writing_a_finding_keeps_all_else():
    """Verdict, words and scale of one row change; comments, order and the other rows do not; twice is as once."""
    file = ledger.BOOK / "hessian_penalty" / "claims.yml"
    text, claim = file.read_text(), "fa/table-1-time"
    changed = ledger.write(text, {claim: finding.Finding("held", "As told. " * 30, "one network", [])})
    before, after = text.split("\n\n"), changed.split("\n\n")
    (place,) = [k for k, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert before[place].startswith(f"- id: {claim}\n") and "  scale: >-\n    one network\n  evidence:" in after[place]
    assert ledger.write(changed, {claim: ledger.found(claim)}) == text


def test_a_computed_row_leads_to_its_records_and_its_function(monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/flatlab")
    row = ROWS["fa/table-1-time"]
    file, line = ledger.place(row["id"])
    app = SimpleNamespace(config=None, env=None)
    read = evidence.read_for(row["id"])
    found = dict(links(app, {**row, "evidence": {"record": "train"}}, read))
    assert found[f"{len(read)} records"] == "../records/claims/fa--table-1-time.html"
    assert found["function of the verdict"] == f"https://github.com/someone/flatlab/blob/main/{file}#L{line}"
    proved = dict(
        links(app, {**ROWS["fa/hutchinson"], "evidence": {"test": ROWS["fa/hutchinson"]["evidence"]["test"]}}, None)
    )
    assert list(proved) == ["test"] and re.search(r"/blob/main/tests/.+\.py#L\d+$", proved["test"])


@pytest.mark.parametrize("count, words", [(1, "1 contradicts itself"), (21, "21 contradict themselves"), (2, None)])
def test_a_tally_agrees_in_number(count, words):
    """In the words and in the bar; all other verdicts read the same of one claim and of several."""
    verdict = finding.CONTRADICTS if words else "held in part"
    told = tally([{"paper": "anonymous2025lsam", "verdict": verdict}] * count, "ledger.html")
    words = words or "2 held in part"
    assert f">{words}</a>" in told and f'title="{words}"' in told
