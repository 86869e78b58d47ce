"""The same runs on a Ray cluster of this machine."""

import sys
import time

import pytest
from script_orders import DONE, Quiet, script, started

from flatlab.runs.sweep.on_ray import asking, on_ray
from flatlab.runs.sweep.work import work

KILLS_ITS_WORKER = "if not state.exists():\n    state.touch(); os.kill(os.getppid(), signal.SIGKILL); sys.exit(1)\n"
UNTIL_TOLD = (
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))\nlog.with_name('up').touch()\nwhile True: time.sleep(0.01)\n"
)


@pytest.fixture
def patient(monkeypatch):
    """Ray waits for its own start on a loaded machine; by itself it gives up after half a minute."""
    services = pytest.importorskip("ray._private.services")
    get_node, end = services.get_node, time.monotonic() + 600  # a raylet that has died never comes

    def when_it_is_there(*address):
        while True:
            try:
                return get_node(*address)
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    monkeypatch.setattr(services, "get_node", when_it_is_there)
    for name in ("gcs_server_port_wait_time_s", "worker_register_timeout_seconds"):
        monkeypatch.setenv(f"RAY_{name}", "3600")
    monkeypatch.setenv("RAY_agent_register_timeout_ms", "3600000")  # else the raylet ends where its agents start slowly


@pytest.mark.slow
@pytest.mark.usefixtures("patient")
def test_a_killed_worker_costs_no_record_and_the_flag_stops_what_runs(tmp_path):
    flag = tmp_path / "stop"
    orders = [script(tmp_path, "a", KILLS_ITS_WORKER + DONE), script(tmp_path, "b", DONE)]
    with on_ray("local", 2, "", flag) as (submit, at_once):
        outcome = work(orders, submit, at_once, lambda: False, Quiet())
        assert outcome.status == 0 and sorted(started(tmp_path)) == ["a", "a", "b"]
        assert all(order.record.exists() for order in orders)
        endless = script(tmp_path, "c", UNTIL_TOLD)
        outcome = work([endless], submit, at_once, asking((tmp_path / "up").exists, flag), Quiet())
    assert outcome.left == [endless]


def test_without_ray_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'pip install "flatlab\[ray\]"'), on_ray("local", 1, "", tmp_path / "stop"):
        pass
