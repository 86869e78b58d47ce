"""Which small faults in the library no test sees: `python -m benchmarks.mutation`, with the extra `mutation` installed.

A random sample of the changes that cosmic-ray makes to a file (a number, an operator, a comparison, a loop, a decorator),
in a copy of the project. Each is tried by the tests that run the changed line, the quickest first, until one fails. Which
tests those are is found by running all of them once under coverage, and kept in `_build/mutation.json` until files change.
The last line counts, the survivors' diffs stand in `_build/mutation.txt`.

On one core the first run of all tests takes about ten minutes; after it a change takes five to ten seconds, so that
`--count 80` takes ten minutes.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import hashlib
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path

import hypothesis  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
import torch._dynamo  # noqa: F401  (seconds to load, and every test process inherits it)
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from coverage import Coverage

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "_build"
FOUND, LINES = BUILD / "mutation.txt", BUILD / "mutation.json"
PLACES = ["flatlab/methods", "flatlab/optim", "flatlab/measures", "flatlab/penalties.py"]
"""What is changed."""
TESTS = ["tests/rules", "tests/methods", "tests/optim", "tests/measures", "tests/landscape", "tests/test_rules*.py"]
TESTS += ["tests/test_penalties.py"]
"""What tries it, beside the doctests of each file."""
NOT = ["test_in_frameworks.py", "test_optim_distributed.py", "test_optim_sharded.py", "test_optim_cuda.py"]
NOT += ["test_optim_parts_workers.py"]
"""What needs more than the copy, or starts processes of its own, in which no line is seen."""
LIMIT = 300
"""Seconds of processor time for one change, or for one file of tests."""
TRIVIAL = ["BitOr", "BitAnd", "BitXor", "LShift", "RShift", "Mod", "Pow", "FloorDiv", "Is", "IsNot"]
"""Put in place of another operator, these end in a `TypeError`, or do the same: catching them says nothing of the tests."""


def files() -> list[Path]:
    """The files that are changed."""
    found = []
    for path in (ROOT / place for place in PLACES):
        found += sorted(path.glob("*.py")) if path.is_dir() else [path]
    return [file.relative_to(ROOT) for file in found if file.name != "__init__.py"]


def tests() -> list[str]:
    """The files of tests and doctests."""
    found = []
    for place in TESTS:
        found += sorted((ROOT / place).rglob("test_*.py")) if (ROOT / place).is_dir() else sorted(ROOT.glob(place))
    return [str(file.relative_to(ROOT)) for file in found if file.name not in NOT] + [str(file) for file in files()]


def mutants(file: Path) -> Iterator[tuple[int, str, str, int]]:
    """What could be done to it: the line, and what cosmic-ray calls it (operator, which occurrence)."""
    tree = get_ast_from_path(ROOT / file)
    for name in sorted(operator_names()):
        operator = get_operator(name)
        if operator.arguments() or name.rsplit("_", 1)[-1] in TRIVIAL or "BitOr" in name:  # `|` stands between types
            continue
        places = [p for node in ast_nodes(tree) for p in operator().mutation_positions(node)]
        for k, ((line, _), _) in enumerate(places):
            yield line, f"{file}:{line} {name.removeprefix('core/')}", name, k


def chosen(count: int, seed: int, only: str) -> list[tuple[Path, int, str, str]]:
    """`count` changes over all files, as many of each as its lines demand: file, line, name, and the source with it."""
    draw = random.Random(seed)
    sources = {file: (ROOT / file).read_text() for file in files()}
    lines = {file: len(source.splitlines()) for file, source in sources.items()}
    found = []
    for file, source in sources.items():
        every = list(mutants(file))
        share = max(1, round(count * lines[file] / sum(lines.values())))
        for line, what, name, k in draw.sample(every, min(share, len(every))):
            changed = mutate_code(source, get_operator(name)(), k)
            if changed is not None and changed != source and only in str(file):
                found.append((file, line, what, changed))
    draw.shuffle(found)  # a run that is stopped has seen a sample, too
    return found


def apart(place: Path, run: Callable[[], int]) -> str:
    """`run()` in a process of its own: `passed` if it returned 0, `failed`, or `timed out`.

    That is after `LIMIT` seconds of processor time or ten times as many by the clock.
    """
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT + 5))
        os.setsid()
        os.chdir(place)
        quiet = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(quiet, 1), os.dup2(quiet, 2)
        sys.path[:] = [str(place), *(p for p in sys.path if Path(p or ".").resolve() != ROOT)]
        os.environ["PYTHONPATH"] = str(place)
        os._exit(run())
    until = time.monotonic() + 10 * LIMIT
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return "passed" if status == 0 else "timed out" if os.WIFSIGNALED(status) else "failed"
        if time.monotonic() > until:
            os.killpg(child, 9)
            os.waitpid(child, 0)
            return "timed out"
        time.sleep(0.02)


def pass_all(names: list[str], *plugins: object) -> int:
    """Runs these tests until one fails."""
    marks = ["-m", "not site and not slow", "-p", "no:cacheprovider", "-p", "no:xdist"]
    code = int(pytest.main(["-x", "-q", *marks, *names], plugins=plugins))
    return 0 if code in (0, 5) else code


class Contexts:
    """Tells coverage which test runs, and keeps how long each took."""

    def __init__(self, coverage: Coverage):
        self.coverage, self.seconds = coverage, {}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.coverage.switch_context(item.nodeid)
        began = time.process_time()
        yield
        self.seconds[item.nodeid] = time.process_time() - began
        self.coverage.switch_context("")


def looked_through(name: str, place: Path) -> dict[str, tuple[float, dict[str, list[int]]]]:
    """Of each test in a file: how long it took, and the lines that it ran of the files that are changed."""

    def run() -> int:
        coverage = Coverage(data_file=None, include=[str(place / "flatlab" / "*")])
        contexts = Contexts(coverage)
        coverage.start()
        code = pass_all([name], contexts)
        coverage.stop()
        data, ran = coverage.get_data(), {node: {} for node in contexts.seconds}
        for file in map(str, files()):
            for line, nodes in data.contexts_by_lineno(str(place / file)).items():
                for node in filter(None, nodes):
                    ran[node].setdefault(file, []).append(line)
        (place / "ran.json").write_text(json.dumps({node: (contexts.seconds[node], at) for node, at in ran.items()}))
        return code

    if (verdict := apart(place, run)) != "passed":
        print(f"left out, for without any change it {verdict}: {name}", flush=True)
        return {}
    return json.loads((place / "ran.json").read_text())


def looked_up() -> dict[str, tuple[float, dict[str, list[int]]]]:
    """The same of all tests, from the last time where nothing has changed since."""
    known = json.loads(LINES.read_text()) if LINES.exists() else {}
    library = hashlib.sha256(b"".join(file.read_bytes() for file in sorted((ROOT / "flatlab").rglob("*.py"))))
    place, found = copied(), {}
    for name in tests():
        key = library.copy()
        key.update((ROOT / name).read_bytes())
        if known.get(name, [""])[0] != key.hexdigest():
            print("looking through", name, flush=True)
            known[name] = [key.hexdigest(), looked_through(name, place)]
            LINES.write_text(json.dumps(known))
        found |= known[name][1]
    return found


def statement(source: str, line: int) -> range:
    """The lines of the smallest statement around `line`; of one with a body, up to that."""
    found = range(line, line + 1)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and node.lineno <= line <= node.end_lineno:
            body = getattr(node, "body", None)
            end = node.end_lineno if not body or line >= body[0].lineno else max(node.lineno, body[0].lineno - 1)
            if line <= end:
                found = range(node.lineno, end + 1)
    return found


def tests_of(file: Path, line: int, ran: dict[str, tuple[float, dict[str, list[int]]]], seconds: float) -> list[str]:
    """The tests that run this line, the quickest first, while they take so many seconds together.

    Of a line that is run at import it is those that run any of its file, and those that run no line of any: they look at
    what the import has made.
    """
    at = set(statement((ROOT / file).read_text(), line))
    through = {node: set(lines[str(file)]) for node, (_, lines) in ran.items() if str(file) in lines}
    some = [node for node, lines in through.items() if lines & at]
    some = some or [*through, *(node for node, (_, lines) in ran.items() if not lines)]
    some.sort(key=lambda node: ran[node][0])
    so_far = accumulate(ran[node][0] for node in some)
    return [node for node, taken in zip(some, so_far, strict=True) if taken <= seconds] or some[:1]


def copied() -> Path:
    """A copy of what the tests need."""
    place = Path(tempfile.mkdtemp(prefix="mutation-"))
    for name in ("flatlab", "toy_problems", "tests"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", place)
    return place.resolve()


def main() -> None:
    """Try the sample, say how many of each file's mutants its tests saw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=160, help="how many changes, about")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument("--seconds", type=float, default=10, help="of tests for one change; all run in inf")
    parser.add_argument("--only", default="", help="files whose path holds this")
    args = parser.parse_args()
    BUILD.mkdir(exist_ok=True)
    ran, todo = looked_up(), chosen(args.count, args.seed, args.only)
    own = threading.local()

    def tried(one: tuple[Path, int, str, str]) -> tuple[Path, str]:
        file, line, what, changed = one
        if not hasattr(own, "place"):
            own.place = copied()
        source = (own.place / file).read_text()
        try:
            for stale in (own.place / file.parent / "__pycache__").glob(f"{file.stem}.*"):
                stale.unlink()  # two changes of one size in one second look alike
            (own.place / file).write_text(changed)
            found = apart(own.place, lambda: pass_all(tests_of(file, line, ran, args.seconds)))
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
