"""Four Gaussians in feature space: closed forms, the exact inverse of the feature map, and what moves gap and flatness."""

import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss, softplus

from flatlab.landscape import Landscape
from flatlab.measures import relative_flatness
from toy_problems import GaussianFeatures
from toy_problems.gaussian_features import FeatureMap, FourGaussians
from toy_problems.gaussian_features.flatness_and_gap import (
    FlatnessAndGap,
    Representativeness,
    correlation,
    density_error,
    first_order,
    halved_risk,
    limit_correlation,
    split_error,
)

F64 = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=seeded(seed))


class Differentiated(Landscape):
    """The same loss from its formula, left to automatic differentiation."""

    def __init__(self, phi, y, loss):
        self.phi, self.y, self.loss_name, (self.n, self.d) = phi, y, loss, phi.shape

    def losses(self, w, batch=None):
        phi, y = (self.phi, self.y) if batch is None else (self.phi[batch], self.y[batch])
        z = w @ phi.mT
        return (z - y) ** 2 if self.loss_name == "squared" else softplus(-y * z)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("batch", [None, torch.tensor([0, 3, 4])])
def test_closed_forms_agree_with_automatic_differentiation(loss, batch):
    phi, y, w, v = normal(6, 4), normal(6, seed=1).sign(), normal(3, 4, seed=2), normal(3, 4, seed=3)
    four, auto = GaussianFeatures(phi, y, loss), Differentiated(phi, y, loss)
    for method in ("losses", "loss", "grad", "per_sample_grads"):
        torch.testing.assert_close(getattr(four, method)(w, batch), getattr(auto, method)(w, batch))
    torch.testing.assert_close(four.hvp(w, v, batch), auto.hvp(w, v, batch))
    torch.testing.assert_close((four.hessian(w) @ v[..., None])[..., 0], auto.hvp(w, v))
    assert four.relative_flatness(w[0]).item() == pytest.approx(relative_flatness(auto, w[0]), rel=1e-10)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_the_minimizers_of_data_sets_side_by_side_have_no_gradient(loss):
    phi, y = FourGaussians.of("rectangle", 2.0, 5).draw(60, sets=4, generator=seeded())
    four = GaussianFeatures(phi, y, loss)
    for penalty in (0.0, 0.3):
        w = four.minimizer(penalty)
        assert (four.grad(w) + 2 * penalty * w).abs().max() < 1e-8
        torch.testing.assert_close(w[2], GaussianFeatures(phi[2], y[2], loss).minimizer(penalty), rtol=1e-6, atol=1e-8)


def test_separable_classes_without_penalty_are_refused():
    phi = torch.tensor([[1.0, 0.1], [2.0, -0.3], [-1.0, 0.2]], dtype=F64)
    with pytest.raises(FloatingPointError, match="separable classes"):
        GaussianFeatures(phi, torch.tensor([1.0, 1.0, -1.0], dtype=F64), "logistic").minimizer()


@pytest.mark.parametrize("m", [2, 10, 50])
def test_the_feature_map_is_inverted_to_rounding(m):
    phi = FeatureMap(m, seed=3)
    features = 10 * normal(400, m)
    inputs = phi.inverse(features)
    # Four layers stretch by at most 5^4 backwards, and forwards they shrink: errors stay within a few hundred ulps.
    assert (phi(inputs) - features).abs().max() < 1e-11
    assert (phi.inverse(phi(inputs)) - inputs).abs().max() < 1e-15 * 5**4 * inputs.abs().max()
    x = inputs[0].clone().requires_grad_()
    slopes = torch.linalg.svdvals(torch.autograd.functional.jacobian(phi, x))
    assert slopes.min() > 0.2**4 and slopes.max() < 1


def test_a_network_on_the_inputs_has_the_flatness_of_the_classifier_on_the_features():
    features, y = FourGaussians.of("rectangle", 3.0, 6).draw(80, generator=seeded())
    phi, head = FeatureMap(6), nn.Linear(6, 1, bias=False).double()
    net = Landscape.of(nn.Sequential(phi, head), mse_loss, (phi.inverse(features), y[:, None]))
    four = GaussianFeatures(features, y)
    assert net.loss(net.w0).item() == pytest.approx(four.loss(net.w0).item(), rel=1e-9)
    assert relative_flatness(net, net.w0) == pytest.approx(four.relative_flatness(net.w0).item(), rel=1e-9)


@pytest.mark.parametrize("layout", ["rectangle", "crossed", "drawn"])
def test_the_risk_is_the_mean_loss_of_many_samples(layout):
    four = FourGaussians.of(layout, 2.5, 4, sets=2, generator=seeded(1))
    phi, y = four.draw(400_000, generator=seeded(2))
    w = torch.tensor([0.6, -0.3, 0.2, 0.4], dtype=F64)
    for loss in ("squared", "logistic"):
        values = GaussianFeatures(phi, y, loss).losses(w)
        stderr = values.std(-1) / math.sqrt(values.shape[-1])
        assert ((four.risk(w, loss) - values.mean(-1)).abs() < 4 * stderr).all()
    wrong = ((phi @ w) * y < 0).double().mean(-1)
    assert (four.risk(w, "error") - wrong).abs().max() < 0.004


def test_the_layouts_are_what_they_say():
    sides = FourGaussians.of("rectangle", 3.0, 5).centres
    assert sides.norm(dim=-1).tolist() == pytest.approx([1.5 * math.sqrt(2)] * 4)
    assert (sides[0] - sides[1]).norm() == (sides[0] - sides[2]).norm() == 3
    w = torch.tensor([1.0, 0.4, 0, 0, 0], dtype=F64)
    assert FourGaussians.of("crossed", 3.0, 5).risk(w, "error") == pytest.approx(0.5)
    drawn = FourGaussians.of("drawn", 2.0, 5, sets=50, generator=seeded())
    assert drawn.centres.mean(-2).abs().max() < 1e-12
    gaps = (drawn.centres[..., :, None, :] - drawn.centres[..., None, :, :]).square().sum(-1)
    off = gaps[..., ~torch.eye(4, dtype=bool)]
    assert set(off.div(4).round(decimals=6).unique().tolist()) == {1.0, 2.0, 3.0}, "different vertices of a cube of side 2"
    label = FourGaussians.of("rectangle", 1.0, 3).label(normal(200, 3))
    assert (label == normal(200, 3)[:, 0].sign()).all()


@pytest.mark.parametrize(
    "wrong, said",
    [
        (lambda: FourGaussians.of("ring", 1.0, 2), "layout must be one of rectangle, crossed, drawn, got 'ring'"),
        (lambda: FourGaussians.of("rectangle", 0.0, 2), "separation must be finite and > 0, got 0.0"),
        (lambda: FourGaussians.of("rectangle", 1.0, 1), "m must be at least 2, got 1"),
        (lambda: GaussianFeatures(torch.ones(3, 2), torch.ones(2)), r"phi must be .* got \(3, 2\) and \(2,\)"),
        (lambda: GaussianFeatures(torch.ones(3, 2), torch.ones(3), "hinge"), "loss must be one of .*, got 'hinge'"),
        (lambda: FlatnessAndGap(generators=("ring",)), "generators must be among .* got 'ring'"),
        (lambda: FlatnessAndGap(sets=3), "sets must be >= 10, got 3"),
        (lambda: Representativeness(deltas=(0.0,)), r"deltas must be > 0, got \(0.0,\)"),
    ],
)
def test_a_wrong_setting_is_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        wrong()


# --- Figure 3: what moves kappa and the gap together ---------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("separation, m", [(0.5, 2), (2.0, 2), (2.0, 10), (5.0, 10)])
def test_the_correlation_over_data_sets_is_the_closed_form(separation, m):
    four = FourGaussians.of("rectangle", separation, m)
    phi, y = four.draw(1000, sets=1500, generator=seeded(5))
    data = GaussianFeatures(phi, y)
    w = data.minimizer()
    found = correlation(data.relative_flatness(w), four.risk(w, "squared") - data.loss(w)).item()
    limit = limit_correlation(separation, m)
    # Three standard errors, and what orders beyond the first leave at n = 1000.
    assert found == pytest.approx(limit, abs=3 * (1 - limit**2) / math.sqrt(1500) + 0.015)


def test_the_closed_form_falls_with_the_separation_and_goes_as_its_inverse():
    values = [limit_correlation(s, 10) for s in (0.01, 0.5, 1, 2, 3, 4, 6, 10, 100, 1000)]
    assert values == sorted(values, reverse=True) and values[0] > 0.999
    assert 1000 * values[-1] == pytest.approx(1, abs=0.01)
    for m in (2, 40):
        assert limit_correlation(4.0, m) < limit_correlation(1.0, m)


@pytest.mark.slow
@pytest.mark.parametrize("loss, penalty", [("squared", 0.2), ("logistic", 0.002), ("logistic", 0.2)])
def test_the_first_order_prediction_is_the_correlation_over_data_sets(loss, penalty):
    four = FourGaussians.of("rectangle", 3.0, 3)
    predicted = first_order(GaussianFeatures(*four.draw(100_000, generator=seeded(1)), loss), penalty)
    phi, y = four.draw(4000, sets=600, generator=seeded(2))
    data = GaussianFeatures(phi, y, loss)
    w = data.minimizer(penalty)
    found = correlation(data.relative_flatness(w), four.risk(w, loss) - data.loss(w)).item()
    assert found == pytest.approx(predicted, abs=0.08)


def test_the_gap_of_a_data_set_is_the_luck_of_its_draw():
    """To first order it is minus the deviation of the mean loss at the population's own minimizer."""
    four = FourGaussians.of("rectangle", 2.0, 4)
    best = GaussianFeatures(*four.draw(400_000, generator=seeded(1))).minimizer()
    phi, y = four.draw(2000, sets=200, generator=seeded(2))
    data = GaussianFeatures(phi, y)
    w = data.minimizer()
    gap = four.risk(w, "squared") - data.loss(w)
    assert correlation(gap, -data.loss(best)) > 0.97


def test_with_a_new_distribution_for_every_data_set_more_samples_mean_less_correlation():
    """Kappa's spread is that of the distributions, the gap's that of luck, 1 / sqrt n; their covariance is about 1 / n."""
    found = []
    for n in (125, 4000):
        generator = seeded(3)
        four = FourGaussians.of("drawn", 0.5, 5, 250, generator)
        data = GaussianFeatures(*four.draw(n, generator=generator))
        w = data.minimizer(0.002)
        found.append(correlation(data.relative_flatness(w), four.risk(w, "squared") - data.loss(w)).item())
    assert found[0] > 0.35 and found[1] < 0.2


def test_an_experiment_says_the_same_with_a_small_setting():
    small = FlatnessAndGap(
        generators=("rectangle", "published"),
        dimensions=(3,),
        losses=("squared",),
        penalties=(0.002,),
        separations=(0.5, 5.0),
        sets=40,
        tests=1000,
        resamples=200,
        reference=5000,
    )
    result = small.run()
    assert [c["generator"] for c in result["curves"]] == ["rectangle", "published"] and result["curves"][1]["m"] == 10
    fixed = result["curves"][0]
    assert fixed["pearson"][0] > 0.85 > fixed["pearson"][1] and fixed["low"][0] < fixed["pearson"][0] < fixed["high"][0]
    assert fixed["limit"][0] == pytest.approx(limit_correlation(0.5, 3), abs=0.05)
    assert len(result["points"][0]["kappa"]) == 40 and result == small.run()
    assert dataclasses.replace(small, seed=2).run() != result


# --- Figure 4: representativeness ----------------------------------------------------------------------------------


def test_the_risk_with_labels_by_the_sign_is_the_mean_of_many():
    phi, _ = FourGaussians.of("rectangle", 1.5, 3).draw(400_000, generator=seeded())
    w = torch.tensor([0.5, 0.2, -0.1], dtype=F64)
    values = GaussianFeatures(phi, phi[:, 0].sign()).losses(w)
    assert abs(halved_risk(w, 1.5) - values.mean()) < 4 * values.std() / math.sqrt(len(values))


def test_the_split_error_is_its_definition_and_its_size_that_of_the_test_parts_noise():
    losses, rises = normal(3, 40).square(), normal(3, 40, seed=1).square()
    left = torch.stack([torch.randperm(40, generator=seeded(k))[:4] for k in range(5)])
    expected = torch.zeros(3, dtype=F64)
    for row in left:
        rest = [i for i in range(40) if i not in row.tolist()]
        expected += (losses[:, row].mean(1) - (losses + rises)[:, rest].mean(1)).abs() / 5
    torch.testing.assert_close(split_error(losses, rises, left), expected)
    many = normal(400, 500)
    folds = torch.stack([torch.randperm(500, generator=seeded(k))[:50] for k in range(10)])
    found = split_error(many, torch.zeros_like(many), folds).mean().item()
    assert found == pytest.approx(math.sqrt(2 / math.pi * (1 / 50 + 1 / 450)), rel=0.03)


@pytest.mark.slow
def test_the_distance_of_a_density_estimate():
    four = FourGaussians.of("rectangle", 2.0, 2)
    phi, _ = four.draw(3000, generator=seeded())
    wide, narrow = (density_error(four, phi[None], delta, 4000, seeded(1)) for delta in (0.3, 0.001))
    assert wide < 0.3 and narrow > 1.9, "isolated spikes share nothing with the density: 2"


def test_the_gap_is_representativeness_and_feature_robustness():
    """Equation (5): both sides of it by their own sampling, on one data set."""
    setting = Representativeness(dimensions=(2,), separations=(1.5,), deltas=(0.3,), sets=2, directions=2000, densities=1)
    point = setting.point(2, 1.5)
    generator = seeded(setting.seed)
    phi, _ = FourGaussians.of("rectangle", 1.5, 2).draw(500, 2, generator)
    data = GaussianFeatures(phi, phi[..., 0].sign())
    w = data.minimizer()
    angle = 2 * math.pi * torch.arange(720, dtype=F64) / 720
    ring = 0.3 * phi.norm(dim=-1)[..., None, None] * torch.stack([angle.cos(), angle.sin()], -1)
    around = (phi[..., None, :] + ring).flatten(1, 2)
    mixture = GaussianFeatures(around, around[..., 0].sign()).loss(w)  # the second term of equation (3)
    representativeness = halved_risk(w, 1.5) - mixture
    expected = torch.tensor(point["gap"], dtype=F64) - torch.tensor(point["true"][0], dtype=F64)
    torch.testing.assert_close(representativeness, expected, atol=2e-3, rtol=0)
