"""Check a row of the ledger: `python -m book.verify CLAIM-ID`.

Where records decide the claim its verdict is computed from them once more, and where a test does the test is run. Ends with
status 0 if both agree with the row, or if nothing decides it and the row says so; with 1 if they do not; with 2 for an id
that there is not.
"""

from __future__ import annotations

import argparse
import difflib
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from book import evidence, ledger

__all__ = ["checks", "main", "row"]

ROOT = Path(__file__).parents[1]


def row(claim: str) -> dict[str, Any]:
    """The row with that id. Raises `LookupError`, naming the nearest, if there is none.

    >>> row("stable-sam/theorem10")
    Traceback (most recent call last):
    LookupError: no claim is called 'stable-sam/theorem10'; the nearest is stable-sam/theorem-10
    """
    rows = {entry["id"]: entry for entry in ledger.claims()}
    if claim not in rows:
        (near,) = difflib.get_close_matches(claim, rows, 1, cutoff=0)
        raise LookupError(f"no claim is called {claim!r}; the nearest is {near}")
    return rows[claim]


def checks(claim: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """What decides a row, each in words, and whether it agrees with the row."""
    if claim["id"] in ledger.functions():
        finding = ledger.functions()[claim["id"]]()
        agrees = (claim["verdict"], claim["measured"], claim.get("scale")) == finding[:3]
        file, line = ledger.place(claim["id"])
        read = f"{len(finding.records)} records" if finding.records else "the paper's own numbers"
        yield f"{read}, read by {file}:{line}, say: {finding.verdict}. {finding.words}", agrees
    if test := (claim["evidence"] or {}).get("test"):
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test], cwd=ROOT, capture_output=True
        )
        file, line = evidence.place_of_test(test)
        told = "" if run.returncode == 0 else "\n" + run.stdout.decode() + run.stderr.decode()
        yield f"{file}:{line} {'passes' if run.returncode == 0 else 'fails'}{told}", run.returncode == 0


def told(claim: dict[str, Any]) -> str:
    """A row in lines."""
    fields = {
        "claim": claim["claim"],
        "where": f"{ledger.NAMES[claim['paper']]}, {claim['where']}",
        "verdict": f"{claim['verdict']} ({ledger.VERDICTS[claim['verdict']]})",
        "we found": claim["measured"],
        "scale": claim.get("scale"),
        "needs": claim.get("needs"),
        "evidence": ", ".join(f"{kind} {place}" for kind, place in (claim["evidence"] or {}).items()),
    }
    lines = [
        textwrap.fill(
            f"{name + ':':10}{text}", 100, subsequent_indent=" " * 10, break_on_hyphens=False, break_long_words=False
        )
        for name, text in fields.items()
        if text
    ]
    return "\n".join([claim["id"], *lines])


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row, and whether its evidence agrees with it."""
    parser = argparse.ArgumentParser(prog="python -m book.verify", description=__doc__)
    parser.add_argument("claim", metavar="CLAIM-ID", help="as in the ledger, for example stable-sam/theorem-10")
    again = "print only the commands that make its records anew, which can take hours; add --out for a folder of their own"
    parser.add_argument("--rerun", action="store_true", help=again)
    given = parser.parse_args(argv)
    try:
        claim = row(given.claim)
    except LookupError as error:
        parser.error(str(error.args[0]))
    if given.rerun:
        commands = dict.fromkeys(record["command"] for record in evidence.read_for(claim["id"]))
        if not commands:
            parser.error(f"the verdict on {claim['id']} is not computed from records")
        print("\n".join(commands))
        return 0
    print(told(claim), flush=True)
    agree, looked = True, False
    for words, agrees in checks(claim):
        print(f"\n{'agrees' if agrees else 'DIFFERS'}: {words}", flush=True)
        agree, looked = agree and agrees, True
    if not looked:
        print("\nno record and no test decides it")
    return int(not agree)


if __name__ == "__main__":
    raise SystemExit(main())
