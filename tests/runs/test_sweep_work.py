"""Runs that die, refuse, hang, are taken by others, or are stopped: the others finish and nothing is lost."""

import threading
import time

import pytest
from filelock import FileLock
from script_orders import DONE, Quiet, script, started

from flatlab.runs.sweep import attempt as attempts
from flatlab.runs.sweep.attempt import attempt, is_locked
from flatlab.runs.sweep.work import local, work

KILLED_ONCE = "if not state.exists():\n    state.touch(); os.kill(os.getpid(), signal.SIGKILL)\n"
UNTIL_TOLD = (
    "signal.signal(signal.SIGTERM, lambda *_: (state.write_text('saved'), sys.exit(130)))\n"
    "state.write_text('begun')\nwhile True: time.sleep(0.01)\n"
)


def never():
    return False


def sweep(orders, at_once=2, stop=never):
    watcher = Quiet()
    with local(at_once, [""], stop) as submit:
        return work(orders, submit, at_once, stop, watcher), watcher


def test_a_killed_run_is_started_again(tmp_path):
    orders = [script(tmp_path, "a", KILLED_ONCE + DONE), script(tmp_path, "b", DONE)]
    outcome, watcher = sweep(orders)
    assert outcome.status == 0 and sorted(started(tmp_path)) == ["a", "a", "b"]
    assert ("a", "crashed") in watcher.endings
    assert not list(tmp_path.rglob("*.claim")) and not list(tmp_path.rglob("*.stderr")), "nothing is left lying about"


def test_a_run_that_keeps_dying_is_reported_while_the_others_finish(tmp_path):
    dies = "print('what it last said', file=sys.stderr, flush=True); os.abort()\n"
    outcome, _ = sweep([script(tmp_path, "a", dies), *(script(tmp_path, name, DONE) for name in "bcd")])
    assert outcome.status == 1 and sorted(started(tmp_path)) == ["a", "a", "a", "b", "c", "d"]
    ((order, ending),) = outcome.failed
    assert order.record.stem == "a" and len(outcome.done) == 3
    assert ending.told == "killed by SIGABRT\nwhat it last said" and "last said" in order.errors.read_text()


@pytest.mark.parametrize(
    "body, told",
    [
        ("print('batch', file=sys.stderr); sys.exit(2)", "exit status 2\nbatch"),
        ("print('not finite', file=sys.stderr); sys.exit(4)", "exit status 4\nnot finite"),
        ("pass", "exit status 0, but no record at "),
    ],
)
def test_a_run_that_would_fail_again_is_not_started_again(tmp_path, body, told):
    outcome, _ = sweep([script(tmp_path, "a", body)])
    ((_, ending),) = outcome.failed
    assert started(tmp_path) == ["a"] and told in ending.told


def test_a_run_whose_exception_may_pass_is_started_again(tmp_path):
    outcome, _ = sweep([script(tmp_path, "a", "raise OSError('disk full')")])
    assert len(outcome.failed) == 1 and started(tmp_path) == ["a"] * 3


def test_a_run_that_has_its_record_is_not_started(tmp_path):
    order = script(tmp_path, "a", DONE)
    assert attempt(order).how == "done" and attempt(order).how == "done"
    assert started(tmp_path) == ["a"]


def test_a_run_that_another_process_is_at_is_waited_for(tmp_path):
    order = script(tmp_path, "a", DONE)
    order.state.parent.mkdir(parents=True)
    lock = FileLock(order.state.with_suffix(".lock"), thread_local=False)  # released by the timer
    lock.acquire()
    assert is_locked(order.state.with_suffix(".lock")) and attempt(order).how == "busy"
    threading.Timer(0.3, lock.release, kwargs={"force": True}).start()
    outcome, watcher = sweep([order])
    assert outcome.status == 0 and watcher.endings[0] == ("a", "busy") and started(tmp_path) == ["a"]


def test_two_sweeps_of_one_folder_start_no_run_twice(tmp_path):
    orders = [script(tmp_path, name, "time.sleep(0.1)\n" + DONE) for name in "abcdef"]
    got = []
    both = [threading.Thread(target=lambda: got.append(sweep(orders)[0])) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [outcome.status for outcome in got] == [0, 0]
    assert sorted(started(tmp_path)) == list("abcdef")


def test_a_stopped_sweep_lets_the_running_ones_save_and_starts_no_other(tmp_path):
    orders = [script(tmp_path, name, UNTIL_TOLD) for name in "abc"]
    outcome, _ = sweep(orders, stop=lambda: all(o.state.exists() and o.state.read_text() for o in orders[:2]))
    assert outcome.status == 3 and {order.record.stem for order in outcome.left} == {"a", "b", "c"}
    assert [order.state.exists() and order.state.read_text() for order in orders] == ["saved", "saved", False]


def test_a_run_that_does_not_stop_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(attempts, "PATIENCE", 0.3)
    order = script(tmp_path, "a", "signal.signal(signal.SIGTERM, signal.SIG_IGN); state.touch(); time.sleep(60)")
    began = time.monotonic()
    assert attempt(order, order.state.exists).how == "stopped" and time.monotonic() - began < 20


def test_runs_are_dealt_over_the_devices(tmp_path):
    orders = [script(tmp_path, name, "log.with_name(record.stem).write_text(sys.argv[5])\n" + DONE) for name in "ab"]
    with local(2, ["cuda:0", "cuda:1"], never) as submit:
        for future in [submit(order) for order in orders]:
            assert future.result().how == "done"
    assert {(tmp_path / name).read_text() for name in "ab"} == {"cuda:0", "cuda:1"}
