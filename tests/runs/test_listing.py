"""The table of records: what it lists, filters, sorts, draws, and how it names what is wrong."""

import csv
import io
import json
import subprocess
import sys

import pytest
import torch

from flatlab.runs import listing as runs
from flatlab.runs import records
from flatlab.runs.host import Host


@pytest.fixture
def out(tmp_path):
    for seconds, (method, rho) in enumerate((("SAM", 0.05), ("SAM", 0.2), ("plain", None))):
        config = {"data": "digits", "method": method, "epochs": 3} | ({} if rho is None else {"rho": rho})
        curves = [{"epoch": e, "accuracy": 0.5 + 0.1 * e + 0.01 * seconds, "loss": 1 / e} for e in (1, 2, 3)]
        result = {"curves": curves, "final": curves[-1]}
        records.save(tmp_path, "train", config, result, wall_s=60.0 * seconds, cpu_s=1, command="")
    return tmp_path


def listed(capsys, out, *words):
    runs.main(["--out", str(out), *words])
    return capsys.readouterr().out


def refused(capsys, out, *words):
    with pytest.raises(SystemExit) as ended:
        runs.main(["--out", str(out), *words])
    assert ended.value.code == 2
    return capsys.readouterr().err


def rows(said):
    return [line for line in said.splitlines() if line.startswith("│")]


def test_the_table_has_what_differs_and_says_what_does_not(capsys, out):
    said = listed(capsys, out)
    assert len(rows(said)) == 3 and "all: data digits, epochs 3" in said
    assert "rho" in said and "0.8200" in said and "2 min 0 s" in said


@pytest.fixture
def many(tmp_path):
    """Runs that differ in twelve settings, more than stand side by side."""
    for k in range(3):
        config = {"method": "SAM", **{f"setting_{j}": f"value {j} of {k}" for j in range(12)}}
        result = {"curves": [], "final": {"accuracy": 0.5 + k / 10, "loss": 1.0, "train_loss": 2.0}}
        records.save(tmp_path, "train", config, result, wall_s=60.0 * k, cpu_s=1, command="")
    return tmp_path


@pytest.mark.parametrize("columns, left_out", [(200, None), (80, "wall, date")])
def test_where_settings_do_not_fit_they_stand_in_one_column_and_scores_stay_whole(
    capsys, monkeypatch, many, columns, left_out
):
    monkeypatch.setenv("COLUMNS", str(columns))
    said = listed(capsys, many)
    assert max(map(len, said.splitlines())) <= columns
    assert all(score in said for score in ("0.5000", "0.6000", "0.7000")), "a score is cut"
    together = "".join("".join(row.split("│")[2].strip() + " " for row in rows(said)).split())
    assert all(f"setting_{j}value{j}of{k}" in together for j in range(12) for k in range(3))
    assert (f"left out for want of room: {left_out};" in said) == (left_out is not None)


def test_runs_are_filtered_by_settings_numbers_as_numbers(capsys, out):
    assert len(rows(listed(capsys, out, "train", "method=SAM"))) == 2
    assert len(rows(listed(capsys, out, "method=SAM", "rho=2e-1"))) == 1


def test_runs_are_sorted_by_score_setting_or_time(capsys, out):
    def methods(*words):
        return [row.split("│")[2].strip() for row in rows(listed(capsys, out, *words))]

    assert methods("--sort", "accuracy", "--reverse") == ["plain", "SAM", "SAM"]
    assert methods("--sort", "wall") == ["SAM", "SAM", "plain"]
    assert methods("--sort", "rho", "--reverse")[1] == "SAM"


@pytest.mark.parametrize(
    "words, said",
    [
        (["metod=SAM"], "no run has a setting 'metod'; did you mean 'method'?"),
        (["method=SMA"], "no run with method=SMA; method is SAM, plain"),
        (["trian"], "there are no records of 'trian' under"),
        (["--sort", "acuracy"], "runs cannot be sorted by 'acuracy'; did you mean 'accuracy'?"),
        (["--curve", "acuracy"], "train has no curve 'acuracy'; did you mean 'accuracy'?"),
    ],
)
def test_what_is_not_there_is_named_with_the_nearest(capsys, out, words, said):
    assert said in refused(capsys, out, *words)


def test_runs_that_differ_in_the_seed_alone_are_one_row_with_mean_and_deviation(capsys, tmp_path):
    for method, seed, accuracy in (("SAM", 1, 0.9), ("SAM", 2, 0.8), ("plain", 1, 0.5)):
        config, result = {"method": method, "seed": seed}, {"final": {"accuracy": accuracy}}
        records.save(tmp_path, "train", config, result, wall_s=1, cpu_s=1, command="")
    sam, plain = (
        [cell.strip() for cell in row.split("│")[1:-1]] for row in rows(listed(capsys, tmp_path, "--over", "seed"))
    )
    assert sam == ["method SAM", "2", "0.8500 ± 0.0707"] and plain == ["method plain", "1", "0.5000"]
    assert "no run has a setting 'sed'; did you mean 'seed'?" in refused(capsys, tmp_path, "--over", "sed")


def test_the_runs_that_were_asked_for_are_written_as_csv(capsys, out, tmp_path):
    table = list(csv.DictReader(io.StringIO(listed(capsys, out, "method=SAM", "--sort", "rho", "--csv", "-"))))
    assert [(row["config.rho"], row["result.final.accuracy"]) for row in table] == [("0.05", "0.8"), ("0.2", "0.81")]
    assert listed(capsys, out, "--csv", str(tmp_path / "all.csv")) == ""
    assert len(list(csv.DictReader((tmp_path / "all.csv").open()))) == 3


def test_an_empty_folder_is_named(capsys, tmp_path):
    assert f"no records under {tmp_path}" in refused(capsys, tmp_path)


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"key": 1}'])
def test_a_damaged_record_is_named_beside_the_others(capsys, out, text):
    (out / "train" / "broken.json").write_text(text)
    said = listed(capsys, out)
    assert len(rows(said)) == 3 and "broken.json is no record" in said and "Traceback" not in said


def test_an_unfinished_run_is_listed_with_its_epoch(capsys, out):
    host = Host(out / ".unfinished" / "train" / "0123456789ab.safetensors", device="cpu")
    host.config = {"data": "digits", "method": "USAM", "epochs": 9}
    host.keep({"w": torch.ones(2)}, {"epoch": 4})
    (out / ".unfinished" / "train" / "ba9876543210.safetensors").write_bytes(b"half")
    said = listed(capsys, out)
    assert "unfinished: 0123456789ab  method USAM" in said and "epoch 4 of 9" in said
    assert "ba9876543210.safetensors is no checkpoint" in said


def test_curves_fit_eighty_columns_and_rise_where_the_numbers_do(capsys, out):
    said = listed(capsys, out, "--curve", "accuracy", "method=plain").splitlines()
    drawing = [line for line in said if line.endswith("│") and not line.startswith("│")]
    assert len(drawing) >= 10 and max(map(len, drawing)) <= 80
    ends = [line.rindex("o") for line in drawing if "o" in line]
    assert ends == sorted(ends, reverse=True) and ends[0] > 70 > 10 > ends[-1], "from the lower left to the upper right"


def test_it_answers_without_torch(out):
    call = f"from flatlab.runs.listing import main; main(['--out', {str(out)!r}])"
    code = f"import sys; {call}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_two_hundred_records_are_read(capsys, tmp_path):
    (record,) = [json.loads(records.save(tmp_path, "train", {"seed": 0}, {}, wall_s=1, cpu_s=1, command="").read_text())]
    for seed in range(1, 200):
        text = json.dumps(record | {"key": f"{seed:012x}", "config": {"seed": seed}})
        (tmp_path / "train" / f"{seed:012x}.json").write_text(text)
    assert "train: 200 runs" in listed(capsys, tmp_path)
