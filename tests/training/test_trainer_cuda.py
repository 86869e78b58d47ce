"""What only a GPU shows of the trainer: its agreement with the CPU, and graphs with the eager path."""

import pytest
import torch

from flatlab.runs.host import Host
from flatlab.training import Train
from flatlab.training.methods import METHODS, UNCAPTURED, options_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
SMALL = {"data": "digits", "network": "fcn", "epochs": 2, "batch": 64, "lr": 0.05}


def test_a_gpu_ends_where_the_cpu_does():
    gpu, cpu = (Train(**SMALL, method="SAM").run(host=Host(device=device)) for device in ("cuda", "cpu"))
    assert gpu["final"]["train_loss"] == pytest.approx(cpu["final"]["train_loss"], rel=1e-3)


@pytest.mark.parametrize("network", ["fcn", "resnet20"])
@pytest.mark.parametrize("method", [method for method in METHODS if method not in UNCAPTURED])
def test_a_graph_makes_the_steps_of_the_eager_path(method, network):
    more = {"m": 32} if "m" in options_of(method) else {}  # BatchNorm takes no part of one sample
    setting = Train(**SMALL | {"network": network}, method=method, **more)
    eager, graph = (setting.run(host=Host(device="cuda", graph=graph)) for graph in (False, True))
    assert graph["gradients"] == eager["gradients"]
    for a, b in zip(graph["curves"], eager["curves"], strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=5e-3)


def test_a_run_on_a_gpu_goes_on_with_the_same_bits(tmp_path):
    setting = Train(**SMALL | {"batch": 16}, method="SAM")  # a GPU looks up every 50 steps
    whole = setting.run(host=Host(device="cuda"))
    host = Host(tmp_path / "state.safetensors", device="cuda", every=0)
    host.watch = lambda news: host.stop.set() if news["epoch"] == 2 else None
    with pytest.raises(Exception, match="stopped in epoch 2"):
        setting.run(host=host)
    assert setting.run(host=Host(host.file, device="cuda")) == whole
