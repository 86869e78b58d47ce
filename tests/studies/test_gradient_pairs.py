"""The two gradients of a SAM step, measured in training."""

import pytest
import torch
from torch import nn

from flatlab.data import load
from flatlab.studies import GradientPairs
from flatlab.studies.gradient_pairs import network, summary


def test_more_windows_than_steps_are_told():
    with pytest.raises(ValueError, match="windows must be at most the 3 steps of an epoch, got 4"):
        GradientPairs(data="digits", batch=512).run()


def test_two_steps_agree_with_a_loop_in_plain_torch():
    """One epoch of two steps on digits, re-done with modules, backward and an optimizer by hand."""
    setting = GradientPairs(data="digits", method="StableSAM", rho=0.3, hidden=(20,), epochs=1, batch=719, windows=1)
    got = setting.run()
    digits = load("digits")
    torch.manual_seed(1)
    net = network(64, (20,), 10)
    x, y = digits.x_train.flatten(1) / 16.0, digits.y_train
    order = torch.randperm(1437, generator=torch.Generator().manual_seed(10_000))
    pairs = []

    def gradient(rows):
        net.zero_grad()
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        return torch.cat([p.grad.reshape(-1).clone() for p in net.parameters()])

    for rows in order.split(719):
        w = nn.utils.parameters_to_vector(net.parameters()).detach().clone()
        g = gradient(rows)
        nn.utils.vector_to_parameters(w + 0.3 * g / g.norm(), net.parameters())
        s = gradient(rows)
        nn.utils.vector_to_parameters(w - 0.1 * g.norm() / s.norm() * s, net.parameters())
        pairs.append((g.norm() / s.norm(), s @ g / (g @ g) - 1))
    ratio, excess = (sum(p[k].item() for p in pairs) / len(pairs) for k in (0, 1))
    assert got["curves"][0]["ratio"] == pytest.approx(ratio, rel=1e-4)
    assert got["curves"][0]["excess"] == pytest.approx(excess, rel=1e-3, abs=1e-5)
    loss = nn.functional.cross_entropy(net(x), y).item()
    assert got["scores"][0]["train_loss"] == pytest.approx(loss, rel=1e-5)


def test_the_summary_is_mean_and_percentiles():
    pairs = torch.stack([torch.arange(101.0), torch.arange(101.0) - 50], dim=1)
    got = summary(pairs)
    assert (got["ratio"], got["ratio_low"], got["ratio_high"]) == pytest.approx((50, 5, 95))
    assert got["positive"] == pytest.approx(50 / 101)


def test_divergence_is_named():
    with pytest.raises(FloatingPointError, match="epoch 1 with SAM, rho 0.05, lr 1e"):
        GradientPairs(data="digits", hidden=(10,), epochs=1, lr=1e30).run()


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"method": "SGD"}, "method must be one of SAM, StableSAM, got 'SGD'"),
        ({"rho": -1.0}, "rho must be >= 0, got -1.0"),
        ({"lr": 0.0}, "lr must be > 0, got 0.0"),
        ({"epochs": 0}, "epochs must be >= 1, got 0"),
    ],
)
def test_a_wrong_setting_is_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        GradientPairs(**wrong)
