"""A row can be checked: from its records, by its test, and from runs that are made once more."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from book import evidence, ledger, rerun, verify
from book.finding import RESULTS

ROOT = Path(__file__).parents[2]


def run(*words, **environment):
    """The command as a user has it."""
    command = [sys.executable, "-m", "book.verify", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment})


@pytest.mark.slow
def test_a_row_that_its_records_contradict_is_told(capsys, monkeypatch):
    claim = "fa/table-1-time"
    assert verify.main([claim]) == 0 and f"agrees: {len(evidence.read_for(claim))} records" in capsys.readouterr().out
    wrong = [row | {"verdict": "held"} if row["id"] == claim else row for row in ledger.claims()]
    monkeypatch.setattr(ledger, "claims", lambda: wrong)
    assert verify.main([claim]) == 1 and "DIFFERS" in capsys.readouterr().out


def test_the_commands_of_its_records_can_be_run_again(capsys):
    assert verify.main(["fa/table-1-time", "--commands"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(evidence.read_for("fa/table-1-time"))
    assert all(line.startswith("python -m flatlab train --data cifar100 ") for line in lines)


def test_runs_of_hours_wait_until_they_are_asked_for(capsys, tmp_path):
    """How long all take and how to ask stand in the one line; nothing is run."""
    with pytest.raises(SystemExit) as refused:
        verify.main(["stable-sam/figure-5-tandem", "--rerun", "--minutes", "1", "--out", str(tmp_path)])
    told = capsys.readouterr().err.splitlines()[-1]
    whole = rerun.minutes(evidence.read_for("stable-sam/figure-5-tandem"))
    assert refused.value.code == 2 and whole > 120 and not list(tmp_path.iterdir())
    assert f"about {rerun.how_long(whole)} of one core, with --minutes {whole + 1:.0f}" in told


def test_no_run_of_a_gpu_is_made_again():
    on_gpu = [r for r in evidence.every("train") if r["result"]["device"].startswith("NVIDIA")]
    assert on_gpu and rerun.within(on_gpu, 1e9) == []


def test_a_row_without_records_has_nothing_to_make_again(capsys):
    with pytest.raises(SystemExit):
        verify.main(["stable-sam/theorem-10", "--rerun"])
    assert capsys.readouterr().err.splitlines()[-1].endswith("is not computed from records")


@pytest.mark.slow
def test_runs_made_again_give_the_verdict_of_the_row(tmp_path):
    """With the same numbers, and what has been made is not made twice."""
    told = run("nonuniformity/figure-2-connected-region", "--rerun", "--out", tmp_path)
    assert told.returncode == 0, told.stderr
    assert "agrees: 1 of 1 records made anew" in told.stdout
    (file,) = tmp_path.rglob("*.json")
    before = file.stat().st_mtime_ns
    (record,) = evidence.read_for("nonuniformity/figure-2-connected-region")
    assert rerun.again(record, tmp_path)["config"] == record["config"] and file.stat().st_mtime_ns == before


@pytest.mark.slow
def test_new_records_decide_in_the_place_of_the_stored_ones(tmp_path):
    """Had SGD learnt nothing at a rate of 0.2, either, SAM would not be alone there."""
    read = evidence.read_for("stable-sam/sam-training-unstable")
    wanted = {"method": "plain", "lr": 0.2, "seed": 1}
    (record,) = [r for r in read if all(r["config"][k] == v for k, v in wanted.items())]
    changed = json.loads(json.dumps(record))
    changed["result"]["final"]["accuracy"] = 0.1
    file = tmp_path / "train" / f"{record['key']}.json"
    file.parent.mkdir()
    file.write_text(json.dumps(changed))
    stored = ledger.found("stable-sam/sam-training-unstable")
    found = rerun.decided("stable-sam/sam-training-unstable", [changed], tmp_path)
    assert found[1] != stored.words and rerun.decided("stable-sam/sam-training-unstable", [], tmp_path) == stored[:3]


@pytest.mark.slow
def test_a_record_that_cannot_be_read_is_named_in_a_line(tmp_path):
    for folder in RESULTS.iterdir():
        (tmp_path / folder.name).symlink_to(folder)
    (tmp_path / "split_shift").unlink()
    (tmp_path / "split_shift").mkdir()
    (tmp_path / "split_shift" / "0123456789ab.json").write_text('{"half": ')
    told = run("stable-sam/no-augmentation-small-shift", FLATLAB_EVIDENCE=str(tmp_path))
    assert told.returncode == 2 and "Traceback" not in told.stderr
    assert "0123456789ab.json is no record" in told.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_row_with_a_test_runs_it_and_an_unknown_id_names_the_nearest():
    proved, unknown = run("fa/hutchinson"), run("fa/hutchinsons")
    assert proved.returncode == 0 and "passes" in proved.stdout
    assert unknown.returncode == 2 and "the nearest is fa/hutchinson" in unknown.stderr.splitlines()[-1]
