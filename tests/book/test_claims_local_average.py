"""What the ledger says of the LSAM paper: its theory against counterexamples, its text against its table, its radius
against the records."""

import itertools
import math
import statistics

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from book.finding import RESULTS
from book.lsam import analysis, cifar100, rates, said
from book.lsam.analysis import balls, plane, states, surface
from book.lsam.said import over, steadier, table
from book.lsam.trainings import DRAWS, RADII, apart, difference, fluctuates_less, fluctuation, lenet
from flatlab import measures, models, rules
from flatlab.data import load
from flatlab.landscape import Landscape
from flatlab.runs import records
from flatlab.training import Train
from toy_problems.one_dimensional import CURVES, Rough


def at(x):
    return torch.tensor([x], dtype=torch.float64)


def interval(rho, cells=100_000):
    return rho * (2 * (torch.arange(cells, dtype=torch.float64) + 0.5) / cells - 1)


# ---- theory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wells", "needle", "kink", "rough"])
def test_every_point_of_a_continuous_loss_is_a_lebesgue_point_sharp_or_flat(name):
    """The bottoms of the narrow and of the wide well, the needle's tip, the kink, a corner of the rough curve."""
    curve = CURVES[name]
    for x in (-0.9, 0.0, 0.6):
        assert (curve.average(at(x), 1e-6) - curve.loss(at(x))).abs() < 1e-4
        assert curve.oscillation(at(x), 1e-6) < 1e-4


def test_the_average_is_a_convolution_with_the_indicator_of_the_ball():
    step, rho = 1 / 2048, 0.25
    x = torch.arange(-2, 2, step, dtype=torch.float64)
    kernel = np.ones(int(2 * rho / step) + 1)
    smooth = np.convolve(CURVES["wells"].value(x).numpy(), kernel / len(kernel), mode="same")
    inner = slice(600, -600)
    np.testing.assert_allclose(smooth[inner], CURVES["wells"].average(x[:, None], rho)[inner], atol=2e-3)


def test_equation_4_fails_at_a_jump_and_holds_at_a_kink():
    """The gradient of the average against the average of the gradients, at rho = 0.1."""
    for name, x, same in (("step", 0.0, False), ("kink", 0.03, True), ("wells", -0.8, True)):
        curve = CURVES[name]
        slope = (curve.average(at(x + 1e-5), 0.1) - curve.average(at(x - 1e-5), 0.1)).item() / 2e-5
        mean = curve.grad((x + interval(0.1, 2_000))[:, None]).mean().item()
        assert (abs(slope - mean) < 1e-2) == same, (name, slope, mean)
        if not same:
            assert (slope, mean) == (pytest.approx(1.325, abs=1e-3), pytest.approx(-0.175, abs=1e-3))


def test_integrability_to_every_power_does_not_make_a_loss_continuous():
    """The step is bounded, so in every L^p; its change over a distance r does not go to zero with r."""
    step = CURVES["step"]
    assert all(step.loss(at(r)) - step.loss(at(0.0)) > 0.29 for r in (1e-3, 1e-9))


def test_a_bounded_curve_has_at_no_point_an_exponent_above_one_half():
    """On every dyadic interval of length l the middle differs from the mean of the ends by a fixed multiple of sqrt(l).

    With an exponent above 1/2 at a point this would fall faster on the intervals around it.
    """
    rough = Rough(alpha=0.5, terms=11)
    for n in range(1, 10):
        ends = torch.linspace(-2, 2, 2**n + 1, dtype=torch.float64)
        low, middle, high = (rough.value(x) for x in (ends[:-1], (ends[:-1] + ends[1:]) / 2, ends[1:]))
        apart = ((low + high) / 2 - middle) / (ends[1] - ends[0]).sqrt()
        torch.testing.assert_close(apart, torch.full_like(apart, apart[0].item()))
        assert apart[0] == pytest.approx(0.55 / 4, rel=1e-6)


def test_a_narrow_hole_in_a_flat_region_has_a_gap_that_no_term_of_corollary_1_sees():
    """Two kinds of examples, equally likely, of losses l and 1 - l; the sample holds the first kind alone."""
    s, rho, cells = 0.001, 0.5, 1_000_001
    w = torch.linspace(-rho, rho, cells, dtype=torch.float64)
    trained = (w.abs() / (2 * s)).clamp(max=0.5)
    population = torch.full_like(w, 0.5)
    modulus = (population - population[cells // 2]).abs().max().item()
    second = (population.mean() - trained.mean()).abs().item()
    oscillation = (trained - trained.mean()).abs().mean().item()
    gap = (population - trained)[cells // 2].item()
    assert modulus == 0.0 and gap == pytest.approx(0.5)
    assert (second, oscillation) == (pytest.approx(s / 2, rel=1e-2), pytest.approx(s, rel=1e-2))


def test_averages_of_a_bounded_loss_are_continuous_however_irregular_it_is():
    """Over an interval of half-width rho the average of values in [0, 1] changes by at most the move over 2 rho.

    So a function that is everywhere the limit of its averages is a limit of continuous functions.
    """
    values = torch.rand(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).round()  # a coin each cell
    assert values.diff().abs().mean() > 0.4, "it jumps at every second cell"
    for cells in (10, 1000):
        average = values.unfold(0, 2 * cells, 1).mean(1)
        assert average.diff().abs().max() <= 1 / (2 * cells) + 1e-12


def test_the_modulus_of_theorem_4_1_is_that_of_the_steepest_place_of_all():
    """Around 0 this loss is constant; its largest change over a distance rho, as defined, is made far away."""
    x = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    loss, rho = torch.sigmoid(50 * (x - 20)), 0.1
    apart = int(rho / (x[1] - x[0]).item() + 0.5)
    everywhere = (loss[apart:] - loss[:-apart]).abs().max().item()
    here = (loss[(x.abs() <= rho)] - loss[30_000]).abs().max().item()
    assert here < 1e-12 and everywhere == pytest.approx(math.tanh(50 * rho / 4), abs=1e-3) and everywhere > 0.8


def test_the_mean_over_a_ball_can_move_where_its_maximum_does_not_and_never_by_more_than_the_loss():
    """Two samples' losses on an interval: a spike moves the maximum alone, a change below the top the mean alone."""
    u = interval(1.0, 2000)
    base = u.abs()
    spike, below = base + 2 * (u.abs() < 0.005), base * u.abs()
    moves = [
        ((other.mean() - base.mean()).abs().item(), (other.max() - base.max()).abs().item()) for other in (spike, below)
    ]
    assert moves[0] == (pytest.approx(0.01), pytest.approx(1, abs=0.01))
    assert moves[1] == (pytest.approx(1 / 6, abs=1e-3), pytest.approx(0, abs=1e-3))
    for other, (mean, top) in zip((spike, below), moves, strict=True):
        assert mean <= (other - base).abs().mean() + 1e-12 and top <= (other - base).abs().max()


def test_theorem_4_1_fails_and_its_repair_holds():
    """Samples l_a = min(1, 3 w^2 / 2) and l_b = 1 - l_a, equally likely; all of S of kind a; w = 0, rho = 1/2."""
    l_a = (1.5 * interval(0.5) ** 2).clamp_max(1)
    gap, one, two = 0.5, 0.0, abs(0.5 - l_a.mean().item())
    three = (l_a - l_a.mean()).abs().mean().item()
    assert two == pytest.approx(0.375) and three == pytest.approx(math.sqrt(1 / 12) / 3, rel=1e-4)
    assert one + two + three == pytest.approx(0.4712, abs=1e-4) and one + two + three < gap
    repaired = l_a.abs().mean().item()  # E |L_S(w + u) - L_S(w)|
    assert one + two + repaired >= gap - 1e-9


@pytest.mark.parametrize("d, ratio", [(1, 0.770), (2, 0.827), (10, 0.926), (1000, 0.967), (10**7, 0.968)])
def test_equation_21_fails_at_every_quadratic_minimum(d, ratio):
    """Its right side over its left is at most the mean absolute deviation of a Beta variable over its mean, below 1."""
    a, b = 1 / 2, (d + 1) / 2
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    most = 2 * (d + 2) * math.exp(a * math.log(a) + b * math.log(b) - (a + b + 1) * math.log(a + b) - log_beta)
    assert most == pytest.approx(ratio, abs=5e-4)
    if d > 1000:
        return  # the formula alone: its limit
    generator = torch.Generator().manual_seed(d)
    u2 = rules.ball(torch.zeros(8_000, d, dtype=torch.float64), 1.0, generator).square()
    assert ((u2[:, 0] - 1 / (d + 2)).abs().mean() * (d + 2)).item() == pytest.approx(most, rel=0.04)
    for _ in range(3):
        rise = u2 @ torch.rand(d, dtype=torch.float64, generator=generator) ** 4
        assert (rise - rise.mean()).abs().mean() < 1.02 * most * rise.mean()


def test_equation_22_holds_for_fixed_weights():
    n, delta = 50, 0.05
    losses = torch.rand(20_000, n, generator=torch.Generator().manual_seed(0)).round()  # 0 or 1: the widest spread
    away, bound = (losses.mean(1) - 0.5).abs(), math.sqrt(math.log(2 / delta) / (2 * n))
    assert 0 < (away > bound).float().mean() <= delta
    assert (away > bound / 2).float().mean() > 3 * delta, "half of it would be exceeded too often"


def test_theorem_4_2_fails_for_a_learner_that_memorizes_coin_flips():
    n, d, delta, rho = 400, 600, 0.05, 1e-6
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(n, d, dtype=torch.float64, generator=generator)
        y = torch.randint(0, 2, (n,), generator=generator).double() * 2 - 1
        w = torch.linalg.pinv(x) @ y
        gap = 0.5 - torch.sigmoid(-10 * y * (x @ w)).mean().item()
        lipschitz = 10 / 4 * x.norm(dim=1).mean().item()
        bound = lipschitz * rho + math.sqrt(2 * math.log(2 / delta) / n)
        assert gap > 0.4999 and bound == pytest.approx(0.136, abs=5e-4)


def test_the_complexity_of_a_ball_in_many_dimensions_makes_the_pac_bayes_bound_vacuous():
    """KL of the uniform distribution on a ball to the best Gaussian: d = 1 by quadrature; ResNet-20 at the paper's rho."""

    def divergence(d, norm, rho):
        variance = (norm**2 + rho**2 * d / (d + 2)) / d
        log_volume = d / 2 * math.log(math.pi) - math.lgamma(d / 2 + 1) + d * math.log(rho)
        return d / 2 * math.log(2 * math.pi * math.e * variance) - log_volume

    x, variance = 2.0 + interval(0.5), 4 + 0.25 / 3
    log_prior = -x.square() / (2 * variance) - math.log(2 * math.pi * variance) / 2
    assert divergence(1, 2.0, 0.5) == pytest.approx(-log_prior.mean().item(), rel=1e-6)  # the ball has length 1
    norm = states()[-1]["weight_norm"]
    assert analysis.gradients()["result"]["parameters"] == 272_474
    assert math.sqrt(divergence(272_474, norm, 0.15) / 1e5) == pytest.approx(3.96, abs=5e-3)
    assert divergence(272_474, norm, 50.0) < divergence(272_474, norm, 5.0) < divergence(272_474, norm, 0.15)


def test_the_bias_of_a_rough_loss_is_at_most_a_power_of_the_radius():
    curve, constant = Rough(0.5, terms=40), []
    for rho in torch.logspace(-5, -1, 30, dtype=torch.float64).tolist():
        constant.append((curve.average(at(-2.0), rho) - curve.loss(at(-2.0))).abs().item() / rho**0.5)
    assert max(constant) / min(constant) < 1.4


def test_a_spike_of_any_power_has_a_gradient_that_is_not_integrable_to_large_powers():
    """r^-beta in d dimensions: the integral of |gradient|^p over eps < r < 1 grows without bound once p (beta + 1) >= d."""
    d, beta = 3, 0.5

    def integral(p, eps):
        return beta**p * (1 - eps ** (d - p * (beta + 1))) / (d - p * (beta + 1))

    assert integral(1.5, 1e-12) == pytest.approx(integral(1.5, 1e-6), rel=1e-3)
    assert integral(2.5, 1e-12) > 1e3 * integral(2.5, 1e-6)


def test_the_bound_has_no_best_radius():
    """(C_D + C_S) rho^alpha + sqrt(2 log(2 / delta) / n) grows with rho at every n and alpha: nothing is balanced."""
    rho = torch.logspace(-8, 0, 200, dtype=torch.float64)
    for n in (100, 50_000):
        for alpha in (0.1, 0.5, 1.0):
            bound = 2.0 * rho**alpha + math.sqrt(2 * math.log(2 / 0.05) / n)
            assert (bound.diff() > 0).all()
            rate = n ** (-1 / (2 * alpha))
            assert 2.0 * (rate / 2) ** alpha < 2.0 * rate**alpha, "half of the radius that the paper chooses is better"


def test_where_the_loss_is_constant_on_the_ball_nothing_oscillates():
    step = CURVES["step"]  # constant beyond its edge at 0
    assert step.oscillation(at(1.0), 0.5) < 1e-12 and step.oscillation(at(0.1), 0.5) > 0.05


def test_a_lipschitz_loss_moves_by_at_most_its_constant_times_the_radius():
    """|w| has the constant 1 and attains it; the two wells' constant is measured on a grid."""
    for name in ("kink", "wells"):
        curve = CURVES[name]
        x = torch.linspace(-2, 2, 20_001, dtype=torch.float64)
        constant = (curve.value(x).diff() / x.diff()).abs().max()
        for centre in (-0.8, 0.0, 0.7):
            for rho in (0.01, 0.3):
                moved = (curve.value(centre + interval(rho, 2001)) - curve.value(torch.tensor(centre))).abs().max()
                assert moved <= constant * rho * (1 + 1e-3)
                assert name != "kink" or moved > 0.99 * constant * rho, "half of it would not do"


def test_the_empirical_term_of_a_pac_bayes_bound_with_a_ball_is_the_local_average():
    """E over Q, uniform on the interval, of L_S: by drawing from Q, against the closed form of the average."""
    for name in ("wells", "rough"):
        draws = rules.ball(at(0.4).expand(200_000, 1), 0.3, torch.Generator().manual_seed(0))
        risk = CURVES[name].loss(at(0.4) + draws)
        exact = CURVES[name].average(at(0.4), 0.3).item()
        assert risk.mean().item() == pytest.approx(exact, abs=5 * risk.std().item() / len(risk) ** 0.5)


def test_a_spike_of_power_d_or_more_is_not_integrable():
    """The integral of r^-beta r^(d-1) over eps < r < 1 stays finite as eps falls if beta < d, and grows if beta > d."""
    d = 3

    def integral(beta, eps):
        return (1 - eps ** (d - beta)) / (d - beta)

    assert integral(2.5, 1e-12) == pytest.approx(integral(2.5, 1e-9), rel=1e-3)
    assert integral(3.5, 1e-12) > 30 * integral(3.5, 1e-9)


@pytest.mark.parametrize("p", [2.0, 4.0, 20.0])
def test_a_gradient_integrable_to_the_power_p_makes_the_loss_hoelder_with_exponent_1_minus_1_over_p(p):
    """|w|^beta in one dimension: its gradient is in L^p for beta > 1 - 1/p, and then 1 - 1/p is an exponent of it."""
    beta = 1 - 1 / p + 0.01
    power = p * (beta - 1) + 1  # the integral of |gradient|^p from eps to 1 is beta^p (1 - eps^power) / power
    assert power > 0
    x = torch.logspace(-12, 0, 100, dtype=torch.float64)
    y = torch.linspace(0, 1, 101, dtype=torch.float64)[:, None] * x
    quotient = (x**beta - y**beta) / (x - y).clamp_min(1e-300) ** (1 - 1 / p)
    assert quotient[:-1].max() <= 1 + 1e-9, "with the constant 1, on every scale"
    too_rough = 1 - 1 / p - 0.05
    assert (x**too_rough / x ** (1 - 1 / p))[0] > 3, "while a rougher one, with no gradient in L^p, exceeds every constant"


def test_the_loss_of_a_network_grows_like_the_power_of_its_depth():
    """Weights scaled by t: a ReLU network without biases of three layers has cross-entropy of order t^3."""
    digits = load("digits")
    x, y = digits.flat(digits.x_train[:100]).double(), digits.y_train[:100]
    torch.manual_seed(0)
    sizes = (64, 20, 20, 10)
    weights = [torch.randn(b, a, dtype=torch.float64) / a**0.5 for a, b in itertools.pairwise(sizes)]

    def loss(t):
        h = x
        for k, w in enumerate(weights):
            h = h @ (t * w).T
            h = h.relu() if k < len(weights) - 1 else h
        return cross_entropy(h, y).item()

    assert math.log10(loss(1e4) / loss(1e3)) == pytest.approx(3, abs=1e-3)


# ---- the radius in d dimensions --------------------------------------------------------------------------------------


def test_a_coordinate_moves_by_rho_over_root_d():
    d, rho = 272_474, 0.05
    u = rules.ball(torch.zeros(4, d), rho, torch.Generator().manual_seed(0))
    assert u.square().mean().sqrt().item() == pytest.approx(rho / math.sqrt(d + 2), rel=5e-3)
    assert u.norm(dim=1).min() > 0.9999 * rho
    assert rho / math.sqrt(d + 2) == pytest.approx(9.6e-5, rel=0.01)


def test_the_average_adds_the_trace_over_2_d_plus_2():
    class Bowl(Landscape):
        d = 20
        h = torch.linspace(0, 3, 20, dtype=torch.float64)

        def losses(self, w, batch=None):
            return (self.h * w * w).sum(-1, keepdim=True) / 2

    estimate = measures.local_average(Bowl(), torch.zeros(20, dtype=torch.float64), 0.5, samples=20_000, antithetic=True)
    assert abs(estimate.value - 0.5**2 / (2 * 22) * Bowl.h.sum().item()) < 4 * estimate.stderr


def test_at_the_papers_radius_lsam_moves_the_gradient_less_than_another_minibatch():
    start, later = states()
    for state, half, most in ((start, 0.113, 0.197), (later, 0.021, 0.036)):
        change = {rho: balls(state)[rho]["change"]["1"] / state["noise"] for rho in RADII}
        assert change[0.05] == pytest.approx(half, rel=0.15) and change[0.15] == pytest.approx(most, rel=0.15)
        assert max(change.values()) < 0.25


def test_sam_moves_it_several_times_as_far_at_the_same_radius():
    for state in states():
        for rho in RADII:
            assert balls(state)[rho]["sam_change"] > 4 * balls(state)[rho]["change"]["1"]


def test_the_change_grows_like_the_root_of_the_radius():
    for state in states():
        near, far = (balls(state)[rho]["change"]["1"] for rho in (0.01, 0.1))
        assert math.log10(far / near) == pytest.approx(0.5, abs=0.08)


def test_averaging_matters_at_radii_far_beyond_the_papers():
    start, later = states()
    assert balls(start)[5.0]["change"]["1"] / start["noise"] == pytest.approx(0.75, rel=0.15)
    assert balls(later)[5.0]["change"]["1"] / later["noise"] == pytest.approx(0.29, rel=0.15)


@pytest.mark.parametrize("k", [2, 3, 4, 8, 16])
def test_the_random_part_of_the_change_falls_with_the_draws_and_half_of_it_is_common(k):
    """Mean square over draws: that of the average itself, and the variance of a draw over k."""
    for state in states():
        for rho in RADII:
            ball = balls(state)[rho]
            common, one = ball["systematic"], ball["change"]["1"] ** 2
            assert math.sqrt(common / one) == pytest.approx(0.5, abs=0.05)
            assert ball["change"][str(k)] ** 2 == pytest.approx(common + (one - common) / k, rel=0.06)
    start = states()[0]
    shares = {2: 0.091, 3: 0.080, 4: 0.075, 8: 0.066, 16: 0.060}
    assert balls(start)[0.05]["change"][str(k)] / start["noise"] == pytest.approx(shares[k], abs=5e-4)


def test_the_loss_of_the_average_is_lost_in_the_noise_of_minibatches():
    for state in states():
        for rho in RADII:
            ball = balls(state)[rho]
            assert abs(ball["loss_change"]) < 3 * ball["loss_change_error"] and ball["loss_change_error"] < 5e-5
            one, sixteen = (ball["loss_spread"][k] for k in ("1", "16"))
            assert one < 6e-4 and state["loss_noise"] > 80 * one
            assert sixteen / one == pytest.approx(1 / 4, abs=0.1)


def test_more_draws_lower_the_noise_of_the_draws_and_it_grows_with_the_radius():
    for state in states():
        for ball in state["balls"]:
            assert list(ball["change"]) == list(ball["loss_spread"]) == ["1", "2", "3", "4", "8", "16"]
            assert list(ball["change"].values()) == sorted(ball["change"].values(), reverse=True)
            assert ball["loss_spread"]["16"] < ball["loss_spread"]["1"]
        changes = [ball["change"]["1"] for ball in state["balls"]]
        assert changes == sorted(changes)


def test_sams_rise_sees_a_rescaling_that_changes_no_prediction():
    """A ReLU network's weights into its units times 16, those out of them over 16: rho |g| grows, the function stays."""
    torch.manual_seed(0)
    first, second, x = torch.randn(5, 4), torch.randn(3, 5) / 2, torch.randn(20, 4)
    y, rises = torch.randint(3, (20,)), []
    for scale in (1, 16):
        a, b = (scale * first).requires_grad_(), (second / scale).requires_grad_()
        loss = cross_entropy((x @ a.T).relu() @ b.T, y)
        gradients = torch.autograd.grad(loss, (a, b))
        rises.append((loss.item(), 0.05 * torch.cat([g.flatten() for g in gradients]).norm().item()))
    assert rises[1][0] == pytest.approx(rises[0][0], rel=1e-5) and rises[1][1] > 5 * rises[0][1]


# ---- on digits, now --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("steps, reached", [(0, 2.30), (100, 0.56), (400, 0.11)])
def test_averaging_does_not_lower_the_noise_of_minibatches_at_the_papers_radius(steps, reached):
    """At initialization and at two trained states."""
    digits = load("digits")
    torch.manual_seed(1)
    loss = Landscape.of(models.build("fcn", (1, 8, 8), 10), cross_entropy, (digits.flat(digits.x_train), digits.y_train))
    w, generator = loss.w0, torch.Generator().manual_seed(0)
    for _ in range(steps):
        w = w - 0.1 * loss.grad(w, torch.randint(loss.n, (128,), generator=generator))
    assert loss.loss(w).item() == pytest.approx(reached, abs=0.01)
    plain, averaged = [], []
    for batch in torch.arange(loss.n)[: 8 * 128].split(128):
        plain.append(loss.grad(w, batch))
        averaged.append(rules.lsam(w, lambda v, batch=batch: loss.grad(v, batch), 0.05, 4, generator=generator))
    noise = [torch.stack(rows).var(0).sum().sqrt().item() for rows in (plain, averaged)]
    assert noise[1] / noise[0] == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_a_training_at_the_papers_radius_ends_where_sgd_ends():
    same = {"data": "digits", "network": "fcn", "epochs": 3, "lr": 0.05, "weight_decay": 0.0}
    sgd = Train(method="plain", **same).run()["final"]
    ends = {rho: Train(method="LSAM", rho=rho, k=2, **same).run() for rho in (0.05, 30.0)}
    assert ends[0.05]["final"]["loss"] == pytest.approx(sgd["loss"], rel=0.01)
    assert ends[30.0]["final"]["loss"] > 1.2 * sgd["loss"], "at a radius beyond the weights' own length it does not"
    assert ends[0.05]["gradients"] == 2 * ends[0.05]["steps"], "k gradients a step"


# ---- whole trainings and their landscape -------------------------------------------------------------------------


def test_a_whole_training_on_cifar_ends_where_sgd_ends_at_the_papers_radii_and_not_far_beyond():
    for rho in RADII:
        mean, half = apart("accuracy", rho=rho)
        assert abs(mean) < 0.004 and abs(mean) < half, rho
        assert abs(apart("loss", rho=rho)[0]) < 0.012, rho
    assert apart("train_loss", rho=5.0)[0] > 0.3 and apart("loss", rho=5.0)[0] < -0.08
    assert apart("accuracy", rho=5.0)[0] < 0 and apart("accuracy", rho=10.0)[0] < -0.06


@pytest.mark.parametrize("k", DRAWS)
def test_at_the_papers_radius_no_number_of_draws_changes_the_end_or_calms_the_curve(k):
    mean, half = apart("accuracy", k=k, rho=0.05)
    assert abs(mean) < 0.007 and abs(mean) < half
    assert abs(apart("loss", k=k, rho=0.05)[0]) < 0.015 and abs(apart("train_loss", k=k, rho=0.05)[0]) < 0.012
    runs = lenet("LSAM", k=k, rho=0.05)
    less, half = fluctuates_less(runs, lenet("plain"))
    assert abs(less) < 0.3 and less < half, "no calmer than SGD for certain"
    assert all(r["result"]["gradients"] == k * r["result"]["steps"] for r in runs.values())


@pytest.mark.parametrize(
    ("values", "beside"), [([1, 2, 3, 4], 0), ([4, 1, 2], 0), ([1, 3, 2, 4], 2 / 3), ([1, 4, 3, 4], 2 / 3)]
)
def test_a_fluctuation_is_what_a_curve_goes_beside_its_way(values, beside):
    """A rise has none, nor has a fall to the best loss and a rise after it; a step back counts twice, there and back."""
    of = lambda score, values: {"result": {"curves": [{score: v} for v in values]}}  # noqa: E731
    if values[0] < values[-1]:
        assert fluctuation(of("accuracy", values), "accuracy") == pytest.approx(beside)
    assert fluctuation(of("loss", [-v for v in values] if values[0] < values[-1] else values), "loss") == pytest.approx(
        beside
    )


def test_no_number_of_draws_is_two_points_from_one_for_certain_nor_within_one():
    """What three seeds leave open, by an interval written out: the t quantile is 4.303."""
    one = {s: r["result"]["final"]["accuracy"] for s, r in lenet("LSAM", k=1, rho=0.05).items()}
    widest = 0.0
    for k in DRAWS:
        cell = lenet("LSAM", k=k, rho=0.05)
        values = [cell[s]["result"]["final"]["accuracy"] - one[s] for s in one]
        widest = max(widest, abs(statistics.mean(values)) + 4.303 * statistics.stdev(values) / 3**0.5)
    assert 0.01 < widest < 0.02


def test_lsams_landscape_is_sgds_at_the_papers_radius_and_sams_at_a_hundred_times_that():
    sgd, sam, small, large = map(surface, analysis.planes())
    assert all(abs(a / b - 1) < 0.02 for a, b in zip(small, sgd, strict=True))
    assert sam[2] == pytest.approx(1.5, abs=0.05) and large[2] == pytest.approx(1.5, abs=0.05)
    assert sgd[2] == pytest.approx(2.05, abs=0.05)


def test_the_lower_training_loss_is_sgds_and_the_narrower_surroundings_too():
    runs = plane("plain"), plane("SAM", 0.05), plane("LSAM", 5.0)
    sgd, sam, lsam = map(surface, runs)
    plain, sams, large = (r["result"]["final"] for r in runs)
    assert sgd[0] < 0.7 and sam[0] > 0.85 and lsam[0] > 0.95 and sgd[2] > 1.3 * max(sam[2], lsam[2])
    assert plain["loss"] > max(sams["loss"], large["loss"]) and plain["accuracy"] > max(sams["accuracy"], large["accuracy"])


# ---- the text against its table --------------------------------------------------------------------------------------


def test_the_lowest_deviation_is_anothers_in_five_of_ten_columns():
    assert [column for column in range(10) if steadier(column)] == [0, 2, 4, 6, 8]


def test_the_gains_of_the_text_are_not_those_of_the_table():
    assert over("SAM", 0) == 2.96 and over("SAM*", 0) == 3.00, "ResNet-20, CIFAR-10: 1.6 in the text"
    assert over("SAM", 1) == 1.64, "ResNet-56, CIFAR-10: as in the text"
    gains = {column: {name: over(name, column) for name in table("accuracy")} for column in (4, 5, 6)}
    assert [name for name, gain in gains[5].items() if gain == 11.07] == ["SGD"], "ResNet-20, CIFAR-100: 11.07 in the text"
    assert [name for name, gain in gains[6].items() if gain == 6.11] == ["SAM"], "ResNet-56, CIFAR-100: 6.11 in the text"
    assert {name for name, gain in gains[4].items() if gain < 0} == {"SAM*", "SAM", "SSAM"}, "PyramidNet, CIFAR-10"


def test_lsam_is_the_best_in_five_of_ten_columns_and_not_above_sgd_in_all():
    best = [column for column in range(10) if all(over(name, column) >= 0 for name in table("accuracy"))]
    assert best == [0, 1, 3, 5, 6]
    assert [column for column in range(10) if over("SGD", column) < 0] == [7], "ResNeXt, CIFAR-100"


def test_the_deviations_of_the_large_networks_are_not_the_least():
    own = table("deviation")["LSAM"]
    assert own[:5] == [0.16, 0.10, 0.04, 0.06, 0.08], "CIFAR-10: ResNeXt has the least"
    assert own[5:] == [0.08, 0.12, 0.09, 0.09, 0.07], "CIFAR-100: WRN-28-10 has more than ResNet-20"


def test_with_resnext_on_cifar100_the_best_is_stablesam_and_sgd_is_above_lsam():
    column = {name: row[7] for name, row in table("accuracy").items()}
    assert (column["SSAM"], column["SAM*"], column["SGD"], column["LSAM"]) == (81.35, 81.09, 79.93, 78.81)
    assert over("SSAM", 7) == -2.54 == min(over(name, c) for name in table("accuracy") for c in range(10))


def test_over_sam_lsam_gains_less_on_cifar100_with_three_of_five_networks():
    assert [over("SAM*", c) for c in range(5)] == [3.00, 1.63, -0.61, 0.12, -0.21]
    assert [over("SAM*", c) for c in range(5, 10)] == [9.88, 6.32, -2.28, -0.58, -1.19]
    assert [a > 82 for a in table("accuracy")["LSAM"][5:]] == [False, False, False, True, True]


def test_lsams_mean_deviation_is_half_of_all_others_and_sams_is_sgds():
    mean = {name: sum(row) / 10 for name, row in table("deviation").items()}
    assert {name: round(v, 2) for name, v in mean.items() if name != "GASAM"} == {
        "SGD": 0.18, "SAM*": 0.18, "ASAM": 0.18, "SAM": 0.19, "SSAM": 0.16, "LSAM": 0.09,
    }  # fmt: skip


def test_two_sentences_exclude_each_other_where_they_are_about_the_same():
    for pair in (said.AHEAD, said.RISING, said.SENSITIVE):
        assert said.excluded(pair).verdict == "contradicts itself"
    with pytest.raises(ValueError, match="different things"):
        said.excluded(said.Pair("in the first", "in the last", said.epochs(0, 50), said.epochs(150, 200)))


def test_lenet_at_the_papers_radii_is_sgd_in_every_quarter_of_its_training():
    """Figures 6 to 9 on 42 runs: curves over the epochs, seed by seed, from the records alone."""
    sgd = lenet("plain")
    for rho in RADII:
        runs = lenet("LSAM", k=1, rho=rho)
        for epoch in (4, 8, 11, 15):
            apart_there = [
                runs[s]["result"]["curves"][epoch - 1]["accuracy"] - sgd[s]["result"]["curves"][epoch - 1]["accuracy"]
                for s in (1, 42, 123)
            ]
            assert abs(sum(apart_there) / 3) < 0.008, (rho, epoch)
    last = [100 * sum(r["result"]["final"]["accuracy"] for r in lenet("LSAM", k=k, rho=0.05).values()) / 3 for k in DRAWS]
    assert (round(min(last), 1), round(max(last), 1)) == (54.3, 55.2)


def test_rates_and_decays_move_lsam_as_they_move_sgd():
    """Figures 10 to 13 on the 72 runs of LeNet5, straight from the records."""
    ends = {}
    for r in records.find(RESULTS, "train", data="cifar10", network="lenet5", examples=10_000, epochs=15):
        c = r["config"]
        if c["method"] == "plain" or (c["method"], c.get("k")) == ("LSAM", 1):
            ends[c.get("rho"), c["lr"], c["weight_decay"], c["seed"]] = r["result"]["final"]
            if c["lr"] in rates.RATES and c.get("rho") in (None, rates.SMALL, rates.LARGE):
                losses = [point["loss"] for point in r["result"]["curves"]]
                assert min(losses) < losses[-1], "the test loss rises again"
    seeds, decays = (1, 42, 123), (0.0003, 0.0005, 0.0008, 0.001, 0.002)

    def at(rho, lr, decay, score="accuracy"):
        return [ends[rho, lr, decay, s][score] for s in seeds]

    apart_by_rate, risen = {}, {}
    for rho in (None, 0.02, 0.05):
        by_rate = {lr: at(rho, lr, 5e-4) for lr in (0.03, 0.05, 0.06, 0.07)}
        means = {lr: statistics.mean(v) for lr, v in by_rate.items()}
        assert max(means, key=means.get) == 0.03, "the best rate is 0.03, with SGD as well"
        assert all(a > b for a, b in zip(by_rate[0.03], by_rate[0.07], strict=True)), "in every seed"
        assert all(a < b for a, b in zip(at(rho, 0.03, 0.0003), at(rho, 0.03, 0.002), strict=True))
        apart_by_rate[rho] = [max(row) - min(row) for row in zip(*by_rate.values(), strict=True)]
        losses = [statistics.mean(at(rho, 0.03, decay, "loss")) for decay in decays]
        assert min(losses) == losses[-1], "the largest decay ends at the lowest test loss"
        assert losses[0] / losses[-1] - 1 == pytest.approx(0.08, abs=0.015)
        assert max(decays, key=lambda decay: statistics.mean(at(rho, 0.03, decay))) == 0.002
        risen[rho] = 100 * (statistics.mean(at(rho, 0.03, 0.002)) - statistics.mean(at(rho, 0.03, 0.0003)))
    means = {rho: round(100 * statistics.mean(v), 1) for rho, v in apart_by_rate.items()}
    assert means == {None: 2.3, 0.02: 2.5, 0.05: 2.6}
    assert all(0.9 < rise < 1.3 for rise in risen.values()), risen


def test_no_gain_of_two_points_shows_on_resnet_20_at_thirty_epochs():
    """The paper's sharpest claim, straight from the records: each pair has all settings in common but LSAM's own."""
    runs = records.find(RESULTS, "train", data="cifar100", network="resnet20", epochs=30)
    sgd = {r["config"]["seed"]: r for r in runs if r["config"]["method"] == "plain"}
    ours = {r["config"]["seed"]: r for r in runs if (r["config"]["method"], r["config"].get("rho")) == ("LSAM", 0.05)}
    assert set(sgd) & set(ours)
    leads = []
    for seed in set(sgd) & set(ours):
        pair = sgd[seed], ours[seed]
        apart = {k for k in pair[1]["config"] if pair[0]["config"].get(k) != pair[1]["config"][k]}
        assert apart == {"method", "rho", "k", "antithetic"}
        assert pair[0]["result"]["gradients"] == pair[1]["result"]["gradients"], "one draw costs what SGD costs"
        leads.append(100 * (pair[1]["result"]["final"]["accuracy"] - pair[0]["result"]["final"]["accuracy"]))
        assert abs(leads[-1]) < 2 < 80.18 - 69.11
        assert all(100 * r["result"]["final"]["train_accuracy"] < 80.18 for r in pair), "nor that many on training images"
    mean, half = cifar100.gain()
    assert mean == pytest.approx(statistics.mean(leads))
    assert mean + half < 2, "the pages say: nothing near eleven points"


@pytest.mark.parametrize(
    ("leads", "told", "half"),
    [([0.5], "+0.5", 0.887), ([0.5, 0.1], "+0.3", 0.627), ([0.5, 0.1, 0.3], "+0.3 ± 0.5", 0.497)],
)
def test_fewer_than_three_pairs_are_as_sure_as_the_papers_deviations_make_them(monkeypatch, leads, told, half):
    ends = [({"result": {"final": {"accuracy": 0.6}}}, {"result": {"final": {"accuracy": 0.6 + v / 100}}}) for v in leads]
    monkeypatch.setattr(cifar100, "pairs", lambda: dict(enumerate(ends)))
    assert cifar100.gain() == (pytest.approx(statistics.mean(leads)), pytest.approx(half, abs=1e-3))
    assert cifar100.told() == told
    own = {1: "", 2: "; by their own spread it is sure to 2.5, and its interval contains zero", 3: " sure to 0.5, and"}
    assert own[len(leads)] in cifar100.sure() and ("own spread" in cifar100.sure()) == (len(leads) > 1)


def test_sam_is_slower_than_sgd_on_lenet():
    mean, half = difference(lenet("SAM"), "train_loss")
    assert (mean, half) == (pytest.approx(0.26, abs=0.005), pytest.approx(0.02, abs=0.005))
    assert difference(lenet("SAM"), "accuracy") == (pytest.approx(-0.0055, abs=1e-4), pytest.approx(0.026, abs=5e-4))


def test_a_cell_without_all_of_its_seeds_has_no_difference():
    cell = dict(lenet("LSAM", k=1, rho=0.05))
    del cell[42]
    with pytest.raises(LookupError, match=r"runs of seeds \[1, 123\] against SGD's of \[1, 42, 123\]"):
        difference(cell, "loss")
