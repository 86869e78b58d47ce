"""The same attempts as tasks of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flatlab.runs.sweep.attempt import Ending, Order, attempt
from flatlab.runs.sweep.work import RETRIES, Submit, cores

__all__ = ["on_ray"]


@contextmanager
def on_ray(address: str, at_once: int | None, device: str, flag: Path) -> Iterator[tuple[Submit, int]]:
    """Join the cluster at `address` (`auto`, `local` for one on this machine, or `host:port`); yields `submit` and how
    many runs go at once: `at_once`, else one a GPU, else one a core.

    The folder of the records must be the same on all its machines. Every run is a task in a worker of its own that
    starts the run's command; Ray starts the task again when the worker is lost, and the run then goes on from its
    checkpoint. The file `flag` asks all running tasks to stop once it exists.

    Raises `ImportError` if Ray is missing, `ConnectionError` if there is no cluster.
    """
    try:
        import ray
    except ImportError:
        raise ImportError('--ray needs Ray: pip install "flatlab[ray]"') from None
    own = {"num_cpus": cores(), "include_dashboard": False} if address == "local" else {}
    ray.init(address=address, log_to_driver=False, logging_level="warning", **own)
    try:
        there = ray.cluster_resources()
        gpus, cpus = int(there.get("GPU", 0)) if device != "cpu" else 0, int(there.get("CPU", 1))
        at_once = at_once or gpus or cpus
        share = {"num_cpus": max(1, cpus // at_once), "num_gpus": min(1.0, gpus / at_once)}
        task = ray.remote(max_retries=RETRIES, max_calls=1, **share)(_attempt)
        yield lambda order: task.remote(order.on(device), str(flag)).future(), at_once
    finally:
        ray.shutdown()


def _attempt(order: Order, flag: str) -> Ending:
    return attempt(order, Path(flag).exists)


def asking(stop: Callable[[], bool], flag: Path) -> Callable[[], bool]:
    """`stop`, which makes the file `flag` when it turns true."""

    def ask() -> bool:
        if stop():
            flag.touch()
        return flag.exists()

    return ask
