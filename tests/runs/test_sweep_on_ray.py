"""The same runs on a Ray cluster: of this machine, and of two nodes of which one dies."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import yaml
from script_orders import DONE, Quiet, script, started

from flatlab.runs.sweep.on_ray import asking, on_ray
from flatlab.runs.sweep.work import cores, work

PAGE = Path(__file__).parents[2] / "book" / "cluster.md"
KILLS_ITS_WORKER = "if not state.exists():\n    state.touch(); os.kill(os.getppid(), signal.SIGKILL); sys.exit(1)\n"
UNTIL_TOLD = (
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))\nlog.with_name('up').touch()\nwhile True: time.sleep(0.01)\n"
)
# Saves a state, says on which node it is, and waits; whoever finds that state goes on to the end.
WAITS_FOR_A_DEATH = """
if not state.exists():
    state.write_text("epoch 3")
    up = log.with_name(f"{record.stem}.{os.environ['RAY_RAYLET_PID']}.{os.getpid()}.up")
    up.with_suffix(".part").touch(); up.with_suffix(".part").rename(up)
    while not log.with_name("dead").exists(): time.sleep(0.01)
"""
HOUR = 3600
PATIENT = {
    # Of the start: on a loaded machine Ray by itself gives up after half a minute.
    "gcs_server_port_wait_time_s": HOUR,
    "worker_register_timeout_seconds": HOUR,
    "agent_register_timeout_ms": 1000 * HOUR,
    # A node is dead once its connection breaks, not where it answers slowly; and no worker is killed for others' memory.
    "health_check_timeout_ms": 1000 * HOUR,
    "health_check_period_ms": 500,
    "memory_monitor_refresh_ms": 0,
}


def until(happened):
    """Return once `happened()`. What never comes fails the test, after an hour."""
    end = time.monotonic() + HOUR
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def ray(monkeypatch):
    """Ray, which waits for its own start on a loaded machine."""
    ray = pytest.importorskip("ray")
    from ray._private import services

    get_node = services.get_node

    def when_it_is_there(*address):
        found = []

        def asked():
            try:
                found.append(get_node(*address))
            except RuntimeError:
                return False
            return True

        until(asked)
        return found[0]

    monkeypatch.setattr(services, "get_node", when_it_is_there)
    for name, value in PATIENT.items():
        monkeypatch.setenv(f"RAY_{name}", str(value))
    return ray


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_a_killed_worker_costs_no_record_and_the_flag_stops_what_runs(tmp_path):
    flag = tmp_path / "stop"
    orders = [script(tmp_path, "a", KILLS_ITS_WORKER + DONE), script(tmp_path, "b", DONE)]
    with on_ray("local", 2, "", flag) as (submit, at_once, threads):
        assert threads == max(1, cores() // 2)
        outcome = work(orders, submit, at_once, lambda: False, Quiet())
        assert outcome.status == 0 and sorted(started(tmp_path)) == ["a", "a", "b"]
        assert all(order.record.exists() for order in orders)
        endless = script(tmp_path, "c", UNTIL_TOLD)
        outcome = work([endless], submit, at_once, asking((tmp_path / "up").exists, flag), Quiet())
    assert outcome.left == [endless]


@pytest.fixture
def two_nodes(ray):
    """A cluster of two nodes with a CPU each; the driver is on the first. Yields it, and its second node."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "wait": False, "include_log_monitor": False}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    try:
        second = cluster.add_node(**node)
        until(lambda: len(cluster.global_state._live_node_ids()) == 2)
        yield cluster, second
    finally:
        cluster.shutdown()


class TakesANodeDown(Quiet):
    """Kills a node with all that runs on it, once a run on each of the two has saved its state."""

    def __init__(self, cluster, node, folder):
        super().__init__()
        self.cluster, self.node, self.folder = cluster, node, folder
        self.victim = None

    def look(self):
        """Looks at the files by which the runs say where they are."""
        up = [file.name.split(".") for file in self.folder.glob("*.up")]
        if self.victim is None and len({raylet for _, raylet, *_ in up}) == 2:
            (raylet,) = (process.process.pid for process in self.node.all_processes["raylet"])
            ((self.victim, pid),) = ((name, int(pid)) for name, on, pid, _ in up if on == str(raylet))
            self.cluster.remove_node(self.node, allow_graceful=False)
            os.kill(pid, signal.SIGKILL)  # a machine takes all its processes with it
            (self.folder / "dead").touch()


@pytest.mark.slow
def test_a_sweep_on_two_nodes_of_which_one_dies_ends_with_all_records(two_nodes, tmp_path):
    cluster, second = two_nodes
    orders = [script(tmp_path, name, WAITS_FOR_A_DEATH + DONE) for name in "abc"]
    with on_ray(cluster.address, None, "", tmp_path / "stop") as (submit, at_once, threads):
        assert (at_once, threads) == (2, 1)
        watcher = TakesANodeDown(cluster, second, tmp_path)
        outcome = work(orders, submit, at_once, lambda: False, watcher)
    assert outcome.status == 0 and all(order.record.exists() for order in orders)
    assert watcher.victim and sorted(started(tmp_path)) == sorted([*"abc", watcher.victim]), "only its run began again"


def test_the_pages_cluster_is_one_that_rays_launcher_takes(ray):
    from ray.autoscaler._private.util import prepare_config, validate_config

    (text,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    validate_config(prepare_config(yaml.safe_load(text)))


def test_without_ray_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match="its extra `ray`"), on_ray("local", 1, "", tmp_path / "stop"):
        pass
