"""The diagonal network: its closed forms, SAMGCM's ellipsoid on a minibatch, and the facts that the chapter states."""

import math

import pytest
import torch

from flatlab import rules
from flatlab.descent import milestones
from flatlab.landscape import Landscape
from toy_problems import DiagonalNetwork
from toy_problems.diagonal_network import SparseRegression, direction, implicit_regularizer


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Differentiated(Landscape):
    """The same loss from its formula, left to automatic differentiation."""

    def __init__(self, x, y, scale):
        self.x, self.y, self.scale, self.n, self.d = x, y, scale, len(x), 2 * x.shape[1]

    def losses(self, w, batch=None):
        x, y = (self.x, self.y) if batch is None else (self.x[batch], self.y[batch])
        u, v = w.chunk(2, -1)
        return self.scale * ((u**2 - v**2) @ x.mT - y) ** 2


@pytest.mark.parametrize("batch", [None, torch.tensor([0, 3, 4])])
def test_closed_forms_agree_with_automatic_differentiation(batch):
    x, y, w, v = normal(6, 4), normal(6, seed=1), normal(3, 8, seed=2), normal(3, 8, seed=3)
    net, auto = DiagonalNetwork(x, y, scale=0.7), Differentiated(x, y, 0.7)
    for method in ("losses", "loss", "grad", "per_sample_grads"):
        torch.testing.assert_close(getattr(net, method)(w, batch), getattr(auto, method)(w, batch))
    torch.testing.assert_close(net.hvp(w, v, batch), auto.hvp(w, v, batch))


@pytest.mark.parametrize("which", [0, 1])
def test_a_factor_alone_is_its_half_of_the_whole(which):
    net, w, batch = DiagonalNetwork(normal(6, 4), normal(6, seed=1)), normal(3, 8, seed=2), torch.tensor([1, 5])
    one, half = net.factor(w, which), w.chunk(2, -1)[which]
    torch.testing.assert_close(one.loss(half, batch), net.loss(w, batch))
    torch.testing.assert_close(one.grad(half, batch), net.grad(w, batch).chunk(2, -1)[which])
    torch.testing.assert_close(one.per_sample_grads(half, batch), net.per_sample_grads(w, batch).chunk(2, -1)[which])


def test_problems_side_by_side_are_the_same_problems_alone():
    x, y, w, batch = normal(2, 6, 4), normal(2, 6, seed=1), normal(3, 2, 8, seed=2), torch.tensor([2, 4])
    net, v = DiagonalNetwork(x, y), normal(3, 2, 8, seed=3)
    for k in (0, 1):
        alone = DiagonalNetwork(x[k], y[k])
        torch.testing.assert_close(net.grad(w, batch)[:, k], alone.grad(w[:, k], batch))
        torch.testing.assert_close(net.per_sample_grads(w, batch)[:, k], alone.per_sample_grads(w[:, k], batch))
        torch.testing.assert_close(net.hvp(w, v, batch)[:, k], alone.hvp(w[:, k], v[:, k], batch))


def test_low_rank_samgcm_is_the_papers_formula_on_the_full_covariance():
    """The experiment's Woodbury form against equation (10) with the d x d inverse written out."""
    net, w, batch = DiagonalNetwork(normal(20, 15), normal(20, seed=1)), normal(30, seed=2), torch.arange(10)
    gs = net.per_sample_grads(w, batch)
    g, c = gs.mean(0), torch.cov(gs.mT, correction=0)
    inverse = torch.linalg.inv(c + 0.01 * torch.eye(30, dtype=torch.float64))
    expected = net.grad(w + 0.05 * inverse @ g / (g @ inverse @ g).sqrt(), batch)
    got, length = direction("SAMGCM", {"rho": 0.05, "damping": 0.01}, net, w, batch)
    torch.testing.assert_close(length, (0.05 * inverse @ g / (g @ inverse @ g).sqrt()).norm())
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


def climb(samples, w, rho, damping, form="low_rank"):
    """The ascent step of SAMGCM at `w`."""
    seen = []
    rules.sam_gcm(w, lambda v: seen.append(v) or v, samples, rho, form=form, damping=damping, relative=False)
    return seen[0] - w


def test_on_a_minibatch_the_damping_is_the_radius_and_all_samples_climb_alike():
    """With fewer samples than weights: length rho / sqrt(damping), and every sample's loss rises at the same rate."""
    setting = SparseRegression(seeds=3)
    train, _, w = setting.draw()
    batch = torch.arange(10)
    step = climb(lambda v: train.per_sample_grads(v, batch), w, 5e-4, 1e-6)
    torch.testing.assert_close(step.norm(dim=-1), torch.full((3,), 0.5, dtype=torch.float64), rtol=1e-3, atol=0)
    rise = (train.per_sample_grads(w, batch) @ step[..., None])[..., 0]
    assert (rise > 0).all()
    torch.testing.assert_close(rise, rise.mean(-1, keepdim=True).expand_as(rise), rtol=1e-3, atol=0)
    plain = (train.per_sample_grads(w, batch) @ train.grad(w, batch)[..., None])[..., 0]
    assert (plain.std(-1) / plain.mean(-1) > 0.3).all(), "SAM's direction raises them very unevenly"


def test_the_ellipsoid_favours_the_quiet_direction():
    """C = diag(4, 0.25) and a gradient of equal parts: the worst point lies along the quiet axis, 16 to 1."""
    spread = torch.tensor([[2.0, 0.5], [2.0, -0.5], [-2.0, 0.5], [-2.0, -0.5]], dtype=torch.float64)
    step = climb(lambda v: 1 + spread, torch.zeros(2, dtype=torch.float64), 1.0, 0.0, "full")
    assert step[1] / step[0] == pytest.approx(16, rel=1e-6)
    c = spread.mT @ spread / 4
    assert step @ c @ step == pytest.approx(1, rel=1e-6), "it lies on the ellipsoid"
    around = torch.linspace(0, 2 * math.pi, 10_001, dtype=torch.float64)
    border = torch.stack([around.cos() / 2, around.sin() / 0.5], -1)
    assert border.sum(-1).max() <= step.sum() * (1 + 1e-9), "and no other point of it rises more (Lemma 1)"


def test_scaling_the_loss_needs_the_square_in_the_damping():
    """c times the loss, lr / c, c rho and c^2 damping: the same run. With the damping left alone: another."""
    plain = SparseRegression(seeds=2, epochs=3, points=3, sam_rhos=(), gcm_rhos=(5e-4,))
    options = {"seeds": 2, "epochs": 3, "points": 3, "sam_rhos": (), "scale": 4 * 0.25, "lr": 0.05 / 4}
    scaled = SparseRegression(**options, gcm_rhos=(4 * 5e-4,), dampings=(16e-6,))
    wrong = SparseRegression(**options, gcm_rhos=(4 * 5e-4,))
    final = [torch.tensor(s.run()["curves"][1]["coefficients"]) for s in (plain, scaled, wrong)]
    torch.testing.assert_close(final[0], final[1], rtol=2e-3, atol=1e-4)
    assert (final[0] - final[2]).abs().max() > 0.05 or not torch.isfinite(final[2]).all()


def test_gradient_flow_ends_at_the_minimizer_of_the_implicit_regularizer():
    """Woodworth's Theorem 1 by its optimality condition: asinh(theta / 2 alpha^2) is in the row space of the data."""
    x, y, alpha = normal(2, 5), 2 * normal(2, seed=1), torch.tensor([[0.05], [0.3], [2.0]], dtype=torch.float64)
    net = DiagonalNetwork(x, y)
    (w,) = milestones(rules.gd, net.grad, alpha.expand(3, 10), lr=0.01, at=(8_000,))
    assert (net.loss(w) < 1e-12).all()
    theta = net.predictor(w).requires_grad_()
    (slope,) = torch.autograd.grad(implicit_regularizer(theta, alpha).sum(), theta)
    torch.testing.assert_close(slope, torch.asinh(theta / (2 * alpha**2)))
    projector = x.mT @ torch.linalg.solve(x @ x.mT, x)
    assert ((slope - slope @ projector).norm(dim=-1) < 0.02 * slope.norm(dim=-1)).all()
    u, v = w.chunk(2, -1)
    torch.testing.assert_close((u * v).sqrt(), alpha.expand_as(u), rtol=0.05, atol=0)


def test_the_regularizer_runs_from_l1_to_l2():
    thin, spread = torch.tensor([[1.0, 0.0], [0.6, 0.6]], dtype=torch.float64)
    assert implicit_regularizer(thin, 1e-4) < implicit_regularizer(spread, 1e-4), "small alpha prefers the sparse one"
    assert implicit_regularizer(thin, 10.0) > implicit_regularizer(spread, 10.0), "large alpha the short one"
    with pytest.raises(ValueError, match="alpha must be > 0, got 0"):
        implicit_regularizer(thin, 0)


def test_sam_lowers_the_effective_alpha_as_theorem_2_says_of_C_equal_to_I():
    """Unnormalized SAM in full batch: sqrt(u v) decays by exp(-rho integral of p^2), p the pull on the coefficients."""
    x, y, rho, lr = normal(2, 5), 5 * normal(2, seed=1), 0.02, 1e-3
    net, w = DiagonalNetwork(x, y), torch.full((10,), 0.3, dtype=torch.float64)
    decay = torch.zeros(5, dtype=torch.float64)
    for _ in range(4_000):
        decay += lr * rho * (net.grad(w)[:5] / w[:5]).square()
        w = w - lr * rules.usam(w, net.grad, rho)
    u, v = w.chunk(2)
    torch.testing.assert_close(math.log(0.3) - (u * v).sqrt().log(), decay, rtol=0.15, atol=1e-3)
    assert decay.max() > 0.03, "the test sees an effect"


def test_the_experiment_runs_what_a_plain_loop_runs():
    setting = SparseRegression(seeds=2, epochs=2, points=2, sam_rhos=(0.3,), gcm_rhos=(5e-4,))
    result, (train, test, w0) = setting.run(), setting.draw()
    assert result["epochs"] == [0, 1, 2] and sum(result["truth"]) == 3
    generator, x, y = torch.Generator().manual_seed(1), train.x[0], train.y[0]
    order = [torch.randperm(100, generator=generator) for _ in range(2)]
    u, v = w0[0].chunk(2)
    for batch in torch.cat(order).split(10):

        def grad(u, v, batch=batch):
            r = x[batch] @ (u * u - v * v) - y[batch]
            return (r @ x[batch]) / 10 * u, -(r @ x[batch]) / 10 * v

        g = grad(u, v)[0]
        u = u - 0.05 * grad(u + 0.3 * g / g.norm(), v)[0]
        g = grad(u, v)[1]
        v = v - 0.05 * grad(u, v + 0.3 * g / g.norm())[1]
    (sam,) = [c for c in result["curves"] if c["method"] == "SAM"]
    torch.testing.assert_close(torch.tensor(sam["coefficients"]).double(), u * u - v * v, rtol=1e-3, atol=1e-6)
    assert sam["l1"][-1][0] == pytest.approx((u * u - v * v).abs().sum().item(), rel=1e-3)
    assert torch.tensor(sam["ascent"])[1:].sub(0.3).abs().max() < 1e-5 and sam["ascent"][0] == [0, 0]
    clean = test.x[0] @ (u * u - v * v - setting.truth())
    assert sam["test"][-1][0] == pytest.approx(clean.square().mean().item() / 4, rel=1e-3)


def test_the_matched_control_is_sam_with_samgcms_length():
    net, w, batch = DiagonalNetwork(normal(20, 15), normal(20, seed=1)), normal(30, seed=2), torch.arange(10)
    options = {"rho": 0.05, "damping": 0.01}
    (_, length), (down, matched) = (direction(m, options, net, w, batch) for m in ("SAMGCM", "matched"))
    torch.testing.assert_close(matched, length)
    g = net.grad(w, batch)
    torch.testing.assert_close(down, net.grad(w + length * g / g.norm(), batch))


def test_a_run_that_diverges_is_recorded_as_none():
    setting = SparseRegression(seeds=2, epochs=30, points=3, sam_rhos=(), gcm_rhos=(0.005,))
    assert setting.run()["curves"][1]["test"][-1] == [None, None]


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"nonzeros": 151}, "nonzeros must be at most the 150 features, got 151"),
        ({"batch": 7}, "batch must divide the 100 samples, got 7"),
        ({"dampings": (0.0,)}, r"dampings must be > 0, got \(0.0,\)"),
        ({"seeds": 0}, "seeds must be >= 1, got 0"),
        ({"lr": float("nan")}, "lr must be finite and > 0, got nan"),
    ],
)
def test_a_wrong_setting_of_the_regression_is_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        SparseRegression(**wrong)


@pytest.mark.parametrize(
    "shapes, said",
    [
        (((3, 2), (2,)), r"x must be \(..., n, features\) and y \(..., n\), got \(3, 2\) and \(2,\)"),
        (((3,), (3,)), r"got \(3,\) and \(3,\)"),
    ],
)
def test_data_that_do_not_fit_are_named(shapes, said):
    with pytest.raises(ValueError, match=said):
        DiagonalNetwork(*map(torch.zeros, shapes))
