"""The command `sweep`: make the runs of a sweep file that have no record yet."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console

from flatlab.runs import records
from flatlab.runs.experiment import Experiment, Parser, check_out, command_of, config_of, record_of, unfinished, words
from flatlab.runs.host import device_of, on_signals
from flatlab.runs.listing import called, differing
from flatlab.runs.sweep.attempt import Order
from flatlab.runs.sweep.board import Board
from flatlab.runs.sweep.on_ray import asking, on_ray
from flatlab.runs.sweep.plan import SIZES, Plan, read
from flatlab.runs.sweep.work import Outcome, cores, local, work

__all__ = ["main", "order"]

ABOUT = """
Every run is a process of its own. One that is killed or crashes is started again, twice at most, and goes on from its
checkpoint; one that refuses its settings or whose loss is not finite is not. Ctrl-C, SIGTERM and the end of the time
budget let the running ones save their state; the same command goes on from there. Several sweeps may share a folder.

exit status: 0 all records are there, 1 some runs failed, 2 a wrong word, 3 stopped with work left
"""
SAVING = 30.0
"""Seconds before the end of the time budget at which runs are asked to stop; a tenth of a budget under five minutes."""


def main(argv: Sequence[str], experiments: Mapping[str, type[Experiment]], program: str, began: float) -> int:
    """Run a sweep as `argv` says, and return its exit status. Ends the process with 2 on a wrong word.

    The time budget counts from `began`, on the clock of `time.monotonic`.
    """
    form = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = Parser(prog=f"{program} sweep", description=__doc__, epilog=ABOUT, **form)
    add = parser.add_argument
    add("file", type=Path, help="TOML file of the sweep")
    add("--size", choices=SIZES, default="quick", help="which of the file's sizes (%(default)s)")
    add("--processes", type=int, help="runs at a time (one a GPU, else one a core)")
    add("--time-budget", type=float, metavar="MINUTES", help="stop in time, with all states saved")
    add("--ray", metavar="ADDRESS", help="run on a Ray cluster: auto, local or host:port")
    add("--device", default="auto", help="as for a single run (%(default)s)")
    add("--graph", action="store_true", help="CUDA: replay each step as one graph, in the runs where that is possible")
    add("--no-weights", action="store_true", help="keep the records alone, not the trained weights")
    add("--out", type=Path, default=records.out(), help="folder of the records ($FLATLAB_RUNS, else book/results)")
    add("--dry-run", action="store_true", help="list the commands of the missing runs, and run nothing")
    given = parser.parse_args(argv)
    if given.processes is not None and given.processes < 1:
        parser.error(f"--processes must be >= 1, got {given.processes}")
    if given.time_budget is not None and not given.time_budget > 0:
        parser.error(f"--time-budget must be > 0 minutes, got {given.time_budget}")
    try:
        if given.ray is None and (given.device != "auto" or given.graph):
            device = device_of(given.device)
            if given.graph and device.type != "cuda":
                raise ValueError(f"--graph needs a CUDA device, got {device}")
        if not given.dry_run:
            check_out(given.out)
        plan = read(given.file, given.size, experiments)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    missing = [run for run in plan.runs if not record_of(run, given.out).exists()]
    console = Console(stderr=True)
    begun = sum(unfinished(run, given.out).exists() for run in missing)
    told = f"{plan.paper}, {plan.where}, size {given.size}: {len(plan.runs)} runs, {len(plan.runs) - len(missing)} there"
    console.print(told + (f", {begun} unfinished" if begun else ""), highlight=False, markup=False, soft_wrap=True)
    if given.dry_run:
        for run in missing:
            print(command_of(run))
        return 0
    if not missing:
        return 0
    try:
        return _sweep(plan, missing, given, console, began)
    except (ImportError, ConnectionError) as error:
        parser.error(str(error))


def _sweep(plan: Plan, missing: list[Experiment], given: argparse.Namespace, console: Console, began: float) -> int:
    stop, out = threading.Event(), given.out.resolve()
    if given.time_budget is None:
        end = float("inf")
    else:
        seconds = 60 * given.time_budget
        end = began + seconds - min(SAVING, seconds / 10)

    def stopping() -> bool:
        return stop.is_set() or time.monotonic() >= end

    names = differing([config_of(run) for run in plan.runs])
    flag = unfinished(missing[0], out).with_name(f"sweep-{platform.node()}-{os.getpid()}.stop")
    with hands(given, missing[0].resumable, stopping, flag) as (submit, at_once, threads, ask):
        labels = {
            order(run, out, threads, given.graph, not given.no_weights): called(config_of(run), names) for run in missing
        }
        with Board(console, labels, len(plan.runs) - len(missing)) as board, signals(stop, board):
            outcome = work(list(labels), submit, at_once, ask, board)
    report(outcome, labels, console, "the time budget is used up" if not stop.is_set() else "stopped")
    return outcome.status


@contextmanager
def hands(given: argparse.Namespace, resumable: bool, stop: Callable[[], bool], flag: Path) -> Iterator[tuple]:
    """Who makes the runs: how to submit one, how many at a time, threads of each, and how to ask whether to stop."""
    device = given.device if resumable and given.device != "auto" else ""
    if given.ray is None:
        gpus = torch.cuda.device_count() if resumable and given.device in ("auto", "cuda") else 0
        devices = [f"cuda:{k}" for k in range(gpus)] if gpus > 1 else [device]
        at_once = given.processes or gpus or cores()
        with local(at_once, devices, stop) as submit:
            yield submit, at_once, max(1, cores() // at_once), stop
        return
    flag.parent.mkdir(parents=True, exist_ok=True)
    try:
        with on_ray(given.ray, given.processes, device, flag) as (submit, at_once, threads):
            yield submit, at_once, threads, asking(stop, flag)
    finally:
        flag.unlink(missing_ok=True)


def order(run: Experiment, out: Path, threads: int, graph: bool = False, weights: bool = True) -> Order:
    """The order of a run, as a graph where it can; it takes `threads` threads unless the user has said how many."""
    _, *module = run.program.split()
    how = ["--graph"] * (graph and run.replays) + ["--no-weights"] * (run.resumable and not weights)
    command = (sys.executable, *module, *words(run), "--out", str(out), *how)
    environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
    environment |= {k: os.environ[k] for k in ("FLATLAB_DATA",) if k in os.environ}
    # Somebody's own networks lie where they work, and a worker of a cluster works elsewhere.
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    return Order(command, tuple(environment.items()), record_of(run, out), unfinished(run, out))


@contextmanager
def signals(stop: threading.Event, board: Board) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the sweep to stop; a second one ends it without waiting for its runs to have saved."""

    def ask(number: int) -> None:
        if stop.is_set():
            board.close()
            os._exit(128 + number)
        stop.set()
        board.say("stopping: the running ones save their state; once more leaves them to it")

    with on_signals(ask):
        yield


def report(outcome: Outcome, labels: Mapping[Order, str], console: Console, why: str) -> None:
    """What failed, with its command and last lines, and what is left."""

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    for failed, ending in outcome.failed:
        say(f"\nfailed: {labels[failed]}\n  {shlex.join(failed.command)}\n  all it said: {failed.errors}")
        say("".join(f"    {line}\n" for line in ending.told.splitlines()))
    if outcome.left:
        begun = sum(order.state.exists() for order in outcome.left)
        say(f"{why}: {len(outcome.left)} left, {begun} of them begun; the same command goes on from there")
