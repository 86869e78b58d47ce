"""From the command line to a record: an experiment is a frozen dataclass of settings with a method `run(report)`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, fields

from flatlab import records

__all__ = ["main"]


def main(program: str, experiments: Mapping[str, type], description: str) -> None:
    """Read the settings of one of `experiments` from the command line, run it, write its record and print its path.

    A wrong setting ends with a usage message that names it.
    """
    parser = argparse.ArgumentParser(prog=program, description=description)
    commands = parser.add_subparsers(dest="name", required=True)
    for name, cls in experiments.items():
        formatter = argparse.ArgumentDefaultsHelpFormatter
        sub = commands.add_parser(name, help=cls.__doc__.split("\n")[0], formatter_class=formatter)
        sub.add_argument("--out", default="book/results", help="folder of the records")
        for f in fields(cls):
            many = isinstance(f.default, tuple)
            kind = type(f.default[0] if many else f.default)
            sub.add_argument(_flag(f.name), type=kind, nargs="+" if many else None, default=f.default,
            help=kind.__name__)
    given = vars(parser.parse_args())
    name, out = given.pop("name"), given.pop("out")
    try:
        setting = experiments[name](**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})
    except ValueError as error:
        parser.error(str(error))
    began = time.perf_counter()
    result = setting.run(lambda line: print(line, file=sys.stderr, flush=True))
    wall_s, command = time.perf_counter() - began, f"{program} {name}{_changes(setting)}"
    print(records.save(out, setting.experiment, asdict(setting), result, wall_s=wall_s, command=command))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _changes(setting: object) -> str:
    """The options that differ from their defaults, as one would type them."""
    changed = [(f.name, getattr(setting, f.name)) for f in fields(setting) if getattr(setting, f.name) != f.default]
    return "".join(f" {_flag(k)} {' '.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in changed)
