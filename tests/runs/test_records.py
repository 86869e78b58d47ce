"""Records and the command line that writes them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flatlab.runs import records


def test_a_record_is_found_again_with_all_that_belongs_to_it(tmp_path):
    path = records.save(tmp_path, "trial", {"lr": 0.1}, {"loss": 2}, wall_s=1.5, cpu_s=2.5, command="python -m trial")
    assert path == tmp_path / "trial" / f"{records.key({'lr': 0.1})}.json"
    (record,) = records.find(tmp_path, "trial", lr=0.1)
    assert record["result"] == {"loss": 2} and record["command"] == "python -m trial"
    assert (record["wall_s"], record["cpu_s"]) == (1.5, 2.5)
    assert {"commit", "libraries", "python", "hardware", "finished"} <= set(record["provenance"])
    assert record["key"] in records.describe(record) and "python -m trial" in records.describe(record)
    assert [p.name for p in path.parent.iterdir()] == [path.name], "no half-written file is left"


def test_what_is_not_there_is_an_empty_list_and_what_was_asked_for_as_one_is_named(tmp_path):
    assert records.find(tmp_path, "trial") == []
    for lr, rho in ((0.1, 1), (0.1, 2), (0.3, 1)):
        records.save(tmp_path, "trial", {"lr": lr, "rho": rho}, {}, wall_s=0, cpu_s=1, command="")
    assert records.find(tmp_path, "trial", lr=0.2) == [] and len(records.find(tmp_path, "trial", lr=0.1)) == 2
    assert records.only(tmp_path, "trial", lr=0.3)["config"]["lr"] == 0.3
    with pytest.raises(LookupError, match=rf"no records of trial, lr=0.2, rho=1 under {tmp_path}, wanted one"):
        records.only(tmp_path, "trial", lr=0.2, rho=1)
    with pytest.raises(LookupError, match=r"2 records of trial, lr=0.1 under"):
        records.only(tmp_path, "trial", lr=0.1)


def test_a_record_that_is_broken_or_of_an_older_version_is_named_with_the_remedy(tmp_path):
    path = records.save(tmp_path, "trial", {"lr": 0.1}, {}, wall_s=0, cpu_s=1, command="")
    whole = json.loads(path.read_text())
    del whole["provenance"]
    for text, why in (
        (path.read_text()[:50], "Unterminated|Expecting"),
        (json.dumps(whole), "it has no 'provenance'"),
        ("[]", ""),
    ):
        path.write_text(text)
        with pytest.raises(
            ValueError, match=rf"{path} is no record \(.*({why}).*\): delete it or move it away, and run it anew"
        ):
            records.find(tmp_path, "trial")


def test_not_a_number_never_reaches_a_record(tmp_path):
    with pytest.raises(ValueError, match="[Nn]a[Nn]|JSON"):
        records.save(tmp_path, "trial", {"lr": 0.1}, {"loss": float("nan")}, wall_s=0, cpu_s=1, command="")


def run(*words):
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_the_command_in_a_record_makes_the_same_record_again(tmp_path):
    options = ["--data", "digits", "--hidden", "8", "4", "--epochs", "1", "--batch", "300", "--windows", "1"]
    first = run("flatlab", "gradient-pairs", "--out", str(tmp_path), *options)
    assert first.returncode == 0, first.stderr
    record = json.loads(Path(first.stdout.strip()).read_text())
    words = record["command"].split()
    assert words[:2] == ["python", "-m"]
    again = run(*words[2:], "--out", str(tmp_path / "again"))
    assert json.loads(Path(again.stdout.strip()).read_text())["result"] == record["result"]


@pytest.mark.slow
def test_a_wrong_setting_on_the_command_line_is_named():
    wrong = run("flatlab", "gradient-pairs", "--rho", "-1")
    assert wrong.returncode == 2 and "rho must be >= 0, got -1.0" in wrong.stderr
