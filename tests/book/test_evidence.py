"""The ledger's evidence: its queries find what was read, its tests stand at their lines, and a row can be checked."""

import csv
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from book import evidence, ledger, verify
from flatlab.runs import listing

ROOT = Path(__file__).parents[2]
COMPUTED = [claim for claim in ledger.functions() if evidence.read_for(claim)]


def listed(command, file, monkeypatch):
    """The keys that such a command lists."""
    monkeypatch.chdir(ROOT)
    listing.main([*command[4:], "--csv", str(file)])
    with file.open() as text:
        return {row["key"] for row in csv.DictReader(text)}


@pytest.mark.parametrize("claim", COMPUTED[::12])
def test_the_commands_list_exactly_what_a_function_read(claim, tmp_path, monkeypatch):
    queries = evidence.queries(evidence.read_for(claim))
    found = [listed(shlex.split(evidence.command(q)), tmp_path / "runs.csv", monkeypatch) for q in queries]
    assert set().union(*found) == {r["key"] for r in evidence.read_for(claim)}
    assert [len(keys) for keys in found] == [q.found for q in queries]


def test_no_query_finds_what_was_not_read():
    for claim in COMPUTED:
        assert not any(q.others for q in evidence.queries(evidence.read_for(claim))), claim


def test_a_test_stands_at_its_line():
    for row in ledger.claims():
        if test := (row["evidence"] or {}).get("test"):
            file, line = evidence.place_of_test(test)
            assert (ROOT / file).read_text().splitlines()[line - 1].startswith(f"def {test.split('::')[1]}("), row["id"]


def test_an_unknown_test_is_named():
    with pytest.raises(LookupError, match="there is no test tests/book/test_evidence.py::nobody"):
        evidence.place_of_test("tests/book/test_evidence.py::nobody")


def test_a_row_that_its_records_contradict_is_told(capsys, monkeypatch):
    claim = "fa/table-1-time"
    assert verify.main([claim]) == 0 and f"agrees: {len(evidence.read_for(claim))} records" in capsys.readouterr().out
    wrong = [row | {"verdict": "held"} if row["id"] == claim else row for row in ledger.claims()]
    monkeypatch.setattr(ledger, "claims", lambda: wrong)
    assert verify.main([claim]) == 1 and "DIFFERS" in capsys.readouterr().out


def test_the_commands_of_its_records_can_be_run_again(capsys):
    assert verify.main(["fa/table-1-time", "--rerun"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(evidence.read_for("fa/table-1-time"))
    assert all(line.startswith("python -m flatlab train --data cifar100 ") for line in lines)


@pytest.mark.slow
def test_a_row_with_a_test_runs_it_and_an_unknown_id_names_the_nearest():
    run = lambda claim: subprocess.run(  # noqa: E731
        [sys.executable, "-m", "book.verify", claim], cwd=ROOT, capture_output=True, text=True
    )
    proved, unknown = run("fa/hutchinson"), run("fa/hutchinsons")
    assert proved.returncode == 0 and "passes" in proved.stdout
    assert unknown.returncode == 2 and "the nearest is fa/hutchinson" in unknown.stderr
