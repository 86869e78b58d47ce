"""From the command line to a record: what is asked is checked, told, stopped and taken up again."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from flatlab import records
from flatlab.experiment import command_of, config_of, main, setting, unfinished
from flatlab.training import GradientPairs, Train

SHORT = ["--data", "digits", "--network", "logistic", "--epochs", "2", "--lr", "0.05"]
LONG = ["--data", "digits", "--network", "logistic", "--epochs", "100000", "--lr", "0.05"]


def run(*words, experiments={"train": Train}):  # noqa: B006
    main("python -m flatlab", experiments, "Run.", list(map(str, words)))


def test_the_same_command_twice_runs_once_and_again_runs_anew(tmp_path, capsys):
    run("train", *SHORT, "--out", tmp_path)
    (path,) = (tmp_path / "train").glob("*.json")
    assert capsys.readouterr().out.strip() == str(path)
    first = path.stat().st_mtime_ns
    run("train", *SHORT, "--out", tmp_path)
    told = capsys.readouterr()
    assert told.out.strip() == str(path) and "already there" in told.err and path.stat().st_mtime_ns == first
    run("train", *SHORT, "--out", tmp_path, "--again")
    assert path.stat().st_mtime_ns > first


def test_the_command_in_the_record_makes_the_record(tmp_path, capsys):
    run("train", *SHORT, "--method", "LSAM", "--k", 3, "--out", tmp_path / "one")
    (record,) = records.find(tmp_path / "one", "train")
    words = record["command"].removeprefix("python -m flatlab ").split()
    run(*words, "--out", tmp_path / "two")
    (again,) = records.find(tmp_path / "two", "train")
    assert again["key"] == record["key"] and again["result"] == record["result"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--rhoo", "0.1"], "unknown --rhoo; did you mean '--rho'"),
        (["--epochs", "many"], "epochs must be a whole number, got 'many'"),
        (["--evaluate-train", "maybe"], "evaluate_train must be true or false, got 'maybe'"),
        (["--rho", "0.1"], "rho = 0.1 has no effect here: it needs method"),
        (["--device", "cuda:77"], "device 'cuda:77' is not there"),
        (["--device", "tpu"], "device 'tpu' is not there"),
    ],
)
def test_a_wrong_word_is_named_before_anything_runs(words, told, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        run("train", *SHORT, *words, "--out", tmp_path)
    assert ended.value.code == 2 and told in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.json"))


def test_an_unknown_setting_names_the_nearest():
    with pytest.raises(ValueError, match="train has no setting 'learning'; there are data, network, method"):
        setting(Train, {"learning": 1})
    with pytest.raises(ValueError, match="gradient_pairs has no setting 'epoch'; did you mean 'epochs'"):
        setting(GradientPairs, {"epoch": 1})


def test_only_what_differs_from_the_defaults_is_in_the_command():
    assert command_of(Train()) == "python -m flatlab train --momentum 0.9"
    assert command_of(GradientPairs(hidden=(20, 30))) == "python -m flatlab gradient-pairs --hidden 20 30"


@pytest.fixture
def start(tmp_path):
    """Starts a run that would take an hour; none outlives its test."""
    command, started = [sys.executable, "-m", "flatlab", "train", *LONG, "--out", str(tmp_path)], []

    def popen(**more):
        started.append(subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, **more))
        return started[-1]

    yield popen
    for process in started:
        process.kill()


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_with_all_saved_and_without_a_bar(number, tmp_path, start):
    process = start(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    chosen = Train(data="digits", network="logistic", epochs=100_000, lr=0.05)
    state = unfinished(chosen, tmp_path)
    wait_for(state.exists)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and out == ""
    title, stopped = err.strip().splitlines()
    assert title.startswith("logistic on digits: plain, lr 0.05, 100000 epochs, seed 1: 650 parameters")
    assert re.fullmatch(r"stopped in epoch \d+ of 100000, after step \d+ of 11; the same command goes on.*", stopped)
    assert state.exists() and not list(tmp_path.rglob("*.json"))
    assert json.dumps(config_of(chosen))


def test_at_a_terminal_there_is_one_bar_with_loss_accuracy_speed_and_time(start):
    leader, follower = pty.openpty()
    process = start(stdout=subprocess.DEVNULL, stderr=follower, stdin=follower)
    os.close(follower)
    shown, end = "", time.monotonic() + 60
    wanted = r"epoch \d+/100000\s+loss \d\.\d+\s+test \d+\.\d+%\s+[\d,]+ images/s"
    while not re.search(wanted, shown):
        assert time.monotonic() < end, shown[-2000:]
        if select.select([leader], [], [], 1)[0]:
            shown += os.read(leader, 65536).decode(errors="replace")
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # what Linux raises once the other end is closed
        while select.select([leader], [], [], 30)[0]:
            os.read(leader, 65536)
    process.wait(30)
    os.close(leader)
    assert process.returncode == 130
