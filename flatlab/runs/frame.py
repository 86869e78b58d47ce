"""Records as the rows of a table, for pandas, a spreadsheet, or whatever reads CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

__all__ = ["rows", "to_frame", "write_csv"]


def rows(records: Iterable[Mapping[str, Any]], each: str | None = None) -> list[dict[str, Any]]:
    """A dict a record, whose keys are paths, as `config.lr` and `result.final.accuracy`; lists of the result are left out.

    A list of a config becomes words apart, as on a command line. With `each`, a dict for every entry of that list of the
    result, as `"curves"`, in place of what else is in the result. Raises `ValueError` where a record has no such list.

    >>> record = {"key": "ab", "config": {"width": [1, 2]}, "result": {"final": {"loss": 2.0}, "curves": [{"loss": 3.0}]}}
    >>> rows([record])
    [{'key': 'ab', 'config.width': '1 2', 'result.final.loss': 2.0}]
    >>> rows([record], each="curves")
    [{'key': 'ab', 'config.width': '1 2', 'curves.loss': 3.0}]
    """
    out = []
    for record in records:
        if each is None:
            out.append(dict(_flat(record, "")))
            continue
        points = record["result"].get(each)
        if not isinstance(points, list) or not all(isinstance(point, dict) for point in points):
            lists = [name for name, value in record["result"].items() if isinstance(value, list)]
            raise ValueError(f"record {record.get('key')} has no list {each!r}; there are {', '.join(lists) or 'none'}")
        shared = dict(_flat({k: v for k, v in record.items() if k != "result"}, ""))
        out += [shared | dict(_flat(point, f"{each}.")) for point in points]
    return out


def _flat(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}.")
        elif not isinstance(value, list | tuple):
            yield path + name, value
        elif path.startswith("config"):
            yield path + name, " ".join(map(str, value))


def to_frame(records: Iterable[Mapping[str, Any]], each: str | None = None) -> pandas.DataFrame:
    """The `rows` as a data frame of pandas, a row a run, or with `each="curves"` a row an epoch.

    Raises `ImportError` where there is no pandas, and what `rows` raises.
    """
    try:
        import pandas
    except ImportError:
        raise ImportError('to_frame needs pandas: pip install "flatlab[frames]"') from None
    return pandas.DataFrame(rows(records, each))


def write_csv(records: Iterable[Mapping[str, Any]], file: IO[str]) -> None:
    """The `rows` as CSV with a line of names; what a record lacks stays empty.

    >>> import sys
    >>> write_csv([{"key": "ab", "config": {"lr": 0.1}}, {"key": "cd", "config": {"rho": 0.2}}], sys.stdout)
    key,config.lr,config.rho
    ab,0.1,
    cd,,0.2
    """
    table = rows(records)
    names = dict.fromkeys(name for row in table for name in row)
    writer = csv.DictWriter(file, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
