"""The command: a file of the book end to end, the time budget, and what it says."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from script_orders import script

from flatlab.runs import program
from flatlab.runs.sweep import attempt, command
from flatlab.studies import GradientPairs
from flatlab.training import Train

FILE = Path(__file__).parents[2] / "book" / "nonuniformity" / "sweeps" / "nonuniformity_table_1.toml"
EXPERIMENTS = {"train": Train}


def sweep(*words, file=FILE, size="smoke"):
    argv = [str(file), "--size", size, *map(str, words)]
    return command.main(argv, EXPERIMENTS, "python -m flatlab", time.monotonic())


def test_a_sweep_without_weights_says_so_to_the_runs_that_would_keep_some(tmp_path):
    wanted = {cls: command.order(cls(), tmp_path, 1, weights=False).command for cls in (Train, GradientPairs)}
    assert wanted[Train][-1] == "--no-weights" and "--no-weights" not in wanted[GradientPairs]
    assert "--no-weights" not in command.order(Train(), tmp_path, 1).command


def test_steps_are_replayed_as_graphs_in_the_runs_whose_steps_can_be(tmp_path):
    replayed = {run: command.order(run, tmp_path, 1, graph=True).command[-1] == "--graph" for run in (
        Train(), Train(method="SAM"), Train(method="LSAM"), Train(fa=0.1), Train(precision="fp16"), GradientPairs(),
    )}  # fmt: skip
    assert list(replayed.values()) == [True, True, False, False, False, False]
    assert "--graph" not in command.order(Train(), tmp_path, 1).command


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_graphs_without_a_gpu_are_refused_before_anything_runs(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        sweep("--out", tmp_path, "--graph")
    assert "--graph needs a CUDA device, got cpu" in capsys.readouterr().err and not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_smoke_sweep_finishes_although_one_of_its_runs_is_killed(tmp_path, monkeypatch, capsys):
    children = []

    class Remembered(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            children.append(self)
            if len(children) == 1:
                threading.Timer(0.2, self.kill).start()

    monkeypatch.setattr(attempt.subprocess, "Popen", Remembered)
    assert sweep("--out", tmp_path, "--processes", 2, "--device", "cpu") == 0
    records = [json.loads(file.read_text()) for file in (tmp_path / "train").glob("*.json")]
    assert sorted(record["config"]["method"] for record in records) == ["ASAM", "CSAM", "SAM"]
    assert len(children) == 4 and children[0].returncode == -9
    said = capsys.readouterr().err
    assert "3 runs, 0 there" in said and "killed by SIGKILL, starting it again" in said and "3/3 done" in said
    assert sweep("--out", tmp_path) == 0 and len(children) == 4, "nothing is left to do"


def test_a_dry_run_lists_the_commands_of_what_is_missing(tmp_path, capsys):
    assert sweep("--out", tmp_path, "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[0].startswith("python -m flatlab train --data digits --network logistic --method SAM")
    assert not any(tmp_path.iterdir())


UNTIL_TOLD = (
    "signal.signal(signal.SIGTERM, lambda *_: (state.write_text('saved'), sys.exit(130)))\n"
    "state.write_text('begun')\nwhile True: time.sleep(0.01)\n"
)


@pytest.mark.slow
def test_the_time_budget_ends_the_sweep_in_time_with_all_states_saved(tmp_path, monkeypatch, capsys):
    """The runs are scripts that last for ever, so that the budget may be seconds."""
    monkeypatch.setattr(command, "order", lambda run, out, threads, *how: script(out, run.method, UNTIL_TOLD))
    began = time.monotonic()
    assert sweep("--out", tmp_path, "--processes", 2, "--time-budget", 0.05) == 3
    assert 2.6 < time.monotonic() - began < 5, "3 seconds, and what a busy machine adds"
    states = [file.read_text() for file in tmp_path.rglob("*.safetensors")]
    assert states == ["saved", "saved"]
    assert "the time budget is used up: 3 left, 2 of them begun" in capsys.readouterr().err


def test_a_failed_run_is_named_with_its_command_and_what_it_said(tmp_path, monkeypatch, capsys):
    dies = "print('the reason', file=sys.stderr); sys.exit(2)"
    monkeypatch.setattr(command, "order", lambda run, out, threads, *how: script(out, run.method, dies))
    assert sweep("--out", tmp_path, "--processes", 3) == 1
    said = capsys.readouterr().err
    assert said.count("failed: method") == 3 and "the reason" in said and str(tmp_path / "log") in said


@pytest.mark.slow
def test_a_toy_is_swept_as_a_network_is(tmp_path, capsys):
    file = tmp_path / "valley.toml"
    head = 'paper = "p"\nwhere = "w"\nabout = "a"\nexperiment = "factorization-valley"\n'
    file.write_text(head + "[sizes.smoke]\nn = 20\nbatch = 10\nsteps = 4\nseeds = 1\nspacing = 2\nrho = [0.1, 0.2]\n")
    with pytest.raises(SystemExit) as ended:
        words = ["sweep", str(file), "--size", "smoke", "--out", str(tmp_path), "--processes", "1"]
        program.main("python -m toy_problems", ["toy_problems"], "", words)
    assert ended.value.code == 0, capsys.readouterr().err
    made = [json.loads(file.read_text()) for file in (tmp_path / "factorization_valley").glob("*.json")]
    assert sorted(record["config"]["rho"] for record in made) == [0.1, 0.2]
    assert all(record["command"].startswith("python -m toy_problems factorization-valley --n 20") for record in made)


def test_on_a_cluster_a_run_takes_the_threads_that_the_cluster_sets_aside(tmp_path, monkeypatch):
    """Not a share of the cores of the machine that deals the runs out."""

    class Dealt(Exception):
        pass

    def order(run, out, threads, *how):
        raise Dealt(threads)

    monkeypatch.setattr(command, "on_ray", lambda *_: contextlib.nullcontext((None, 12, 7)))
    monkeypatch.setattr(command, "order", order)
    with pytest.raises(Dealt, match="^7$"):
        sweep("--out", tmp_path, "--ray", "auto", "--processes", "12")


@pytest.mark.parametrize("threads, given, expected", [(2, None, "2"), (2, "5", "5")])
def test_the_cores_are_shared_out_unless_the_user_has_said_how(tmp_path, monkeypatch, threads, given, expected):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert dict(command.order(Train(), tmp_path, threads).environment)["OMP_NUM_THREADS"] == expected


def test_a_run_finds_what_lies_where_the_sweep_was_started(tmp_path, monkeypatch):
    """Also on a machine of a cluster, whose workers start elsewhere."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "mine.py").write_text("there = True")
    monkeypatch.chdir(tmp_path / "work")
    environment = dict(command.order(Train(), tmp_path, 1).environment)
    code, elsewhere = "import flatlab, mine; print(mine.there)", os.environ | environment
    told = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=elsewhere, capture_output=True, text=True)
    assert told.stdout == "True\n", told.stderr


@pytest.mark.parametrize(
    "words, said",
    [
        (
            ["--out", "s3://bucket/runs"],
            "records go to a folder, not to an address, got s3:/bucket/runs",
        ),
        (["--processes", "0"], "--processes must be >= 1, got 0"),
        (["--time-budget", "0"], "--time-budget must be > 0 minutes, got 0.0"),
        (["--device", "tpu"], "device 'tpu' is not there"),
        (["--out", FILE / "folder"], f"{FILE} is no folder that can be written"),
    ],
)
def test_a_wrong_word_is_named(tmp_path, capsys, words, said):
    with pytest.raises(SystemExit) as ended:
        sweep("--out", tmp_path, *words)
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        sweep("--out", tmp_path, file=tmp_path / "nowhere.toml")
    assert "no sweep file" in capsys.readouterr().err
