"""The same attempts as tasks of a Ray cluster."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flatlab.runs.sweep.attempt import Ending, Order, attempt
from flatlab.runs.sweep.work import RETRIES, Submit, cores

__all__ = ["on_ray"]


@contextmanager
def on_ray(address: str, at_once: int | None, device: str, flag: Path) -> Iterator[tuple[Submit, int, int]]:
    """Join the cluster at `address` (`auto`, `local` for one on this machine, or `host:port`); yields `submit`, how
    many runs go at once (`at_once`, else one a GPU, else one a core) and how many threads each may take.

    The folder of the records must be the same on all its machines. Every run is a task in a worker of its own that
    starts the run's command; Ray starts the task again when the worker or its machine is lost, and the run then goes on
    from its checkpoint. The file `flag` asks all running tasks to stop once it exists.

    Raises `ImportError` if Ray is missing, `ConnectionError` if there is no cluster.
    """
    try:
        import ray
    except ImportError:
        raise ImportError("--ray needs Ray: install the package with its extra `ray`") from None
    own = {"num_cpus": cores(), "include_dashboard": False} if address == "local" else {}
    ray.init(address=address, log_to_driver=False, logging_level="warning", **own)
    try:
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if device == "cpu":
            machines = [{"CPU": there.get("CPU", 0)} for there in machines]
        at_once = at_once or int(_sum(machines, "GPU") or _sum(machines, "CPU")) or 1
        each = share(machines, at_once)
        task = ray.remote(max_retries=RETRIES, max_calls=1, **each)(_attempt)
        yield lambda order: task.remote(order.on(device), str(flag)).future(), at_once, each["num_cpus"]
    finally:
        ray.shutdown()


def share(machines: Sequence[Mapping[str, float]], at_once: int) -> dict[str, Any]:
    """The CPUs and GPUs that Ray sets aside for each of `at_once` runs: as many as there are, but every machine that
    takes part has room for a run, so that the runs of one that is lost find another.

    >>> share([{"CPU": 8}, {"CPU": 8}], 3), share([{"CPU": 8}, {"CPU": 2}], 1)
    ({'num_cpus': 4, 'num_gpus': 0}, {'num_cpus': 2, 'num_gpus': 0})
    >>> share([{"CPU": 4}, {"CPU": 8, "GPU": 2}, {"CPU": 16, "GPU": 1}], 6)
    {'num_cpus': 2, 'num_gpus': 0.5}
    """
    if gpus := _sum(machines, "GPU"):
        each = math.ceil(at_once / gpus)
        cpus = min(there.get("CPU", 0) // (there["GPU"] * each) for there in machines if there.get("GPU"))
        return {"num_cpus": max(1, int(cpus)), "num_gpus": 10_000 // each / 10_000}  # Ray counts in ten-thousandths
    sizes = [int(there["CPU"]) for there in machines if there.get("CPU")]
    fitting = (c for c in range(min(sizes, default=1), 1, -1) if sum(size // c for size in sizes) >= at_once)
    return {"num_cpus": next(fitting, 1), "num_gpus": 0}


def _sum(machines: Sequence[Mapping[str, float]], kind: str) -> float:
    return sum(there.get(kind, 0) for there in machines)


def _attempt(order: Order, flag: str) -> Ending:
    return attempt(order, Path(flag).exists)


def asking(stop: Callable[[], bool], flag: Path) -> Callable[[], bool]:
    """`stop`, which makes the file `flag` when it turns true."""

    def ask() -> bool:
        if stop():
            flag.touch()
        return flag.exists()

    return ask
