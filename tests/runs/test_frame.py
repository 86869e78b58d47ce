"""Records as a data frame of pandas."""

import pandas
import pytest

from flatlab.runs import records
from flatlab.runs.frame import rows

CURVES = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]


@pytest.fixture
def found(tmp_path):
    for lr in (0.1, 0.2):
        result = {"curves": CURVES, "final": CURVES[-1]}
        records.save(tmp_path, "trial", {"lr": lr, "width": (1, 2)}, result, wall_s=1, cpu_s=1, command="")
    return records.find(tmp_path, "trial")


def test_a_row_is_a_run_or_an_epoch(found):
    runs, epochs = rows(found), rows(found, each="curves")
    assert sorted(row["config.lr"] for row in runs) == [0.1, 0.2] and {row["result.final.loss"] for row in runs} == {1.0}
    assert len(epochs) == 4 and {row["curves.loss"] for row in epochs} == {1.0, 2.0}
    assert all(row["config.width"] == "1 2" and row["provenance.finished"] for row in [*runs, *epochs])
    with pytest.raises(ValueError, match="has no list 'distances'; there are curves"):
        rows(found, each="distances")


def test_pandas_gets_these_rows(found):
    frame = records.to_frame(found)
    assert isinstance(frame, pandas.DataFrame) and frame.to_dict("records") == rows(found)
    assert list(records.to_frame(found, each="curves").groupby("config.lr")["curves.loss"].mean()) == [1.5, 1.5]
