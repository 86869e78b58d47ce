"""The trained weights outlive their run: loaded, evaluated, measured in a line; refused once they are not the run's."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from flatlab import measures
from flatlab.runs import records
from flatlab.runs.experiment import perform, record_of, unfinished
from flatlab.runs.host import Host, Stopped
from flatlab.studies import LossPlane, Minimum
from flatlab.training import Train

SMALL = {"data": "digits", "network": "resnet20", "epochs": 1, "batch": 64, "lr": 0.05, "examples": 256}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs with batch normalization, whose buffers count as weights."""
    out = tmp_path_factory.mktemp("runs")
    for method in ("plain", "SAM"):
        perform(Train(**SMALL, method=method), out)
    return out


def test_a_run_is_chosen_by_its_settings_loaded_and_evaluated_as_at_its_end(folder):
    before = torch.get_rng_state()
    run = Train.finished(folder, method="SAM")
    assert torch.equal(torch.get_rng_state(), before), "whoever loads a network keeps their random numbers"
    (record,) = records.find(folder, "train", method="SAM")
    loss, accuracy = run.evaluate(*run.held)
    assert (loss, accuracy) == (record["result"]["final"]["loss"], record["result"]["final"]["accuracy"])
    assert run.checksum() == record["result"]["weights"] and not run.model.training
    assert record["trained"] == f"{record['key']}.safetensors"


def test_the_file_is_the_networks_state_by_its_own_names(folder):
    run = Train.finished(record_of(Train(**SMALL), folder))
    weights = load_file(record_of(Train(**SMALL), folder).with_suffix(".safetensors"))
    assert weights.keys() == run.model.state_dict().keys()


def test_a_finished_run_is_measured_in_one_line(folder):
    run = Train.finished(folder, method="plain")
    found = run.landscape()
    assert found.n == 256 and float(found.loss(found.w0)) == pytest.approx(run.evaluate(*run.train)[0], rel=1e-5)
    assert measures.weight_norm(found, found.w0) == pytest.approx(float(run.weights().double().norm()), rel=1e-6)


@pytest.mark.slow
def test_another_process_loads_the_same_bits(folder):
    (record,) = records.find(folder, "train", method="SAM")
    code = f"from flatlab.training import Train; print(Train.finished({str(folder)!r}, method='SAM').checksum())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == record["result"]["weights"]


def test_a_run_that_was_stopped_and_resumed_keeps_its_last_weights(tmp_path):
    chosen = Train(data="digits", network="fcn3", epochs=3, lr=0.05)
    host = Host(unfinished(chosen, tmp_path))
    host.watch = lambda news: host.stop.set() if news["epoch"] == 2 else None
    with pytest.raises(Stopped):
        perform(chosen, tmp_path, host=host)
    assert not list((tmp_path / "train").glob("*"))
    perform(chosen, tmp_path)
    assert Train.finished(tmp_path).checksum() == chosen.run()["weights"]


@pytest.mark.parametrize("kind, more", [(Minimum, {"trace_probes": 2, "noises": 2}), (LossPlane, {"points": 3})])
def test_a_study_of_one_network_keeps_it_as_well(kind, more, tmp_path):
    common = {"data": "digits", "network": "fcn3", "epochs": 1, "examples": 64, "batch": 32}
    perform(kind(**common, **more), tmp_path)
    run = kind.finished(tmp_path)
    assert run.checksum() == records.only(tmp_path, kind.experiment)["result"]["weights"]


def test_whoever_wants_no_weights_keeps_none(tmp_path):
    chosen = Train(data="digits", network="logistic", epochs=1)
    perform(chosen, tmp_path)
    path = perform(chosen, tmp_path, host=Host(unfinished(chosen, tmp_path), weights=False))
    assert [p.name for p in path.parent.iterdir()] == [path.name], "nor those of the run before"
    with pytest.raises(ValueError, match=f"{path} is of a run that kept no weights"):
        Train.finished(path)


def damage(path, field, value):
    record = json.loads(path.read_text())
    record["result"][field] = value
    path.write_text(json.dumps(record))


def test_where_several_fit_it_says_in_what_they_differ(tmp_path):
    for seed in (1, 2):
        perform(Train(data="digits", network="logistic", epochs=1, seed=seed), tmp_path)
    with pytest.raises(LookupError, match="2 records of train under .*, wanted one; they differ in seed$"):
        Train.finished(tmp_path)


def test_what_is_no_longer_the_runs_is_refused_by_name(tmp_path):
    path = perform(Train(data="digits", network="logistic", epochs=1), tmp_path)
    file, whole = path.with_suffix(".safetensors"), path.read_text()
    with pytest.raises(LookupError, match="no records of train, seed=7 under"):
        Train.finished(tmp_path, seed=7)
    with pytest.raises(LookupError, match="there is no folder or record .*elsewhere"):
        Train.finished(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="no run has a setting 'agment'; did you mean 'augment'?"):
        Train.finished(tmp_path, agment="crop_flip")
    damage(path, "data_checksum", "000000000000")
    with pytest.raises(ValueError, match=f"digits is no longer the data that {path} was trained on"):
        Train.finished(path)
    path.write_text(whole)
    weights = load_file(file)
    save_file({k: v + 1 for k, v in weights.items()}, file, {"state": "{}"})
    with pytest.raises(ValueError, match=f"{file} does not hold the weights of {path}"):
        Train.finished(path)
    save_file({"other": torch.ones(1)}, file, {"state": "{}"})
    with pytest.raises(ValueError, match=f"{file} does not fit the network logistic: .*other"):
        Train.finished(path)
    for spoil in (lambda: file.write_bytes(b"half"), file.unlink):
        spoil()
        with pytest.raises(ValueError, match=f"{file} cannot be loaded"):
            Train.finished(path)
