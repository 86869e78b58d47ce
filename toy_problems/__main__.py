"""Run an experiment of the toys and write its record: `python -m toy_problems lucchi`."""

import argparse
import sys
import time
from dataclasses import asdict, fields

import torch

from flatlab import records
from toy_problems.lucchi import SuccessRate

EXPERIMENTS = {"lucchi": SuccessRate}


def compiler_works() -> bool:
    """Whether `torch.compile` can build a kernel on this machine."""
    try:
        torch.compile(lambda v: v + 1, dynamic=False)(torch.zeros(8))
    except Exception as error:  # what Inductor raises depends on what it misses
        print(f"torch.compile does not work here ({type(error).__name__}): slower, same result", file=sys.stderr)
        return False
    return True


def words(value: object) -> str:
    """A field as the command line takes it."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def main() -> None:
    """Read the settings from the command line, run, and write the record."""
    parser = argparse.ArgumentParser(prog="python -m toy_problems", description=__doc__)
    commands = parser.add_subparsers(dest="toy", required=True)
    for toy, cls in EXPERIMENTS.items():
        sub = commands.add_parser(toy, help=cls.experiment, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        sub.add_argument("--out", default="book/results", help="folder of the records")
        for f in fields(cls):
            many = isinstance(f.default, tuple)
            kind = type(f.default[0] if many else f.default)
            flag = "--" + f.name.replace("_", "-")
            sub.add_argument(flag, type=kind, nargs="+" if many else None, default=f.default, help=kind.__name__)
    given = vars(parser.parse_args())
    toy, out = given.pop("toy"), given.pop("out")
    cls = EXPERIMENTS[toy]
    try:
        setting = cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})
    except ValueError as error:
        parser.error(str(error))
    changed = [(f.name, getattr(setting, f.name)) for f in fields(cls) if getattr(setting, f.name) != f.default]
    command = " ".join(
        ["python -m toy_problems", toy, *(f"--{k.replace('_', '-')} {words(v)}" for k, v in changed)]
    )
    began = time.perf_counter()
    result = setting.run(lambda line: print(line, file=sys.stderr, flush=True), fused=4 if compiler_works() else 1)
    wall = time.perf_counter() - began
    print(records.save(out, cls.experiment, asdict(setting), result, wall_s=wall, command=command))


main()
