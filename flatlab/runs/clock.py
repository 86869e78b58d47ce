"""How long a run takes: on the wall, and in processor time, which neighbours on the machine do not lengthen."""

from __future__ import annotations

import time

__all__ = ["Clock"]


class Clock:
    """Seconds since it was made: `wall_s`, and `cpu_s` over all threads of the process; `before` is added to both."""

    def __init__(self) -> None:
        self.before = {"wall_s": 0.0, "cpu_s": 0.0}
        self._began = _now()

    def times(self) -> dict[str, float]:
        """`wall_s` and `cpu_s` up to now."""
        return {name: self.before[name] + now - self._began[name] for name, now in _now().items()}


def _now() -> dict[str, float]:
    return {"wall_s": time.perf_counter(), "cpu_s": time.process_time()}
