"""Check a row of the ledger: `python -m book.verify CLAIM-ID`.

Where records decide the claim its verdict is computed from them once more, and where a test does the test is run. With
`--rerun` the runs themselves are made once more, as many as take ten minutes, and the claim is decided from what they give.

Ends with status 0 if all agrees with the row, or if nothing decides it and the row says so; with 1 if not; with 2 for an id
that there is not, a record that cannot be read, a run that fails, and runs that would take longer.
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

from book import evidence, ledger, rerun

__all__ = ["anew", "checks", "main", "row"]

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
        finding = ledger.found(claim["id"])
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


def anew(claim: dict[str, Any], most: float, folder: Path) -> Iterator[tuple[str, bool]]:
    """The runs of a row that take `most` minutes, made again in `folder`, and what the row's function says of them.

    Raises `ValueError` where no run is that short, or where one fails.
    """
    read = evidence.read_for(claim["id"])
    chosen = rerun.within(read, most)
    whole = rerun.minutes(read)
    all_of_them = f"all {len(read)} take about {rerun.how_long(whole)} of one core, with --minutes {whole + 1:.0f}"
    if not chosen:
        raise ValueError(f"no run of {claim['id']} is shorter than {most:g} minutes; {all_of_them}")
    print(f"\n{len(chosen)} of {len(read)} runs again: {rerun.how_long(rerun.minutes(chosen))} of one core", flush=True)
    made, same = [], 0
    for record in chosen:
        made.append(rerun.again(record, folder))
        alike = made[-1]["result"] == record["result"]
        same += alike
        print(f"  {record['experiment']}/{record['key']}: {'the same' if alike else 'other'} numbers", flush=True)
    verdict, words, _ = rerun.decided(claim["id"], made, folder)
    new = f"{len(made)} of {len(read)} records made anew, {same} of them with the same numbers to the last bit"
    rest = f", and the others as stored ({all_of_them})" if len(made) < len(read) else ""
    yield f"{new}{rest}, say: {verdict}. {words}", verdict == claim["verdict"]


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
    parser.add_argument("--rerun", action="store_true", help="make the runs behind it once more, the shortest first")
    longest = "with --rerun: as many runs as take so long together on one core (%(default)g)"
    parser.add_argument("--minutes", type=float, default=10, help=longest)
    kept = "with --rerun: folder of the new records; those that it has are not made again (%(default)s)"
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "rerun", help=kept)
    parser.add_argument("--commands", action="store_true", help="print only the commands that make its records")
    given = parser.parse_args(argv)
    try:
        return check(row(given.claim), given)
    except (LookupError, ValueError, OSError) as error:
        parser.error(str(error.args[0] if isinstance(error, LookupError) else error))


def check(claim: dict[str, Any], given: argparse.Namespace) -> int:
    """What was asked of one row; the exit status."""
    if (given.commands or given.rerun) and not evidence.read_for(claim["id"]):
        raise LookupError(f"the verdict on {claim['id']} is not computed from records")
    if given.commands:
        print("\n".join(dict.fromkeys(record["command"] for record in evidence.read_for(claim["id"]))))
        return 0
    print(told(claim), flush=True)
    agree, looked = True, False
    for words, agrees in anew(claim, given.minutes, given.out) if given.rerun else checks(claim):
        print(f"\n{'agrees' if agrees else 'DIFFERS'}: {words}", flush=True)
        agree, looked = agree and agrees, True
    if not looked:
        print("\nno record and no test decides it")
    return int(not agree)


if __name__ == "__main__":
    raise SystemExit(main())
