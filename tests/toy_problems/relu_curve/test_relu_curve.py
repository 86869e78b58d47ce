"""The ReLU network of one input: the weights that the page shows, and what is refused."""

import json

import pytest
import torch

from flatlab.explorable.bundle import located
from toy_problems import relu_curve


@pytest.mark.parametrize("name, seed, dead", [("alive", 1, 0), ("dead", 5, 2)])
def test_the_frozen_weights_are_trained_ones_at_a_minimum(name, seed, dead):
    frozen = json.loads(located("toy_problems/relu_curve/relu_weights.json").read_text())[name]
    parts = [torch.tensor(frozen[k], dtype=torch.float64).reshape(-1) for k in "abvc"]
    w, net = torch.cat(parts), relu_curve.network()
    assert net.grad(w).norm() < 1e-7
    assert torch.linalg.eigvalsh(torch.func.hessian(net.loss)(w))[0] > -1e-9
    spread = torch.relu(relu_curve.INPUTS * parts[0] + parts[1]).std(0)
    assert int((spread == 0).sum()) == dead
    torch.testing.assert_close(net.loss(relu_curve.trained(seed)), net.loss(w), rtol=1e-6, atol=0)


def test_a_factor_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match=r"factors must be finite and > 0, got \[-1.0"):
        relu_curve.rescaled(relu_curve.trained(1), -1.0)
