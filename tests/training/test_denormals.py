"""Weights that decay towards zero do not slow training down."""

import pytest
import torch

from flatlab.runs.host import Host
from flatlab.training import Train
from flatlab.training.denormals import flushed
from flatlab.training.examples import examples
from flatlab.training.trainer import Trainer

SMALLEST = torch.finfo(torch.float32).tiny


def denormal():
    return (torch.full((8,), 1e-30) * 1e-10).count_nonzero().item() > 0


@pytest.fixture(autouse=True)
def can():
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    torch.set_flush_denormal(False)


def test_weights_that_decay_below_the_smallest_normal_number_become_zero():
    """What a unit that is always off passes on has no gradient: a rate of 0.5 and a decay of 1 halve it in each step."""
    setting = Train(data="digits", network="fcn3", lr=0.5, schedule="constant", momentum=0.0, weight_decay=1.0, epochs=1)
    trainer = Trainer(setting, examples(setting), Host().device)
    first, bias, second, *_ = trainer.model.parameters()
    with torch.no_grad():
        first[0], bias[0], second[:, 0] = 0.0, -1.0, 100 * SMALLEST
    for _ in trainer.advance():
        assert denormal(), "between two steps the caller reckons as always"
    assert 7 < len(trainer.batches) < 30, "enough steps to pass the bound, too few to pass the smallest denormal"
    assert (second[:, 0] == 0).all()


def test_the_mode_of_before_comes_back_whatever_it_was():
    with pytest.raises(KeyError), flushed():
        assert not denormal()
        with flushed():
            pass
        assert not denormal()
        raise KeyError
    assert denormal()
