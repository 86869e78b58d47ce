"""Processor time is what the run itself has used, and both times go on where an earlier start ended."""

import time

import torch

from flatlab.runs.clock import Clock
from flatlab.runs.host import Host


def test_sleep_costs_wall_time_and_no_processor_time():
    clock = Clock()
    time.sleep(0.3)
    times = clock.times()
    assert times["wall_s"] >= 0.3 and times["cpu_s"] < 0.15


def test_a_resumed_run_counts_the_times_of_the_starts_before(tmp_path):
    first = Host(tmp_path / "state")
    first.clock.before = {"wall_s": 100.0, "cpu_s": 50.0}
    first.keep({"w": torch.zeros(1)}, {})
    second = Host(tmp_path / "state")
    second.kept()
    assert 100 <= second.clock.times()["wall_s"] < 110 and 50 <= second.clock.times()["cpu_s"] < 60
