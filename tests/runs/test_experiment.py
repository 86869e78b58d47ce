"""From the command line to a record: what is asked is checked, told, stopped and taken up again."""

import contextlib
import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest

from flatlab.runs import records
from flatlab.runs.experiment import (
    Experiment,
    asked,
    command_of,
    config_of,
    experiments,
    main,
    parser_of,
    perform,
    setting,
    unfinished,
)
from flatlab.runs.host import Host
from flatlab.studies import GradientPairs
from flatlab.training import Train

PACKAGES = {"python -m flatlab": ("flatlab.training", "flatlab.studies"), "python -m toy_problems": ("toy_problems",)}
MOVED = {"python -m toy_problems": ("flatlab.studies.mistakes",)}
"""Experiments whose records name a program that is no longer theirs."""
RECORDS = sorted((Path(__file__).parents[2] / "book" / "results").glob("*/*.json"))
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
        (["--precision", "fp16", "--device", "cpu"], "precision fp16 needs a CUDA device, got cpu; use bf16 here"),
        (["--every", "-1"], "every must be >= 0 minutes, got -1.0"),
        (["--examples", "5000"], "ask for 5000 of the 1437 training examples of digits"),
        (["--network", "resnet20", "--data", "breast_cancer"], "resnet20 takes images (channels, height, width)"),
        (["--network", "timm:no_such_network"], "timm"),
    ],
)
def test_a_wrong_word_is_named_before_anything_runs(words, told, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        run("train", *SHORT, *words, "--out", tmp_path)
    said = capsys.readouterr().err
    *_, last = said.splitlines()
    assert ended.value.code == 2 and told in last and last.startswith("python -m flatlab train: ")
    assert "Traceback" not in said and "usage" not in said
    assert not list(tmp_path.rglob("*.json"))


def test_a_folder_that_cannot_be_written_is_named_before_anything_runs(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended:
        run("train", *SHORT, "--out", tmp_path / "file" / "folder")
    (said,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and f"{tmp_path / 'file'} is no folder that can be written" in said


SMALL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))  # no file may grow beyond it, as on a disk that is full
from flatlab.__main__ import run
run()
"""


@pytest.mark.slow
def test_a_full_disk_is_named_in_a_line_and_nothing_half_written_is_left(tmp_path):
    words = ["train", *SHORT, "--out", str(tmp_path)]
    ended = subprocess.run([sys.executable, "-c", SMALL_DISK, *words], capture_output=True, text=True)
    *_, last = ended.stderr.splitlines()
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert re.fullmatch(
        r"python -m flatlab train: .*\.safetensors could not be written \(File too large\): free some.*", last
    )
    assert [p.name for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".lock"] == []


def test_a_run_that_another_process_is_at_is_told_in_a_line(tmp_path, capsys):
    chosen = setting(Train, {"data": "digits", "network": "logistic", "epochs": 2, "lr": 0.05})
    with Host(unfinished(chosen, tmp_path)).only_one(), pytest.raises(SystemExit) as ended:
        run("train", *SHORT, "--out", tmp_path)
    (said,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1 and "another process is at this run" in said


def test_data_that_cannot_be_fetched_are_told_in_a_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FLATLAB_DATA", str(tmp_path / "file" / "folder"))
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended:
        run("train", *SHORT, "--data", "cifar10", "--out", tmp_path)
    *_, said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1 and f"{tmp_path}/file/folder" in said and said.startswith("python -m flatlab train: ")


def test_a_damaged_record_is_not_taken_for_one_that_is_there(tmp_path, capsys):
    run("train", *SHORT, "--out", tmp_path)
    (path,) = (tmp_path / "train").glob("*.json")
    path.write_text(path.read_text()[:-9])
    with pytest.raises(SystemExit) as ended:
        run("train", *SHORT, "--out", tmp_path)
    *_, said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and f"{path} is no record" in said and "run it anew" in said


def test_a_loss_that_is_not_finite_has_a_status_of_its_own(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        run("train", *SHORT[:-1], "1e20", "--method", "SAM", "--out", tmp_path)
    *_, last = capsys.readouterr().err.splitlines()
    assert ended.value.code == 4 and "no longer finite at step" in last


@pytest.mark.parametrize(
    "words, told",
    [
        ([], "required: COMMAND"),
        (["trian"], "'trian'"),
        (["--", "runs"], "--"),
        (["--rho", "runs"], "unknown --rho"),
    ],
)
def test_a_wrong_command_is_named(words, told, capsys):
    with pytest.raises(SystemExit) as ended:
        main("python -m flatlab", {"train": Train}, "Run.", words, {"runs": "List."})
    (said,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and told in said


def test_an_unknown_setting_names_the_nearest():
    with pytest.raises(ValueError, match="train has no setting 'learning'; there are data, network, width, method"):
        setting(Train, {"learning": 1})
    with pytest.raises(ValueError, match="gradient_pairs has no setting 'epoch'; did you mean 'epochs'"):
        setting(GradientPairs, {"epoch": 1})


def test_only_what_differs_from_the_defaults_is_in_the_command():
    assert command_of(Train()) == "python -m flatlab train --momentum 0.9"
    assert command_of(GradientPairs(hidden=(20, 30))) == "python -m flatlab gradient-pairs --hidden 20 30"


@cache
def parser(program):
    return parser_of(program, experiments(*PACKAGES[program], *MOVED.get(program, ())), "")


def read(command):
    """The settings that a record's command asks for."""
    words = shlex.split(command)
    return asked(parser(" ".join(words[:3])), words[3:])[1]


@pytest.mark.parametrize("folder", sorted({file.parent.name for file in RECORDS}))
def test_the_command_of_every_record_asks_for_that_very_record(folder):
    for file in (file for file in RECORDS if file.parent.name == folder):
        record = json.loads(file.read_text())
        chosen = read(record["command"])
        assert (chosen.experiment, records.key(config_of(chosen))) == (folder, file.stem), file
        again = read(command_of(setting(type(chosen), record["config"])))
        assert records.key(config_of(again)) == record["key"], "and so does the command that it would get today"


def test_class_folder_and_command_have_one_name_in_the_program_of_their_package():
    there = [(program, name, cls) for program, package in PACKAGES.items() for name, cls in experiments(*package).items()]
    for program, name, cls in there:
        assert cls.program == program and cls.experiment == name.replace("-", "_")
    differing = {cls.__name__ for _, name, cls in there if cls.__name__.lower() != name.replace("-", "")}
    assert differing == {"SparseRegression", "ValleyRuns"}, "a landscape and an explorable have their names"
    folders = [cls.experiment for _, _, cls in there]
    assert len(set(folders)) == len(folders) and {file.parent.name for file in RECORDS} <= set(folders)


def test_what_python_performs_has_a_command_that_performs_it_again(tmp_path):
    from toy_problems.scalar_factorization import ValleyRuns

    chosen = ValleyRuns(n=20, batch=10, steps=4, seeds=1, spacing=2)
    record = json.loads(perform(chosen, tmp_path).read_text())
    words = "--n 20 --batch 10 --steps 4 --seeds 1 --spacing 2"
    assert record["command"] == f"python -m toy_problems factorization-valley {words}"
    argv = [*shlex.split(record["command"])[3:], "--out", str(tmp_path / "again")]
    main("python -m toy_problems", experiments("toy_problems"), "", argv)
    (again,) = records.find(tmp_path / "again", "factorization_valley")
    assert again["result"] == record["result"]


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


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, "the run has ended"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_with_all_saved_and_without_a_bar(number, tmp_path, start):
    process = start(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    chosen = Train(data="digits", network="logistic", epochs=100_000, lr=0.05)
    state = unfinished(chosen, tmp_path)
    wait_for(state.exists, process)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 130 and out == ""
    title, stopped = err.strip().splitlines()
    assert title.startswith("logistic on digits: plain, lr 0.05, 100000 epochs, seed 1: 650 parameters")
    assert re.fullmatch(r"stopped in epoch \d+ of 100000, after step \d+ of 11; the same command goes on.*", stopped)
    assert state.exists() and not list(tmp_path.rglob("*.json"))
    assert json.dumps(config_of(chosen))
    again = start(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    title, resumed = again.stderr.readline(), again.stderr.readline()
    at = re.search(r"epoch \d+ of 100000, after step \d+ of 11", stopped)[0]
    assert title.startswith("logistic on digits") and resumed.strip() == f"goes on in {at}"


@pytest.mark.slow
def test_at_a_terminal_there_is_one_bar_with_loss_accuracy_speed_and_time(start):
    leader, follower = pty.openpty()
    process = start(stdout=subprocess.DEVNULL, stderr=follower, stdin=follower)
    os.close(follower)
    shown = ""
    wanted = r"epoch \d+/100000\s+loss \d\.\d+\s+test \d+\.\d+%\s+[\d,]+ images/s"
    while not re.search(wanted, shown):
        assert process.poll() is None, shown[-2000:]
        if select.select([leader], [], [], 1)[0]:
            shown += os.read(leader, 65536).decode(errors="replace")
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # what Linux raises once the other end is closed
        while process.poll() is None or select.select([leader], [], [], 0)[0]:
            if select.select([leader], [], [], 1)[0]:
                os.read(leader, 65536)
    process.wait()
    os.close(leader)
    assert process.returncode == 130


def test_ctrl_c_before_a_run_begins_ends_without_a_traceback(monkeypatch):
    from flatlab import __main__ as program

    def interrupted(*words):
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "main", interrupted)
    with pytest.raises(SystemExit) as ended:
        program.run()
    assert ended.value.code == 130


def test_an_experiment_without_a_run_is_refused_before_anything_is_asked_of_it():
    class Forgotten(Experiment):
        pass

    with pytest.raises(TypeError, match="Forgotten.* abstract method '?run'?"):
        Forgotten()
