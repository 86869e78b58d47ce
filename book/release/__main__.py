"""Write the ledger and the records for machines into a folder."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from book import release
from book.finding import RESULTS
from book.release import claims, records
from book.release.crate import crate
from book.release.croissant import croissant
from book.release.project import codemeta


def written(document: Any) -> bytes:
    """A document as JSON."""
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def of(content: bytes) -> tuple[int, str]:
    """Size in bytes, and SHA-256."""
    return len(content), hashlib.sha256(content).hexdigest()


def files() -> dict[str, bytes]:
    """All files of a release by name."""
    found = records.every()
    table = records.table(found)
    text = io.StringIO()
    records.write(table, text)
    every = {
        "claims.json": written(claims.document()),
        "claims.schema.json": written(claims.schema()),
        "records.csv": text.getvalue().encode(),
        "records.schema.json": written(records.schema(table)),
        "codemeta.json": written(codemeta()),
    }
    every["croissant.json"] = written(croissant(records.columns(table), *of(every["records.csv"])))
    for r in found:
        name = f"{r['experiment']}/{r['key']}.json"
        every[f"records/{name}"] = (RESULTS / name).read_bytes()
    every["ro-crate-metadata.json"] = written(crate(found, {name: of(content) for name, content in every.items()}))
    every["SHA256SUMS"] = "".join(f"{of(content)[1]}  {name}\n" for name, content in sorted(every.items())).encode()
    return every


def main(argv: Sequence[str] | None = None) -> None:
    """Write a release."""
    about = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m book.release", description=release.__doc__, formatter_class=about)
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder (%(default)s)")
    out = parser.parse_args(argv).out
    every = files()
    for name, content in every.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    print(f"{len(every)} files in {out}; check them there with: sha256sum --check SHA256SUMS")


if __name__ == "__main__":
    main()
