"""What a run shows at a terminal: one bar with loss, accuracy, speed and time left; plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["Bar"]


class Bar:
    """A watcher of one run, for `Host(watch=...)`: draws at a terminal, and is quiet where there is none."""

    def __init__(self, title: str, console: Console):
        self.title, self.console = title, console
        self.bar: Progress | None = None

    @classmethod
    def for_stderr(cls, chosen: Any) -> Bar:
        """The bar of a run with these settings, on the standard error stream."""
        return cls(str(chosen.title()), Console(file=sys.stderr))

    def __call__(self, news: dict[str, Any]) -> None:
        """Take in the news of a run; one with `done` ends the bar."""
        if not self.console.is_terminal:
            return
        if self.bar is None:
            columns = (BarColumn(20), TextColumn("{task.description}"), TimeElapsedColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, console=self.console)
            self.console.print(self.title, highlight=False)
            self.task = self.bar.add_task("", total=news["epochs"] * news["steps"])
            self.bar.start()
        at = (news["epoch"] - 1) * news["steps"] + news["step"]
        told = f"epoch {news['epoch']}/{news['epochs']}  loss {news['loss']:.4f}"
        if "accuracy" in news:
            told += f"  {news['evaluated_on']} {100 * news['accuracy']:.2f}%"
        self.bar.update(self.task, completed=at, description=f"{told}  {news['images_s']:,.0f} images/s")
        if news.get("done"):
            self.bar.stop()

    def close(self) -> None:
        """Leave the terminal as it was, also when the run ends early."""
        if self.bar is not None:
            self.bar.stop()
