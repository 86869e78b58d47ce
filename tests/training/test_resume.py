"""Kill -9 at any moment, and the rerun ends with the same bits."""

import multiprocessing
import random
import signal
import time

import pytest
import torch

from flatlab.runs import records, tensor_file
from flatlab.runs.experiment import config_of, perform, unfinished
from flatlab.runs.host import Host, Stopped
from flatlab.training import Train
from flatlab.training.examples import examples
from flatlab.training.trainer import Trainer

RUNS = {
    "dropout and the memory of CSAM": {"network": "mlp512_256", "method": "CSAM", "examples": 96, "epochs": 4},
    "dropout and the probes of FA": {"network": "mlp512_256", "fa": 0.1, "penalty_every": 3, "examples": 96, "epochs": 4},
    "the draws of LSAM in every second step": {"network": "fcn3", "method": "LSAM", "perturb_every": 2, "epochs": 4},
    "BatchNorm, crops, Adam": {
        "network": "resnet20", "method": "SAM", "base": "Adam", "lr": 0.001, "augment": "crop", "examples": 64, "epochs": 2,
    },
}  # fmt: skip
KILLS = 20
EVERY = 0.001
"""Minutes between checkpoints: some fall within an epoch, and the disk is not what the test waits for."""


def settings(name):
    return Train(**{"data": "digits", "batch": 32, "lr": 0.05} | RUNS[name])


def work(name, out):
    """In a process of its own, with one thread."""
    torch.set_num_threads(1)
    setting = settings(name)
    perform(setting, out, host=Host(unfinished(setting, out), every=EVERY))


def result(name, out):
    (record,) = records.find(out, "train", **config_of(settings(name)))
    return record["result"]


@pytest.mark.slow
def test_killed_at_twenty_random_moments_a_run_ends_with_the_weights_and_record_of_an_undisturbed_one(tmp_path):
    """The processes come from a server that has all modules loaded, so that a kill falls into the work, not the imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["flatlab.training", "sklearn.datasets", "torch._dynamo"])
    chance, killed = random.Random(0), dict.fromkeys(RUNS, 0)

    def start(name, out):
        process = context.Process(target=work, args=(name, out))
        process.start()
        return process

    start("the draws of LSAM in every second step", tmp_path / "first").join()  # which loads the server
    whole = {}
    for name in RUNS:
        began = time.perf_counter()
        start(name, tmp_path / "whole").join()
        whole[name] = time.perf_counter() - began
    while sum(killed.values()) < KILLS:
        for name in RUNS:
            out = tmp_path / f"killed {killed[name]}"
            while True:  # the same run, killed now and again until it has come through
                process = start(name, out)
                process.join(chance.uniform(0.1, 0.6) * whole[name])
                process.kill()
                process.join()
                if process.exitcode == 0:  # it was faster
                    break
                assert process.exitcode == -signal.SIGKILL
                killed[name] += 1
                if killed[name] % 4 == 0:  # and let through
                    last = start(name, out)
                    last.join()
                    assert last.exitcode == 0
                    break
            assert result(name, out) == result(name, tmp_path / "whole")
            left = [p.name for p in unfinished(settings(name), out).parent.iterdir() if p.suffix != ".lock"]
            assert not left, "nothing is left of a run that has ended"
    assert all(killed.values())


@pytest.mark.slow
def test_a_stop_leaves_a_run_that_goes_on(tmp_path):
    setting = settings("the draws of LSAM in every second step")
    whole = setting.run()
    host = Host(tmp_path / "state.safetensors")
    host.watch = lambda news: host.stop.set() if news["epoch"] == 2 else None
    with pytest.raises(Stopped, match=r"stopped in epoch [23] of 4, after step \d+ of 44"):
        setting.run(host=host)
    assert setting.run(host=Host(host.file)) == whole


def test_a_damaged_checkpoint_is_named(tmp_path):
    file = tmp_path / "state.safetensors"
    file.write_bytes(b"half of it")
    with pytest.raises(ValueError, match=r"state\.safetensors is no checkpoint .*delete it to start anew"):
        Host(file).kept()


def test_a_checkpoint_of_an_older_layout_or_another_run_is_named_with_the_remedy(tmp_path):
    setting, other = settings("the draws of LSAM in every second step"), Train(data="digits", network="logistic", epochs=1)
    host = Host(tmp_path / "state.safetensors")
    host.keep({"model/x": torch.zeros(2)}, {"epoch": 0})
    with pytest.raises(ValueError, match=r"state\.safetensors does not fit .* has no 'parts'.*delete it to start anew"):
        setting.run(host=Host(host.file))
    host.file.unlink()
    other.run(host=Host(host.file))
    with pytest.raises(ValueError, match=r"state\.safetensors does not fit this run"):
        setting.run(host=Host(host.file))
    tensor_file.write(host.file, {}, {"epoch": 0})
    with pytest.raises(ValueError, match=r"state\.safetensors is no checkpoint \('times'\): delete it"):
        Host(host.file).kept()


def test_a_checkpoint_of_other_settings_is_refused_and_stays(tmp_path):
    """Its rho would be taken up with it, and the record would name another."""
    common = {"data": "digits", "network": "logistic", "epochs": 3, "method": "SAM"}
    host = Host(tmp_path / "state.safetensors", watch=lambda news: host.stop.set())
    with pytest.raises(Stopped):
        perform(Train(**common, rho=0.05), tmp_path / "out", host=host)
    before = host.file.read_bytes()
    told = r"state\.safetensors is the checkpoint of a run with rho 0.05, and here it is 0.2: take another file, or delete"
    with pytest.raises(ValueError, match=told):
        perform(Train(**common, rho=0.2), tmp_path / "out", host=Host(host.file))
    assert host.file.read_bytes() == before
    perform(Train(**common, rho=0.05), tmp_path / "out", host=Host(host.file))


@pytest.mark.parametrize("there", ["a number", "a tensor"])
def test_a_restored_trainer_keeps_the_tensor_of_its_rate(there):
    """A graph on a GPU replays a step that reads this very tensor; a run stopped without one may go on with it."""
    setting = Train(data="digits", network="logistic", epochs=2, momentum=0.9)
    old, new = (Trainer(setting, examples(setting), torch.device("cpu")) for _ in range(2))
    if there == "a tensor":
        old.opt.param_groups[0]["lr"] = torch.tensor(0.3)
    rate = new.opt.param_groups[0]["lr"] = torch.tensor(0.1)
    new.opt.param_groups[0]["fused"] = True
    list(old.advance())
    new.restore(*old.state())
    assert new.opt.param_groups[0]["lr"] is rate and new.opt.param_groups[0]["fused"]
    start = rate.item()
    list(new.advance())
    assert rate.item() != start and new.opt.param_groups[0]["lr"] is rate, "the schedule goes on in it"


def test_two_processes_do_not_work_at_one_run(tmp_path):
    first, second = Host(tmp_path / "state.safetensors"), Host(tmp_path / "state.safetensors")
    with first.only_one(), pytest.raises(RuntimeError, match="another process is at this run"), second.only_one():
        pass
