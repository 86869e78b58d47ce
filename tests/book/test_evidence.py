"""The ledger's evidence: its queries find what was read, its tests stand at their lines, and a row can be checked."""

import csv
import shlex
from pathlib import Path

import pytest

from book import evidence, ledger
from flatlab.runs import listing

ROOT = Path(__file__).parents[2]


def listed(command, file, monkeypatch):
    """The keys that such a command lists."""
    monkeypatch.chdir(ROOT)
    listing.main([*command[4:], "--csv", str(file)])
    with file.open() as text:
        return {row["key"] for row in csv.DictReader(text)}


@pytest.mark.parametrize("claim", list(ledger.functions())[::12])
def test_the_commands_list_exactly_what_a_function_read(claim, tmp_path, monkeypatch):
    queries = evidence.queries(evidence.read_for(claim))
    found = [listed(shlex.split(evidence.command(q)), tmp_path / "runs.csv", monkeypatch) for q in queries]
    assert set().union(*found) == {r["key"] for r in evidence.read_for(claim)}
    assert [len(keys) for keys in found] == [q.found for q in queries]


@pytest.mark.slow
def test_no_query_finds_what_was_not_read():
    for claim in ledger.functions():
        assert not any(q.others for q in evidence.queries(evidence.read_for(claim))), claim


def test_a_test_stands_at_its_line():
    for row in ledger.claims():
        if test := (row["evidence"] or {}).get("test"):
            file, line = evidence.place_of_test(test)
            assert (ROOT / file).read_text().splitlines()[line - 1].startswith(f"def {test.split('::')[1]}("), row["id"]


def test_an_unknown_test_is_named():
    with pytest.raises(LookupError, match="there is no test tests/book/test_evidence.py::nobody"):
        evidence.place_of_test("tests/book/test_evidence.py::nobody")
