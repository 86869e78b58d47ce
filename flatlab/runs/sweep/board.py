"""What a sweep shows: a live table at a terminal, a line a run elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from flatlab.runs.listing import duration, scores, standing
from flatlab.runs.sweep.attempt import Ending, Order

__all__ = ["Board"]

SIGNS = {"done": "[green]done[/]", "failed": "[red]failed[/]", "crashed": "[red]crashed[/]", "stopped": "stopped"}


class Board(AbstractContextManager):
    """Watches a sweep of `total` runs, of which `there` have been made before; `labels` says what to call the others."""

    def __init__(self, console: Console, labels: Mapping[Order, str], there: int):
        self.console, self.labels = console, labels
        self.total, self.ready = there + len(labels), there
        self.since: dict[Order, float] = {}
        columns = (BarColumn(30), MofNCompleteColumn(), TextColumn("runs"), TimeElapsedColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console)
        self.task = self.bar.add_task("", total=self.total, completed=there)
        self.live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None

    def __enter__(self) -> Board:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.live:
            self.live.stop()

    def started(self, order: Order) -> None:
        """An attempt begins."""
        self.since[order] = time.monotonic()

    def ended(self, order: Order, ending: Ending, again: bool) -> None:
        """An attempt has ended; `again` says that there will be another."""
        self.since.pop(order)
        if ending.how == "busy":
            return
        self.ready += ending.how == "done"
        self.bar.update(self.task, completed=self.ready)
        told = self._scores(order) if ending.how == "done" else ending.told.splitlines()[:1]
        more = [*told, *(["starting it again"] if again else [])]
        self.console.print(
            f"{self.ready}/{self.total} {SIGNS[ending.how]}  {escape(self.labels[order])}"
            + (f": {escape(', '.join(more))}" if more else ""),
            highlight=False,
            soft_wrap=True,
        )

    def _scores(self, order: Order) -> list[str]:
        try:
            record = json.loads(order.record.read_text())
            return [*(f"{k} {v:.4f}" for k, v in scores(record).items()), duration(record["wall_s"])]
        except (ValueError, KeyError, TypeError) as error:
            return [f"damaged record {order.record} ({error})"]

    def say(self, line: str) -> None:
        """A line above the table that stays."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def look(self) -> None:
        """Draw anew."""
        if not self.live:
            return
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for order, since in self.since.items():
            table.add_row(self.labels[order], self._where(order), duration(time.monotonic() - since))
        self.live.update(Group(table, self.bar))

    def _where(self, order: Order) -> str:
        try:
            return str(standing(order.state)) if order.state.exists() else "starting"
        except ValueError:
            return ""
