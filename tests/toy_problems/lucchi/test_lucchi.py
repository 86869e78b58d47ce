"""Lucchi's saddle: its closed forms, and the facts that the chapter states about the methods on it."""

import math

import pytest
import torch

from flatlab import rules
from flatlab.descent import milestones, trajectory
from flatlab.landscape import Landscape
from toy_problems import Lucchi
from toy_problems.lucchi import LucchiSuccessRate

F = Lucchi()
SHARPEST = 2 + math.sqrt(2)


class Differentiated(Landscape):
    """The same function, left to automatic differentiation."""

    d = 2

    def losses(self, w, batch=None):
        x, y = w[..., 0], w[..., 1]
        return (x**4 / 4 - x * y + y**2 / 2)[..., None]


def points(n, seed=0):
    return 4 * torch.rand(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) - 2


def test_closed_forms_agree_with_automatic_differentiation():
    w, v, auto = points(200), points(200, seed=1), Differentiated()
    torch.testing.assert_close(F.loss(w), auto.loss(w))
    torch.testing.assert_close(F.grad(w), auto.grad(w))
    torch.testing.assert_close(F.hvp(w, v), auto.hvp(w, v))
    golden = torch.tensor([(1 - math.sqrt(5)) / 2, (1 + math.sqrt(5)) / 2], dtype=torch.float64)
    torch.testing.assert_close(torch.linalg.eigvalsh(F.hessian(F.saddle.double())), golden)
    for minimum in F.minima.double():
        assert F.loss(minimum) == -0.25 and torch.equal(F.grad(minimum), torch.zeros(2, dtype=torch.float64))
        eigenvalues = torch.linalg.eigvalsh(F.hessian(minimum))
        torch.testing.assert_close(eigenvalues, torch.tensor([2 - math.sqrt(2), SHARPEST], dtype=torch.float64))


def escape_direction():
    return torch.linalg.eigh(F.hessian(F.saddle.double()))[1][:, 0]


@pytest.mark.parametrize("rule", [rules.sam, rules.stable_sam])
@pytest.mark.parametrize("rho", [0.05, 0.2])
def test_the_trap_has_radius_rho_for_sam_and_stable_sam(rule, rho):
    starts = rho * torch.tensor([[0.1], [0.5], [0.99], [1.01], [1.5]], dtype=torch.float64) * escape_direction()
    (end,) = milestones(rule, F.grad, starts, lr=0.05, at=(3000,), rho=rho)
    caught = end.norm(dim=-1) < rho / 2
    assert caught.tolist() == [True, True, True, False, False]
    (free,) = milestones(rules.gd, F.grad, starts, lr=0.05, at=(3000,))
    assert (free.norm(dim=-1) > 1).all()


def test_inside_the_trap_a_sam_step_climbs():
    w = 0.5 * 0.2 * escape_direction()
    after = w - 0.01 * rules.sam(w, F.grad, rho=0.2)
    assert F.loss(after) > F.loss(w) > F.loss(w - 0.01 * F.grad(w))


@pytest.mark.parametrize("lr", [0.05, 0.1, 0.2, 0.3])
def test_sam_circles_the_minimum_with_the_predicted_width(lr):
    start = torch.tensor([0.8, 0.9], dtype=torch.float64)
    path = trajectory(rules.sam, F.grad, start, lr=lr, steps=3000, rho=0.05)
    assert torch.equal(path[-1], path[-3]) and not torch.equal(path[-1], path[-2])
    width = (path[-1] - path[-2]).norm() / 2
    assert width.item() == pytest.approx(lr * SHARPEST * 0.05 / (2 - lr * SHARPEST), rel=0.05)
    calm = trajectory(rules.stable_sam, F.grad, start, lr=lr, steps=3000, rho=0.05)
    assert (calm[-1] - calm[-2]).norm() < 1e-12


CURVATURES = torch.tensor([0.1, 1.0, 4.0], dtype=torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize("rule, options", [(rules.gd, {}), (rules.sam, {"rho": 0.1}), (rules.stable_sam, {"rho": 0.1})])
def test_on_a_quadratic_all_methods_share_the_limit_two_over_L(rule, options):
    starts = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rates = 2 / 4 * torch.tensor([0.99, 1.01], dtype=torch.float64)[:, None, None]
    (end,) = milestones(rule, lambda w: CURVATURES * w, starts.expand(2, -1, -1), lr=rates, at=(20_000,), **options)
    assert (end[0].norm(dim=-1) < 10).all()
    assert not (end[1].norm(dim=-1) < 1e100).any()


def test_the_noise_ball_of_sam_is_larger_than_that_of_sgd():
    lr, h, runs = 0.1, 1.0, 5000
    losses = {}
    for name, rule, options in (("sgd", rules.gd, {}), ("sam", rules.sam, {"rho": 0.1})):
        generator = torch.Generator().manual_seed(0)
        w, total = torch.zeros(runs, 1, dtype=torch.float64), 0.0
        for step in range(900):
            z = torch.randn(runs, 1, dtype=torch.float64, generator=generator)
            w = w - lr * rule(w, lambda v, z=z: h * v + z, **options)
            total += (h * w * w / 2).mean().item() if step >= 300 else 0.0
        losses[name] = total / 600
    assert losses["sgd"] == pytest.approx(lr / (2 * (2 - lr * h)), rel=0.01)
    assert losses["sam"] / losses["sgd"] == pytest.approx(1.085, abs=0.02)


def test_assumption_3_contradicts_assumptions_1_and_2():
    generator = torch.Generator().manual_seed(0)
    for _ in range(2000):
        curvature = 10 ** (4 * torch.rand(5, generator=generator, dtype=torch.float64) - 2)
        g = curvature * torch.randn(5, generator=generator, dtype=torch.float64)
        rho = 10 ** (3 * torch.rand(1, generator=generator, dtype=torch.float64).item() - 2)
        bound, mu = g.norm(), curvature.min()
        gamma = g.norm() / (g + rho / g.norm() * curvature * g).norm()
        assert curvature.min() <= bound / rho * (1 - gamma) / gamma * (1 + 1e-12)
        assert curvature.min() < bound / rho * (1 - gamma) / gamma + mu / gamma


def test_the_experiment_counts_what_a_plain_loop_counts():
    setting = LucchiSuccessRate(learning_rates=3, starts=200, rhos=(0.2,), steps=(50, 120), radii=(0.02, 0.3), seed=5)
    result = setting.run(fused=1)
    w0, rates = setting.sample(), setting.rates()
    assert rates[0].item() == pytest.approx(0.001) and rates[-1].item() == pytest.approx(0.3)
    assert w0.abs().max() <= 2 and abs(w0.mean().item()) < 0.2
    for curve in result["curves"]:
        rule = {"GD": rules.gd, "SAM": rules.sam, "StableSAM": rules.stable_sam}[curve["method"]]
        options = {"rho": curve["rho"]} if "rho" in curve else {}
        for k, lr in enumerate(rates.tolist()):
            path = trajectory(rule, F.grad, w0, lr=lr, steps=120, **options)
            for t, steps in enumerate((50, 120)):
                for r, radius in enumerate((0.02, 0.3)):
                    near = sum(
                        math.dist(p, (1, 1)) <= radius or math.dist(p, (-1, -1)) <= radius for p in path[steps].tolist()
                    )
                    assert curve["success"][k][t][r] == near
                    assert curve["saddle"][k][t][r] == sum(math.hypot(*p) <= radius for p in path[steps].tolist())


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"starts": 0}, "starts must be >= 1, got 0"),
        ({"lr_min": -1.0}, "lr_min must be > 0, got -1.0"),
        ({"lr_min": 0.4}, "lr_max must be at least the lr_min of 0.4, got 0.3"),
        ({"radii": (0.5, 0.1)}, r"radii must be increasing and >= 0, got \(0.5, 0.1\)"),
    ],
)
def test_a_wrong_setting_is_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        LucchiSuccessRate(**wrong)
