"""Which small faults in the library no test sees: `python -m benchmarks.mutation`, with the extra `mutation` installed.

A random sample of the changes that cosmic-ray makes to a file (a number, an operator, a comparison, a loop, a decorator),
each tried by the tests of that file alone, in a copy of the project. The last line counts, the survivors' diffs stand in
`_build/mutation.txt`.
"""

from __future__ import annotations

import argparse
import difflib
import os
import random
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
import torch._dynamo  # noqa: F401  (seconds to load, and every test process inherits it)
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parent.parent
FOUND = ROOT / "_build" / "mutation.txt"
RULES = ["tests/rules", "tests/test_rules.py", "tests/test_rules_properties.py"]
OPTIM = ["methods", "memory", "passes", "parts", "moved", "errors", "precision", "parts_closure"]
TESTS = {
    "flatlab/methods": [*RULES, "tests/optim/test_optim_methods.py", "tests/optim/test_optim_extremes.py", "tests/methods"],
    "flatlab/optim": [f"tests/optim/test_optim_{name}.py" for name in OPTIM],
    "flatlab/measures": ["tests/measures"],
    "flatlab/penalties.py": ["tests/test_penalties.py"],
}
"""The tests of a file, its own doctests first."""
LIMIT = 300
"""Seconds of processor time for one change: more than twice what the slowest tests take without any."""
TRIVIAL = ["BitOr", "BitAnd", "BitXor", "LShift", "RShift", "Mod", "Pow", "FloorDiv", "Is", "IsNot"]
"""Put in place of another operator, these end in a `TypeError`, or do the same: catching them says nothing of the tests."""


def files() -> dict[Path, list[str]]:
    """The files that are changed, each with its tests."""
    found = {}
    for place, tests in TESTS.items():
        path = ROOT / place
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            if file.name != "__init__.py":
                found[file.relative_to(ROOT)] = [str(file.relative_to(ROOT)), *tests]
    return found


def mutants(file: Path) -> Iterator[tuple[str, tuple[str, str, int]]]:
    """What could be done to it, and how cosmic-ray is told to: source, operator, which occurrence."""
    source = (ROOT / file).read_text()
    tree = get_ast_from_path(ROOT / file)
    for name in sorted(operator_names()):
        operator = get_operator(name)
        if operator.arguments() or name.rsplit("_", 1)[-1] in TRIVIAL or "BitOr" in name:  # `|` stands between types
            continue
        places = [p for node in ast_nodes(tree) for p in operator().mutation_positions(node)]
        for k, ((line, _), _) in enumerate(places):
            yield f"{file}:{line} {name.removeprefix('core/')}", (source, name, k)


def chosen(count: int, seed: int) -> list[tuple[Path, str, str]]:
    """`count` changes over all files, as many of each as its lines demand and one at least."""
    draw = random.Random(seed)
    lines = {file: len((ROOT / file).read_text().splitlines()) for file in files()}
    found = []
    for file, n in lines.items():
        every = list(mutants(file))
        share = max(1, round(count * n / sum(lines.values())))
        for what, (source, name, k) in draw.sample(every, min(share, len(every))):
            changed = mutate_code(source, get_operator(name)(), k)
            if changed is not None and changed != source:
                found.append((file, what, changed))
    draw.shuffle(found)  # a run that is stopped has seen a sample, too
    return found


def outcome(place: Path, tests: list[str]) -> str:
    """`passed`, `failed`, or `timed out` after `LIMIT` seconds of processor time or ten times as many by the clock."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT + 5))
        os.setsid()
        os.chdir(place)
        quiet = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(quiet, 1), os.dup2(quiet, 2)
        sys.path[:] = [str(place), *(p for p in sys.path if Path(p or ".").resolve() != ROOT)]
        os.environ["PYTHONPATH"] = str(place)
        marks = ["-m", "not site and not slow", "-p", "no:cacheprovider", "-p", "no:xdist"]
        for some in tests:  # most are killed by the first ones, before the others are even collected
            if int(found := pytest.main(["-x", "-q", *marks, some])) not in (0, 5):
                os._exit(int(found))
        os._exit(0)
    until = time.monotonic() + 10 * LIMIT
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return "passed" if status == 0 else "timed out" if os.WIFSIGNALED(status) else "failed"
        if time.monotonic() > until:
            os.killpg(child, 9)
            os.waitpid(child, 0)
            return "timed out"
        time.sleep(0.05)


def copied() -> Path:
    """A copy of what the tests need."""
    place = Path(tempfile.mkdtemp(prefix="mutation-"))
    for name in ("flatlab", "toy_problems", "tests"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", place)
    return place


def main() -> None:
    """Try the sample, say how many of each file's mutants its tests saw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=160, help="how many changes, about")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument("--trusted", action="store_true", help="do not try first whether the tests pass unchanged")
    parser.add_argument("--only", default="", help="files whose path holds this")
    args = parser.parse_args()
    todo = [one for one in chosen(args.count, args.seed) if args.only in str(one[0])]
    own = threading.local()
    for tests in {tuple(files()[file][1:]) for file, *_ in todo} if not args.trusted else ():
        print("unchanged:", *tests, flush=True)
        if outcome(copied(), list(tests)) != "passed":
            raise SystemExit("these tests fail without any change")

    def tried(one: tuple[Path, str, str]) -> tuple[Path, str]:
        file, what, changed = one
        if not hasattr(own, "place"):
            own.place = copied()
        source = (own.place / file).read_text()
        try:
            for stale in (own.place / file.parent / "__pycache__").glob(f"{file.stem}.*"):
                stale.unlink()  # two changes of one size in one second look alike
            (own.place / file).write_text(changed)
            found = outcome(own.place, files()[file])
        finally:
            (own.place / file).write_text(source)
        diff = difflib.unified_diff(source.splitlines(), changed.splitlines(), n=0, lineterm="")
        told = "\n".join(line for line in diff if line[:3] not in ("---", "+++"))
        verdict = "survived" if found == "passed" else "killed" if found == "failed" else found
        print(f"{verdict:9} {what}", flush=True)
        if found == "passed":
            with FOUND.open("a") as survivors:
                survivors.write(f"{what}\n{told}\n\n")
        return file, verdict

    FOUND.parent.mkdir(exist_ok=True)
    FOUND.write_text("")
    count = defaultdict(Counter)
    with ThreadPoolExecutor(args.jobs) as pool:
        for file, verdict in pool.map(tried, todo):
            count[file][verdict] += 1
    for file, verdicts in count.items():
        print(f"{str(file):40} " + ", ".join(f"{n} {verdict}" for verdict, n in sorted(verdicts.items())))
    total = sum(count.values(), Counter())
    print(f"{1 - total['survived'] / total.total():.0%} of {total.total()} were seen; survivors: {FOUND.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
