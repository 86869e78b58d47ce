"""The cut along the top eigenvector: claims on Figure 2 of the StableSAM paper stand on it."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from flatlab import models
from flatlab.landscape import Landscape
from flatlab.studies import EigenvectorCut
from flatlab.studies.eigenvector_cut import cut
from flatlab.training import Train
from flatlab.training.examples import examples

SMALL = {"data": "digits", "network": "logistic", "epochs": 3, "lr": 0.05, "momentum": 0.0}


class Quartic(Landscape):
    """(a . w)^2 + (a . w)^4 + |w|^2 / 2 with a unit vector a: the top eigenvector is a."""

    d = 100
    a = torch.nn.functional.normalize(torch.arange(1.0, 101.0, dtype=torch.float64), dim=0)

    def losses(self, w, batch=None):
        t = w @ self.a
        return (t**2 + t**4 + w.square().sum(-1) / 2)[..., None]


@pytest.mark.parametrize("side", [1, -1])
def test_the_cut_of_a_known_landscape(side):
    """At w = 0.3 a: eigenvalue 3 + 12 0.09, slope 0.9 + 4 0.027, and t^2 + t^4 + t^2 / 2 at t = 0.3 + alpha."""
    landscape, offsets = Quartic(), [-0.5, 0.0, 0.5]
    found = cut(landscape, 0.3 * side * landscape.a, offsets)
    assert found["eigenvalue"] == pytest.approx(4.08, rel=1e-3)
    assert found["slope"] == pytest.approx(1.008, rel=1e-3)
    assert found["loss"] == pytest.approx([1.5 * t**2 + t**4 for t in (-0.2, 0.3, 0.8)], rel=2e-3)


def test_a_loss_that_is_not_finite_is_none():
    class Wall(Quartic):
        def losses(self, w, batch=None):
            return super().losses(w) + torch.where(w @ self.a > 0.2, torch.inf, 0.0)[..., None]

    assert cut(Wall(), torch.zeros(100, dtype=torch.float64), [-0.5, 0.5])["loss"].count(None) == 1


def test_the_cuts_come_when_they_are_due_and_do_not_disturb_the_training():
    run = EigenvectorCut(**SMALL, cut_every=2, points=3, images=5000).run()
    trained = Train(**SMALL, evaluate_train=True).run()
    assert [c["epoch"] for c in run["cuts"]] == [0, 2, 3], "the start, every second epoch, and the end"
    assert run["weights"] == trained["weights"]
    assert run["offsets"] == [-0.5, 0, 0.5]
    assert run["cuts"][-1]["loss"][1] == pytest.approx(trained["final"]["whole_train_loss"], abs=1e-5)


def test_the_eigenvalue_and_the_losses_are_those_of_the_whole_hessian():
    """Against torch's own dense Hessian, at the initial weights."""
    setting = EigenvectorCut(**SMALL, points=3, images=50)
    first, source = setting.run()["cuts"][0], examples(setting)
    torch.manual_seed(setting.seed)
    model = models.build("logistic", tuple(source.train[0].shape[1:]), source.classes).double()
    x, y = (t[:50] for t in source.train)
    names, shapes = zip(*((n, p.shape) for n, p in model.named_parameters()), strict=True)
    w = torch.cat([p.detach().flatten() for p in model.parameters()])

    def loss(w):
        parts = w.split([s.numel() for s in shapes])
        weights = {n: part.view(s) for n, part, s in zip(names, parts, shapes, strict=True)}
        return cross_entropy(torch.func.functional_call(model, weights, source.scale(x).double()), y)

    values, vectors = torch.linalg.eigh(torch.autograd.functional.hessian(loss, w))
    assert first["eigenvalue"] == pytest.approx(float(values[-1]), rel=2e-3)
    slope = torch.func.grad(loss)(w) @ vectors[:, -1]
    assert first["slope"] == pytest.approx(float(slope.abs()), rel=1e-2)
    ends = [float(loss(w + a * slope.sign() * vectors[:, -1])) for a in setting.offsets()]
    assert first["loss"] == pytest.approx(ends, rel=1e-3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"points": 4}, "points must be odd, got 4"), ({"reach": 0.0}, "reach must be > 0, got 0.0"),
     ({"images": 0}, "images must be >= 1, got 0"), ({"cut_every": 0}, "cut_every must be >= 1, got 0")],
)  # fmt: skip
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        EigenvectorCut(**SMALL, **wrong)
