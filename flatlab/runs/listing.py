"""The records in a folder at a glance: `python -m flatlab runs --help`."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from safetensors import SafetensorError, safe_open

from flatlab.runs.frame import write_csv
from flatlab.runs.nearest import nearest
from flatlab.runs.records import UNFINISHED, out, read

__all__ = ["Folder", "Standing", "called", "differing", "main", "scores", "standing"]

FIRST = ("accuracy", "loss", "train_loss", "test_accuracy")
CURVES_AT_ONCE = 6
MARKERS = "ox+*#%"
LEAST_SETTING = 30
"""Characters that a column of all settings has at least."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Standing:
    """Where an unfinished run stands: epochs done, the settings if the checkpoint holds them, seconds so far."""

    key: str
    epoch: int
    config: dict[str, Any]
    seconds: float

    def __str__(self) -> str:
        of = f" of {self.config['epochs']}" if "epochs" in self.config else ""
        return f"epoch {self.epoch}{of}, {duration(self.seconds)} so far"


@dataclass(frozen=True)
class Folder:
    """What lies in a folder of records of one experiment. `damaged` holds a line on each file that could not be read."""

    experiment: str
    records: list[Record]
    unfinished: list[Standing]
    damaged: list[str]

    @classmethod
    def of(cls, out: Path, experiment: str) -> Folder:
        """Read it, oldest record first."""
        records, unfinished, damaged = [], [], []
        for file in sorted((out / experiment).glob("*.json")):
            try:
                records.append(read(file))
            except ValueError as error:
                damaged.append(str(error))
        for file in sorted((out / UNFINISHED / experiment).glob("*.safetensors")):
            try:
                unfinished.append(standing(file))
            except ValueError as error:
                damaged.append(str(error))
        records.sort(key=lambda r: r["provenance"]["finished"])
        return cls(experiment, records, unfinished, damaged)


def standing(file: Path) -> Standing:
    """What a checkpoint's header says. Raises `ValueError`, naming the file, if it is damaged."""
    try:
        with safe_open(file, "np") as whole:
            state = json.loads(whole.metadata()["state"])
        # Twins keep one state each; the second is behind.
        epoch = state["epoch"] if "epoch" in state else state["b"]["epoch"]
        return Standing(file.stem, epoch, state.get("config", {}), state["times"]["wall_s"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is no checkpoint ({error}); delete it to start anew") from None


def differing(configs: Sequence[dict[str, Any]]) -> list[str]:
    """The names of the settings that are not the same in all `configs`, in their order.

    >>> differing([{"lr": 0.1, "rho": 0.1}, {"lr": 0.1, "rho": 0.2}, {"lr": 0.1}])
    ['rho']
    """
    names = dict.fromkeys(name for config in configs for name in config)
    return [name for name in names if any(c.get(name) != configs[0].get(name) for c in configs)]


def called(config: dict[str, Any], names: Sequence[str]) -> str:
    """Those settings of `config` in words.

    >>> called({"lr": 0.1, "method": "SAM", "seed": 1}, ["method", "seed"])
    'method SAM, seed 1'
    """
    return ", ".join(f"{name} {shown(config[name])}" for name in names if name in config) or "the only run"


def shown(value: Any) -> str:
    """A value of a table."""
    if isinstance(value, list | tuple):
        return "/".join(map(str, value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(59), duration(125), duration(7500)
    ('59 s', '2 min 5 s', '2 h 5 min')
    """
    s = round(seconds)
    return f"{s} s" if s < 60 else f"{s // 60} min {s % 60} s" if s < 3600 else f"{s // 3600} h {s % 3600 // 60} min"


def scores(record: Record) -> dict[str, float]:
    """The last epoch's scores, the most telling first."""
    result = record["result"]
    last = result.get("final") or (result.get("scores") or [{}])[-1]
    names = [n for n in FIRST if n in last] or [n for n, v in last.items() if isinstance(v, float)][:3]
    return {name: last[name] for name in names}


def curves(record: Record) -> dict[str, list[tuple[float, float]]]:
    """The points (epoch, value) of all that a record has a list of, by name."""
    out: dict[str, list[tuple[float, float]]] = {}
    for points in record["result"].values():
        if isinstance(points, list):
            for k, point in enumerate(points):
                for name, value in point.items() if isinstance(point, dict) else ():
                    if name != "epoch" and isinstance(value, int | float):
                        out.setdefault(name, []).append((point.get("epoch", k + 1), value))
    return out


def main(argv: Sequence[str], program: str = "python -m flatlab") -> None:
    """List the records under a folder: `argv` as `--help` says. Ends the process with 2 on a wrong word."""
    parser = argparse.ArgumentParser(prog=f"{program} runs", description=__doc__, allow_abbrev=False)
    parser.add_argument("words", nargs="*", metavar="EXPERIMENT | SETTING=VALUE", help="only these")
    parser.add_argument("--out", default=out(), type=Path, help="folder of the records ($FLATLAB_RUNS, else book/results)")
    parser.add_argument("--sort", default="date", help="date, wall, a setting or a score (%(default)s)")
    parser.add_argument("--reverse", action="store_true", help="largest first")
    over = "mean ± standard deviation of the runs that differ in this setting alone, as seed"
    parser.add_argument("--over", metavar="SETTING", help=over)
    parser.add_argument("--csv", metavar="FILE", help="write them as CSV, - to the standard output, in place of tables")
    parser.add_argument("--curve", help=f"draw this curve of the first {CURVES_AT_ONCE} runs, as accuracy or distance")
    given = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160)
    try:
        show(console, given)
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, ImportError, OSError) as error:
        parser.error(str(error))


def show(console: Console, given: argparse.Namespace) -> None:
    """The tables that `main` was asked for. Raises `ValueError` for what is not there, with the nearest that is."""
    if given.curve:
        plotting()
    wanted = dict(word.split("=", 1) for word in given.words if "=" in word)
    named = [word.replace("-", "_") for word in given.words if "=" not in word]
    there = sorted({p.name for place in (given.out, given.out / UNFINISHED) for p in place.glob("[!.]*") if p.is_dir()})
    if not there:
        raise ValueError(f"no records under {given.out.resolve()}")
    for name in named:
        known(f"there are no records of {name!r} under {given.out}", name, there)
    folders = [Folder.of(given.out, name) for name in named or there]
    settings = {k: 0 for folder in folders for c in configs(folder) for k in c}
    for name in wanted:
        known(f"no run has a setting {name!r}", name, settings)
    drawn, fitting, written = False, 0, []
    aside = Console(stderr=True) if given.csv else console
    if given.over:
        known(f"no run has a setting {given.over!r}", given.over, settings)
    for folder in folders:
        found = [r for r in folder.records if all(fits(r["config"], *pair) for pair in wanted.items())]
        open_ = [s for s in folder.unfinished if all(fits(s.config, *pair) for pair in wanted.items())]
        fitting += len(found) + len(open_)
        if found:
            by = key_of(given.sort, found)
            if by is None and len(folders) == 1:
                known(f"runs cannot be sorted by {given.sort!r}", given.sort, sortable(found))
            found.sort(key=by or key_of("date", found), reverse=given.reverse)
            written += found
            if not given.csv:
                console.print(
                    over(folder.experiment, found, given.over) if given.over else table(folder.experiment, found, console)
                )
        if given.curve and found:
            names = {name for r in found for name in curves(r)}
            if given.curve in names:
                draw(console, found, given.curve)
                drawn = True
            elif len(folders) == 1:
                known(f"{folder.experiment} has no curve {given.curve!r}", given.curve, sorted(names))
        for s in [] if given.csv else open_:
            told = called(s.config, differing([*configs(folder)])) if s.config else "settings unknown"
            console.print(f"unfinished: {s.key}  {told}  ({s})", highlight=False)
        for line in folder.damaged:
            aside.print(f"[red]damaged:[/] {line}", highlight=False, soft_wrap=True)
    if given.csv:
        with contextlib.nullcontext(sys.stdout) if given.csv == "-" else open(given.csv, "w", newline="") as file:
            write_csv(written, file)
    if given.curve and not drawn and len(folders) > 1:
        raise ValueError(f"no run has a curve {given.curve!r}")
    if not fitting and wanted:
        raise ValueError(f"no run with {', '.join(f'{k}={v}' for k, v in wanted.items())}; {values(folders, wanted)}")


def configs(folder: Folder) -> list[dict[str, Any]]:
    """Of all the runs whose settings are known."""
    return [r["config"] for r in folder.records] + [s.config for s in folder.unfinished if s.config]


def values(folders: list[Folder], wanted: dict[str, str]) -> str:
    """The values that there are of the wanted settings."""
    told = []
    for name in wanted:
        there = dict.fromkeys(shown(c[name]) for f in folders for c in configs(f) if name in c)
        told.append(f"{name} is {', '.join(sorted(there))}")
    return "; ".join(told)


def fits(config: dict[str, Any], name: str, word: str) -> bool:
    """Whether a setting has the value of the word, numbers as numbers."""
    try:
        value = json.loads(word.lower() if word in ("True", "False") else word)
    except ValueError:
        value = word
    has = config.get(name)
    return has == value and isinstance(has, bool) == isinstance(value, bool) or has == word


def known(said: str, name: str, allowed: Any) -> None:
    """Raise `ValueError` unless `name` is among the allowed."""
    if name not in allowed:
        raise ValueError(f"{said}; {nearest(name, allowed)}")


def sortable(records: list[Record]) -> list[str]:
    """What the records can be sorted by."""
    return list(dict.fromkeys(["date", "wall", *(k for r in records for k in (*r["config"], *scores(r)))]))


def key_of(name: str, records: list[Record]) -> Callable[[Record], Any] | None:
    """The sort key of that name, or None; runs without a value come last."""
    if name not in sortable(records):
        return None

    def key(r: Record) -> Any:
        if name in ("date", "wall"):
            value = r["provenance"]["finished"] if name == "date" else r["wall_s"]
        else:
            value = r["config"].get(name, scores(r).get(name))
        number = isinstance(value, int | float)
        return (value is None, not number, value if number else 0, "" if number else str(value))

    return key


def table(title: str, records: list[Record], console: Console) -> Table:
    """The records as a table: key, the settings that differ, scores, wall time and date.

    A setting a column. Where these are more than the console is wide, all stand in one, and what leaves no room for it is
    left out from the right, and named.
    """
    names = differing([r["config"] for r in records])
    told = list(dict.fromkeys(name for r in records for name in scores(r)))
    settings = {name: [shown(r["config"].get(name)) for r in records] for name in names}
    others = {name: [f"{scores(r)[name]:.4f}" if name in scores(r) else "" for r in records] for name in told}
    others["wall"] = [duration(r["wall_s"]) for r in records]
    others["date"] = [r["provenance"]["finished"][:10] for r in records]
    wide = lambda columns: sum(max(map(len, (name, *cells))) + 3 for name, cells in columns.items())  # noqa: E731
    room = console.width - wide({"key": [r["key"] for r in records]}) - 1
    left_out: list[str] = []
    if wide(settings) + wide(others) > room:
        settings = {"setting": [called(r["config"], names) for r in records]}
        while len(others) > 1 and room - wide(others) < LEAST_SETTING:
            left_out.insert(0, others.popitem()[0])
    same = {k: v for k, v in records[0]["config"].items() if k not in names}
    caption = f"all: {', '.join(f'{k} {shown(v)}' for k, v in same.items())}"
    if left_out:
        caption += f"\nleft out for want of room: {', '.join(left_out)}; COLUMNS=200 or --csv shows all"
    out = Table(title=f"{title}: {len(records)} {'run' if len(records) == 1 else 'runs'}", caption=caption)
    out.add_column("key", no_wrap=True)
    for name in settings:
        out.add_column(name, overflow="fold")
    for name in others:
        out.add_column(name, justify="right", no_wrap=True)
    for row in zip([r["key"] for r in records], *settings.values(), *others.values(), strict=True):
        out.add_row(*row)
    return out


def over(title: str, records: list[Record], name: str) -> Table:
    """Mean ± standard deviation (with n - 1) of the scores of runs that differ in the setting `name` alone."""
    groups: dict[str, list[Record]] = {}
    for r in records:
        rest = {k: v for k, v in r["config"].items() if k != name}
        groups.setdefault(json.dumps(rest, sort_keys=True), []).append(r)
    names = [n for n in differing([r["config"] for r in records]) if n != name]
    told = list(dict.fromkeys(score for r in records for score in scores(r)))
    out = Table(title=f"{title}: {len(records)} runs, mean ± standard deviation over {name}")
    out.add_column("setting", overflow="fold")
    for column in ("runs", *told):
        out.add_column(column, justify="right")
    for group in groups.values():
        cells = []
        for score in told:
            has = [scores(r)[score] for r in group if score in scores(r)]
            spread = f" ± {statistics.stdev(has):.4f}" if len(has) > 1 else ""
            cells.append(f"{statistics.mean(has):.4f}{spread}" if has else "")
        out.add_row(called(group[0]["config"], names), str(len(group)), *cells)
    return out


def plotting() -> Any:
    """What draws in a terminal. Raises `ImportError` with the remedy."""
    try:
        import plotext  # half the time of a plain listing
    except ImportError:
        raise ImportError('--curve needs plotext: pip install "flatlab[plot]"') from None
    return plotext


def draw(console: Console, records: list[Record], name: str) -> None:
    """The curves of the first few records that have one of that name, in the terminal."""
    plotext = plotting()
    having = [r for r in records if name in curves(r)]
    names = differing([r["config"] for r in having])
    figure = plotext.figure
    figure.clear()
    figure.theme("default" if console.is_terminal else "colorless")
    figure.canvas("default")
    width = min(console.width, 80)
    figure.plot_size(width, 18)
    told = []
    for r, marker in zip(having[:CURVES_AT_ONCE], MARKERS, strict=False):
        points = curves(r)[name]
        line = figure.signal([x for x, _ in points], [y for _, y in points], marker=marker)
        line.lines()
        figure.draw(line)
        told.append(f"  {marker} {r['key']}  {called(r['config'], names)}")
    ends = [x for r in having[:CURVES_AT_ONCE] for x, _ in curves(r)[name]]
    low, high = math.ceil(min(ends)), math.floor(max(ends))
    figure.ruler("x").ticks(list(range(low, high + 1, max(1, math.ceil((high - low) / 8)))))
    figure.title(name)
    figure.label("epoch")
    drawing = str(figure.build())
    print(drawing if console.is_terminal else plotext.uncolorize(drawing))
    for line in told:
        console.print(line, highlight=False, markup=False)
    if len(having) > CURVES_AT_ONCE:
        console.print(f"  and {len(having) - CURVES_AT_ONCE} more: choose some by SETTING=VALUE")
