"""The plane through a trained network: its middle is the network, its directions are the filters' own sizes."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from flatlab import models
from flatlab.studies import LossPlane
from flatlab.studies.loss_plane import filter_normalized
from flatlab.training import Train
from flatlab.training.examples import examples

SMALL = {"data": "digits", "network": "logistic", "epochs": 2, "lr": 0.05, "momentum": 0.0}


def test_the_middle_of_the_table_is_the_loss_of_the_network_that_train_ends_with():
    run, trained = LossPlane(**SMALL, points=5, images=5000).run(), Train(**SMALL, evaluate_train=True).run()
    assert run["weights"] == trained["weights"], "and the walk over the plane has left the weights as they were"
    assert run["places"] == [-1, -0.5, 0, 0.5, 1]
    assert run["plane"]["test"][2][2] == pytest.approx(trained["final"]["loss"], abs=1e-5)
    assert run["plane"]["train"][2][2] == pytest.approx(trained["final"]["whole_train_loss"], abs=1e-5)


def test_the_entries_are_the_losses_at_those_weights():
    """Row by the first direction, column by the second, on the first images of each set."""
    still = SMALL | {"epochs": 1, "lr": 1e-12, "weight_decay": 0.0}
    setting = LossPlane(**still, points=3, reach=0.7, images=50, plane_seed=4)
    run, source = setting.run(), examples(setting)
    torch.manual_seed(setting.seed)
    model = models.build("logistic", tuple(source.train[0].shape[1:]), source.classes)
    generator = torch.Generator().manual_seed(4)
    a, b = filter_normalized(model, generator), filter_normalized(model, generator)
    with torch.no_grad():
        for p, u, v in zip(model.parameters(), a, b, strict=True):
            p += 0.7 * u - 0.7 * v
        x, y = (t[:50] for t in source.train)
        expected = float(cross_entropy(model(source.scale(x)), y))
    assert run["plane"]["train"][2][0] == pytest.approx(expected, rel=1e-4)


def test_every_filter_of_a_direction_is_as_long_as_the_networks_and_vectors_rest():
    """By hand, filter by filter, over a convolution, a norm layer and a linear layer."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))
    for p, d in zip(net.parameters(), filter_normalized(net, torch.Generator().manual_seed(1)), strict=True):
        assert d.shape == p.shape
        for own, other in zip(p.detach(), d, strict=True):
            expected = own.norm() if p.ndim > 1 else torch.tensor(0.0)
            torch.testing.assert_close(other.norm(), expected)
    first, second = (filter_normalized(net, torch.Generator().manual_seed(s))[0].flatten() for s in (1, 2))
    assert abs(torch.cosine_similarity(first, second, dim=0)) < 0.4, "another seed, another direction"


def test_scaling_a_filter_scales_its_directions_so_the_picture_of_a_relu_net_does_not_move():
    """The reason for normalizing: a layer times 5 and the next over 5 is the same function, and has the same plane."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False)).double()
    x = torch.randn(20, 4, dtype=torch.float64)

    def moved():
        with torch.no_grad():
            d = filter_normalized(net, torch.Generator().manual_seed(3))
            return net[2].weight.add(d[1]) @ torch.relu(net[0].weight.add(d[0]) @ x.T)

    before = moved()
    with torch.no_grad():
        net[0].weight *= 5
        net[2].weight /= 5
    torch.testing.assert_close(moved(), before)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"points": 4}, "points must be odd, got 4"), ({"reach": 0.0}, "reach must be > 0, got 0.0"),
     ({"images": 0}, "images must be >= 1, got 0")],
)  # fmt: skip
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        LossPlane(**SMALL, **wrong)
