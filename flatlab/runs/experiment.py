"""From settings to a record: an experiment is a frozen dataclass of settings with a method `run(report)`.

An experiment whose class says `resumable = True` runs as `run(report, host)` instead: the `Host` says where it runs and
keeps its unfinished state, so that the same command goes on after whatever ended it.
"""

from __future__ import annotations

import argparse
import os
import pkgutil
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor

from flatlab.runs import exit_status, records, tensor_file
from flatlab.runs.clock import Clock
from flatlab.runs.host import Busy, Host, Stopped, stop_on_signals
from flatlab.runs.nearest import nearest
from flatlab.runs.option import inherited, option, options

__all__ = ["Experiment", "experiments", "inherited", "main", "option", "perform", "setting"]

Report = Callable[[str], None]


@dataclass(frozen=True)
class Experiment(ABC):
    """Settings, each an `option`, checked one by one as it is made; a subclass's `__post_init__` checks them together.

    `experiment` is the name of its folder of records: the class's own, in small letters, unless it says otherwise. Its
    command is that name with dashes, in the `program` of its package. Commands of old records may name it by one of
    `formerly`. Raises `ValueError`, naming setting, value and what is allowed.
    """

    experiment: ClassVar[str]
    program: ClassVar[str]
    formerly: ClassVar[tuple[str, ...]] = ()
    resumable: ClassVar[bool] = False

    def __init_subclass__(cls, **more: Any):
        super().__init_subclass__(**more)
        own = {"experiment": re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()}
        own["program"] = f"python -m {cls.__module__.partition('.')[0]}"
        for name, value in own.items():
            if name not in vars(cls):
                setattr(cls, name, value)

    def __post_init__(self):
        for name, known in options(type(self)).items():
            object.__setattr__(self, name, known.checked(getattr(self, name)))

    @property
    def replays(self) -> bool:
        """Whether a GPU can replay what it does step by step as a graph."""
        return False

    @abstractmethod
    def run(self, report: Report = lambda line: None) -> dict:
        """The record's result; `report` gets a line of text now and then."""


def command_name(cls: type[Experiment]) -> str:
    """The command of an experiment within its program.

    >>> from flatlab.studies import GradientPairs
    >>> command_name(GradientPairs)
    'gradient-pairs'
    """
    return cls.experiment.replace("_", "-")


def experiments(*packages: str) -> dict[str, type[Experiment]]:
    """All experiments that `packages`, each a package or a module, define, by their commands.

    >>> list(experiments("flatlab.training"))[-1]
    'train'
    """
    for package in packages:
        for module in pkgutil.walk_packages(getattr(import_module(package), "__path__", ()), f"{package}."):
            if not module.name.endswith(".__main__"):
                import_module(module.name)
    within = tuple(f"{package}." for package in packages)
    found = [cls for cls in _under(Experiment) if f"{cls.__module__}.".startswith(within)]
    return {command_name(cls): cls for cls in sorted(found, key=command_name)}


def _under(cls: type) -> Iterable[type]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _under(sub)


def setting(cls: type[Experiment], given: Mapping[str, Any]) -> Any:
    """`cls(**given)`. Raises `ValueError` for an unknown name, with the nearest that there is.

    >>> from flatlab.studies import GradientPairs
    >>> setting(GradientPairs, {"rho": 0.1}).rho
    0.1
    >>> setting(GradientPairs, {"roh": 0.1})
    Traceback (most recent call last):
    ValueError: gradient_pairs has no setting 'roh'; did you mean 'rho'?
    """
    for name in given:
        if name not in options(cls):
            raise ValueError(f"{cls.experiment} has no setting {name!r}; {nearest(name, options(cls))}")
    return cls(**given)


def perform(chosen: Experiment, out: str | Path, *, report: Report = lambda line: None, host: Host | None = None) -> Path:
    """Run the experiment with the settings `chosen` and write its record under `out`; returns the record's path.

    A resumable experiment takes up its unfinished state, under `out` or where `host` keeps it, and its wall time counts
    from the first start. The network that it has trained is kept beside the record, for `Train.finished`.
    Raises what the experiment raises, and `Busy`, a `RuntimeError`, if another process is at the same run.

    >>> import tempfile
    >>> from flatlab.training import Train
    >>> setting = Train(data="digits", network="logistic", epochs=2, lr=0.05)
    >>> folder = tempfile.TemporaryDirectory()
    >>> import json
    >>> json.loads(perform(setting, folder.name).read_text())["result"]["final"]["accuracy"] > 0.8
    True
    """
    if not chosen.resumable:
        clock = Clock()
        return _save(chosen, out, chosen.run(report), clock)
    host = Host(unfinished(chosen, out)) if host is None else host
    host.config = config_of(chosen)
    with host.only_one():
        result = chosen.run(report, host)
        path = _save(chosen, out, result, host.clock, host.trained if host.weights else None)
        host.forget()
    return path


def _save(
    chosen: Experiment, out: str | Path, result: dict, clock: Clock, trained: Mapping[str, Tensor] | None = None
) -> Path:
    config, how = config_of(chosen), {"command": command_of(chosen), **clock.times()}
    file = record_of(chosen, out).with_suffix(records.WEIGHTS)
    if trained is None:
        file.unlink(missing_ok=True)  # those of an earlier run with these settings
    else:  # before the record, which names them
        tensor_file.write(file, trained, {"config": config})
        how["trained"] = file.name
    return records.save(out, chosen.experiment, config, result, **how)


def config_of(chosen: Experiment) -> dict[str, Any]:
    """The settings as they stand in the record; one that is None is left out, so that new ones leave old keys alone."""
    return {k: v for k, v in asdict(chosen).items() if v is not None}


def record_of(chosen: Experiment, out: str | Path) -> Path:
    """Where the record of these settings lies under `out`, or would."""
    return records.path(out, chosen.experiment, config_of(chosen))


def unfinished(chosen: Experiment, out: str | Path) -> Path:
    """Where the state of an unfinished run lies under `out`."""
    return Path(out) / records.UNFINISHED / chosen.experiment / f"{records.key(config_of(chosen))}.safetensors"


def command_of(chosen: Experiment) -> str:
    """The command line that makes the record again: only the settings that differ from their defaults."""
    return " ".join([chosen.program, *words(chosen)])


def words(chosen: Experiment) -> list[str]:
    """The command of `chosen` within its program, and its options that differ from their defaults."""
    out = [command_name(type(chosen))]
    for name, known in options(type(chosen)).items():
        value = getattr(chosen, name)
        if value != known.default:
            out += [_flag(name), *known.shown(value).split()]
    return out


def main(
    program: str,
    there: Mapping[str, type[Experiment]],
    description: str,
    argv: Sequence[str] | None = None,
    beside: Mapping[str, str] | None = None,
) -> None:
    """Read the settings of one of the experiments `there` from the command line, run it, write its record, print its path.

    `beside` names commands of the program that are not experiments, for its help. Whatever is wrong with the settings ends
    the process with a line that names it and the status `exit_status.WRONG`, also where only the run finds it.
    """
    commands = parser_of(program, there, description, beside)
    sub, chosen, place = asked(commands, argv)
    try:
        path = record_of(chosen, place.out)
        if chosen.resumable and path.exists() and not place.again:
            records.read(path)
            _to_stderr("already there (--again runs it anew)")
        else:
            check_out(place.out)
            path = _resumably(chosen, place) if chosen.resumable else perform(chosen, place.out, report=_to_stderr)
    except (ValueError, ImportError) as error:
        sub.error(str(error))
    except FloatingPointError as error:
        sub.exit(exit_status.DIVERGED, f"{sub.prog}: {error}\n")
    except Stopped as stopped:
        sub.exit(exit_status.STOPPED, f"{stopped}; the same command goes on from there\n")
    except (Busy, OSError, torch.OutOfMemoryError) as error:
        sub.exit(exit_status.AGAIN, f"{sub.prog}: {' '.join(_told(error).split())}\n")
    except KeyboardInterrupt:
        sub.exit(exit_status.STOPPED, f"{sub.prog}: stopped, with nothing saved\n")
    print(path)


def _told(error: Exception) -> str:
    """What to say of something that another attempt may not meet."""
    if isinstance(error, torch.OutOfMemoryError):
        return f"the device has not enough memory ({error}): a smaller batch or network takes less"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error.strerror if isinstance(error, OSError) and error.strerror else error)


def _resumably(chosen: Experiment, place: argparse.Namespace) -> Path:
    from flatlab.runs.progress import Bar  # only a run at a terminal needs it

    where, bar = {"device": place.device, "every": place.every, "graph": place.graph}, Bar.for_stderr(chosen)
    host = Host(unfinished(chosen, place.out), watch=bar, weights=not place.no_weights, **where)
    try:
        with stop_on_signals(host):
            return perform(chosen, place.out, report=_to_stderr, host=host)
    finally:
        bar.close()


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and takes no abbreviations."""

    def __init__(self, *args: Any, **more: Any):
        super().__init__(*args, allow_abbrev=False, **more)

    def error(self, message: str) -> NoReturn:
        """End the process."""
        self.exit(exit_status.WRONG, f"{self.prog}: {' '.join(message.split())}\n")


def parser_of(
    program: str, there: Mapping[str, type[Experiment]], description: str, beside: Mapping[str, str] | None = None
) -> Parser:
    """The command line of a program, for `asked`."""
    parser = Parser(prog=program, description=description)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, cls in there.items():
        about, usage = (cls.__doc__ or "").split("\n")[0], f"{program} {name} [--setting value ...]"
        sub = commands.add_parser(name, aliases=cls.formerly, help=about, description=about, usage=usage)
        sub.set_defaults(of=(sub, cls))
        _add_options(sub, cls)
    for name, about in (beside or {}).items():
        commands.add_parser(name, help=about)
    return parser


def asked(parser: Parser, argv: Sequence[str] | None) -> tuple[Parser, Any, argparse.Namespace]:
    """What a command line asks for: the parser of its command, the settings, and where and how to run them.

    Ends the process if there is something wrong with it.
    """
    place, unknown = parser.parse_known_args(argv)
    given = vars(place)
    sub, cls = given.pop("of", (parser, None))
    if unknown or cls is None:
        word, *_ = [*unknown, "--"]
        sub.error(f"unknown {word}; {nearest(word, sub._option_string_actions)}")
    told = {name: given.pop(name) for name in options(cls) if name in given}
    texts = {name: " ".join(word) if options(cls)[name].many else word for name, word in told.items()}
    try:
        return sub, setting(cls, {name: options(cls)[name].read(text) for name, text in texts.items()}), place
    except ValueError as error:
        sub.error(str(error))


def _add_options(parser: Parser, cls: type[Experiment]) -> None:
    """The settings of `cls` as options of `parser`, by what they belong to, and where its record goes."""
    groups: dict[str, Any] = {}
    for name, known in options(cls).items():
        title = known.group or f"settings of {command_name(cls)}"
        group = groups.get(title) or groups.setdefault(title, parser.add_argument_group(title))
        shape = {"nargs": ("*" if known.empty else "+") if known.many else None, "metavar": known.kind.__name__}
        group.add_argument(_flag(name), help=known.help.replace("%", "%%"), default=argparse.SUPPRESS, **shape)
    place = parser.add_argument_group("where and how it runs (not part of the record's key)")
    out = "folder of the records (default: $FLATLAB_RUNS, else book/results)"
    place.add_argument("--out", type=Path, metavar="FOLDER", default=records.out(), help=out)
    if cls.resumable:
        place.add_argument(
            "--device", default="auto", metavar="NAME", help="auto (default: CUDA if there is one), cpu, cuda, cuda:N"
        )
        every = "minutes between two checkpoints inside an epoch (default: %(default)s)"
        place.add_argument("--every", type=float, metavar="MINUTES", default=5.0, help=every)
        place.add_argument("--graph", action="store_true", help="CUDA: replay each step as one graph")
        place.add_argument("--no-weights", action="store_true", help="keep the record alone, not the trained weights")
        place.add_argument("--again", action="store_true", help="run although the record is there")


def check_out(out: Path) -> None:
    """Raise `ValueError` if no record could be written under `out`, which need not be there yet."""
    if re.match(r"\w[\w+.-]+:/", str(out)):  # a path of one slash by now, and a local folder of that name helps nobody
        raise ValueError(f"records go to a folder, not to an address, got {out}: mount the storage, and name its folder")
    whole = out.resolve()
    there = next(p for p in (whole, *whole.parents) if p.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise ValueError(f"records cannot be written under {out}: {there} is no folder that can be written")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
