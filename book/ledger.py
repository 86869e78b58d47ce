"""The ledger: what the papers report, claim by claim, and what was found; `python -m book.ledger --write` computes it.

One entry a claim in the `claims.yml` of its paper, in our own words, in the order of the paper. The fields:

id        the paper's short name / the claim's name; unique, never changed once published
paper     key in references.bib
where     figure, table, theorem or section
claim     what the paper reports, with its numbers; symbols are spelled out
kind      theory | toy | measurement | benchmark
verdict   one of `VERDICTS`, which says what each means
measured  what we found, in a sentence; null until there is something to say
scale     network, data, length and seeds of the runs behind an empirical verdict
needs     of a claim that is not run yet: the sweep file with its size, and the hours, that would decide it
evidence  null, or a mapping of record (a file or a folder under book/results), test ("tests/...::name") and section (an
          anchor in the chapter), one or more of them

A claim whose id is among the `CLAIMS` of its paper's `analysis` has its verdict, words and scale from the function there.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from book.finding import Finding

__all__ = ["NAMES", "PAPERS", "VERDICTS", "claims", "files", "functions", "outdated", "place", "write"]

PAPERS = ("stable_sam", "nonuniformity", "lsam", "hessian_penalty", "relative_flatness")
NAMES = {
    "tan2025stablesam": "StableSAM", "zhou2025nonuniformity": "Nonuniformity", "anonymous2025lsam": "LSAM",
    "anonymous2025fa": "FA-regularization", "petzka2021relative": "Relative flatness",
}  # fmt: skip
"""What a reader calls a paper, by its key in references.bib."""
VERDICTS = {
    "held": "as stated: by a proof, an exact computation, or runs at the scale that the row names",
    "held in part": "some of it, or in some of the settings; the row says which",
    "refuted": "a counterexample or a proof under the claim's own assumptions, or an exact computation, says otherwise",
    "empty": "its assumptions cannot be met, or it is true of everything",
    "contradicts itself": "the paper's own numbers or sentences disagree",
    "not reproduced": "runs at the scale that the row names do not show it; the row says which effect they would show",
    "cited": "what others found, as the paper reports it; ours stands beside it where we have any",
    "not run yet": "nothing of ours decides it; the row names the runs that would, and their hours",
    "cannot be run": "something is missing that only the authors have; the row says what",
    "out of scope": "no statement about flat minima, or at a size that this book does not try; the row says why",
}
"""What a claim's verdict may be, and what it means."""
BOOK = Path(__file__).parent
WIDTH = 106
"""Of a line of the ledger."""


def files() -> list[Path]:
    """The papers' parts of the ledger."""
    return [BOOK / paper / "claims.yml" for paper in PAPERS]


def claims() -> list[dict[str, Any]]:
    """All entries, paper by paper."""
    return [entry for file in files() for entry in yaml.load(file.read_text(), yaml.CSafeLoader)]


@functools.cache
def functions() -> dict[str, Callable[[], Finding]]:
    """What computes a claim's verdict, by the claim's id."""
    every = {}
    for paper in PAPERS:
        if (BOOK / paper / "analysis.py").exists():
            every |= importlib.import_module(f"book.{paper}.analysis").CLAIMS
    return every


@functools.cache
def found(claim: str) -> Finding:
    """What the function of a claim's verdict finds. Raises `KeyError` where the claim has none."""
    return functions()[claim]()


def place(claim: str) -> tuple[str, int]:
    """File, from the root of the repository, and line of the function that computes a claim's verdict."""
    function = functions()[claim]
    while isinstance(function, functools.partial):
        function = function.args[0] if function.args and callable(function.args[0]) else function.func
    file = Path(inspect.getsourcefile(function)).relative_to(BOOK.parent).as_posix()
    return file, inspect.getsourcelines(function)[1]


def outdated() -> dict[str, Finding]:
    """The findings that their rows do not tell, by the claim's id. Raises `KeyError` for a function without its row."""
    rows = {entry["id"]: entry for entry in claims()}
    told = {claim: tuple(rows[claim].get(field) for field in ("verdict", "measured", "scale")) for claim in functions()}
    return {claim: found(claim) for claim in functions() if told[claim] != found(claim)[:3]}


def write(text: str, findings: dict[str, Finding]) -> str:
    r"""A ledger's text with verdict, words and scale of these claims; all else, comments too, as it was.

    >>> row = "- id: a/b\n  verdict: held\n  measured: >-\n    Old.\n  evidence: null\n"
    >>> print(write(row, {"a/b": Finding("not reproduced", "New.", "LeNet5", [])}), end="")
    - id: a/b
      verdict: not reproduced
      measured: >-
        New.
      scale: >-
        LeNet5
      evidence: null
    """
    for claim, finding in findings.items():
        found = _folded("measured", finding.words) + _folded("scale", finding.scale)
        row = f"verdict: {finding.verdict}\n{found}  evidence:"
        entry = rf"(^- id: {re.escape(claim)}\n(?:(?!- id: ).*\n)*?  )verdict: (?:(?!- id: ).*\n)*?  evidence:"
        text = re.sub(entry, lambda m, row=row: m[1] + row, text, flags=re.M)
    return text


def _folded(field: str, words: str) -> str:
    lines = textwrap.fill(words, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    return f"  {field}: >-\n{lines}\n"


def main() -> int:
    """Name the rows that differ from their functions, or write them; 1 if rows differ and were not written."""
    parser = argparse.ArgumentParser(prog="python -m book.ledger", description=main.__doc__)
    parser.add_argument("--write", action="store_true", help="write verdict, words and scale into the claims' files")
    wanted = parser.parse_args()
    findings = outdated()
    for claim, finding in findings.items():
        print(f"{claim}: {finding.verdict}. {finding.words}")
    if wanted.write:
        for file in files():
            file.write_text(write(file.read_text(), findings))
    return int(bool(findings) and not wanted.write)


if __name__ == "__main__":
    raise SystemExit(main())
