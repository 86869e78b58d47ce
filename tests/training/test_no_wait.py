"""A training step never makes the host wait for the device: on `meta` every look at a number raises."""

import pytest
import torch

from flatlab.training import Train
from flatlab.training.batches import Scale
from flatlab.training.examples import Examples
from flatlab.training.methods import METHODS
from flatlab.training.trainer import Trainer

META = torch.device("meta")
SMALL = {"network": "fast_cifar", "width": (4, 4, 4)}
STEPS = {method: {"method": method} for method in METHODS}
STEPS["MSAM"] |= {"m": 8}
STEPS |= {
    "fa": {"network": "lenet5", "width": None, "fa": 0.1},
    "cov": {"network": "lenet5", "width": None, "cov": 0.1},
    "resnet20": {"network": "resnet20", "width": None, "method": "SAM"},
    "triangle": {"schedule": "triangle", "nesterov": True},
    "Adam": {"base": "Adam", "method": "StableSAM"},
}


def trainer(**given):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randint(256, (64, 3, 32, 32), dtype=torch.uint8, generator=generator), torch.arange(64) % 10
    setting = Train(**SMALL | {"augment": "crop_flip", "batch": 32, "epochs": 1} | given)
    return Trainer(setting, Examples((x, y), (x[:8], y[:8]), "test", Scale(x), 10, ""), META)


@pytest.fixture
def generators_on_meta(monkeypatch):
    """Torch makes no generator there; without one it draws from none."""
    make = torch.Generator

    class Unseeded:
        def __init__(self, device="cpu"):
            self.made = make() if torch.device(device) != META else None

        def manual_seed(self, seed):
            return self.made and self.made.manual_seed(seed)

    monkeypatch.setattr(torch, "Generator", Unseeded)


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_no_step_waits_for_the_device(name, generators_on_meta):
    """Two steps: the second has the momentum, averages and buffers of the first."""
    training = trainer(**STEPS[name])
    training.batches.begin(0)
    training.model.train()
    for k in range(2):
        training.losses[k] = training._step(*training.batches[k])
    assert training.samples >= 2 * 32
    with pytest.raises((RuntimeError, NotImplementedError)):
        float(training.losses[0])  # so the steps did run there
