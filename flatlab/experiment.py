"""From settings to a record: an experiment is a frozen dataclass of settings with a method `run(report)`.

An experiment whose class says `resumable = True` runs as `run(report, host)` instead: the `Host` says where it runs and
keeps its unfinished state, so that the same command goes on after whatever ended it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, field, fields
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from flatlab import records
from flatlab.clock import Clock
from flatlab.host import Host, Stopped, stop_on_signals

__all__ = ["main", "option", "perform", "setting"]

Report = Callable[[str], None]
UNFINISHED = ".unfinished"


def option(default: Any, about: str) -> Any:
    """A field of an experiment with its default and one line on it: meaning, unit, what is allowed."""
    return field(default=default, metadata={"about": about})


def setting(cls: type, given: Mapping[str, Any]) -> Any:
    """`cls(**given)`, with lists as tuples. Raises `ValueError` for an unknown name, with the nearest that there is.

    >>> from flatlab.training import GradientPairs
    >>> setting(GradientPairs, {"rho": 0.1}).rho
    0.1
    >>> setting(GradientPairs, {"roh": 0.1})
    Traceback (most recent call last):
    ValueError: gradient_pairs has no setting 'roh'; did you mean 'rho'?
    """
    names = [f.name for f in fields(cls)]
    for name in given:
        if name not in names:
            raise ValueError(f"{cls.experiment} has no setting {name!r}; {_nearest(name, names)}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})


def perform(
    chosen: Any,
    out: str | Path,
    *,
    command: str | None = None,
    report: Report = lambda line: None,
    host: Host | None = None,
) -> Path:
    """Run the experiment with the settings `chosen` and write its record under `out`; returns the record's path.

    A resumable experiment takes up its unfinished state, under `out` or where `host` keeps it, and its wall time counts
    from the first start. `command` is noted as what makes the record again. Raises what the experiment raises, and
    `RuntimeError` if another process is at the same run.

    >>> import tempfile
    >>> from flatlab.training import Train
    >>> setting = Train(data="digits", network="logistic", epochs=2, lr=0.05)
    >>> folder = tempfile.TemporaryDirectory()
    >>> import json
    >>> json.loads(perform(setting, folder.name).read_text())["result"]["final"]["accuracy"] > 0.8
    True
    """
    if command is None:
        command = command_of("python -m flatlab", chosen.experiment.replace("_", "-"), chosen)
    if not getattr(chosen, "resumable", False):
        clock = Clock()
        return _save(chosen, out, chosen.run(report), clock, command)
    host = Host(unfinished(chosen, out)) if host is None else host
    host.config = config_of(chosen)
    with host.only_one():
        result = chosen.run(report, host)
        path = _save(chosen, out, result, host.clock, command)
        host.forget()
    return path


def _save(chosen: Any, out: str | Path, result: dict, clock: Clock, command: str) -> Path:
    return records.save(out, chosen.experiment, config_of(chosen), result, command=command, **clock.times())


def config_of(chosen: Any) -> dict[str, Any]:
    """The settings as they stand in the record; one that is None is left out, so that new ones leave old keys alone."""
    return {k: v for k, v in asdict(chosen).items() if v is not None}


def record_of(chosen: Any, out: str | Path) -> Path:
    """Where the record of these settings lies under `out`, or would."""
    return records.path(out, chosen.experiment, config_of(chosen))


def unfinished(chosen: Any, out: str | Path) -> Path:
    """Where the state of an unfinished run lies under `out`."""
    return Path(out) / UNFINISHED / chosen.experiment / f"{records.key(config_of(chosen))}.safetensors"


def command_of(program: str, name: str, chosen: Any) -> str:
    """The command line that makes the record again: only the settings that differ from their defaults."""
    return f"{program} {name}{''.join(' ' + word for word in words(chosen))}"


def words(chosen: Any) -> list[str]:
    """The options of `chosen` that differ from their defaults, as words of a command line."""
    out = []
    for f in fields(chosen):
        value = getattr(chosen, f.name)
        if value != f.default:
            out += [_flag(f.name), *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return out


def main(
    program: str,
    experiments: Mapping[str, type],
    description: str,
    argv: list[str] | None = None,
    beside: Mapping[str, str] | None = None,
) -> None:
    """Read the settings of one of `experiments` from the command line, run it, write its record and print its path.

    `beside` names commands of the program that are not experiments, for its help. A wrong setting ends with a usage message
    that names it, and the nearest one where it is unknown.
    """
    parser = argparse.ArgumentParser(prog=program, description=description)
    commands = parser.add_subparsers(dest="name", required=True)
    for name, cls in experiments.items():
        short = {"help": cls.__doc__.split("\n")[0], "usage": f"{program} {name} [--setting value ...]"}
        add_options(commands.add_parser(name, **short, allow_abbrev=False), cls)
    for name, about in (beside or {}).items():
        commands.add_parser(name, help=about)
    given, unknown = parser.parse_known_args(argv)
    given = vars(given)
    name, out = given.pop("name"), given.pop("out")
    sub, cls = commands.choices[name], experiments[name]
    if unknown:
        sub.error(f"unknown {unknown[0]}; {_nearest(unknown[0], list(sub._option_string_actions))}")
    resumable = getattr(cls, "resumable", False)
    place = {k: given.pop(k) for k in ("device", "every", "graph", "again")} if resumable else {}
    try:
        chosen = setting(cls, given)
    except ValueError as error:
        sub.error(str(error))
    command = command_of(program, name, chosen)
    if not place:
        print(perform(chosen, out, command=command, report=_to_stderr))
        return
    path = record_of(chosen, out)
    if path.exists() and not place.pop("again"):
        _to_stderr("already there (--again runs it anew)")
    else:
        from flatlab.progress import Bar  # only a run at a terminal needs it

        place.pop("again", None)
        try:
            host = Host(unfinished(chosen, out), watch=Bar.for_stderr(chosen), **place)
        except ValueError as error:
            sub.error(str(error))
        try:
            with stop_on_signals(host):
                path = perform(chosen, out, command=command, report=_to_stderr, host=host)
        except Stopped as stopped:
            _to_stderr(f"{stopped}; the same command goes on from there")
            sys.exit(130)
    print(path)


def add_options(parser: argparse.ArgumentParser, cls: type) -> None:
    """The settings of `cls` as options of `parser`, and where its record goes."""
    hints = get_type_hints(cls)
    for f in fields(cls):
        kind, many = _kind(hints[f.name])
        words = {"type": _truth if kind is bool else kind, "default": None if f.default is MISSING else f.default}
        about = f.metadata.get("about", "").replace("%", "%%")
        if f.default is not None and f.default is not MISSING:
            shown = " ".join(map(str, f.default)) if many else f.default
            about = f"{about} (default: {shown})".lstrip()
        parser.add_argument(_flag(f.name), nargs="+" if many else None, help=about, metavar=kind.__name__, **words)
    place = parser.add_argument_group("where and how it runs (not part of the record's key)")
    place.add_argument("--out", default="book/results", help="folder of the records (default: book/results)")
    if getattr(cls, "resumable", False):
        place.add_argument("--device", default="auto", help="auto (default: CUDA if there is one), cpu, cuda, cuda:N")
        every = "minutes between two checkpoints inside an epoch (default: 5)"
        place.add_argument("--every", type=float, default=5.0, help=every)
        place.add_argument("--graph", action="store_true", help="CUDA: replay each step as one graph")
        place.add_argument("--again", action="store_true", help="run although the record is there")


def _kind(hint: Any) -> tuple[type, bool]:
    """The type of one value, and whether there are many."""
    if isinstance(hint, UnionType):
        hint = next(a for a in get_args(hint) if a is not type(None))
    return (get_args(hint)[0], True) if get_origin(hint) is tuple else (hint, False)


def _truth(word: str) -> bool:
    if word.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"true or false, got {word!r}")
    return word.lower() == "true"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _nearest(name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
