"""What the ledger says of the theory of the StableSAM paper: lemmas on quadratics, theorems against counterexamples."""

import itertools
import math

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from book.finding import RESULTS
from flatlab import models, rules
from flatlab.optim import SAM, StableSAM
from flatlab.runs import records

DOUBLE = torch.float64


def uniform(generator, *shape, low=0.0, high=1.0):
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=DOUBLE)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def largest_rate(mu, L, rho_over_G, C):
    """The paper's limit for SAM; with rho = 0 that for SGD."""
    return 2 * (1 + mu * rho_over_G) / ((mu + L) * (1 + C * L * rho_over_G) ** 2)


# ---- section 4.1: decompositions, by adding up all data sets of a small world --------------------------------------------


def test_the_excess_risk_is_a_sum_of_three_and_its_last_term_is_not_positive():
    """Losses (w - z)^2 / 2, z of three values, all 27 training sets of 3, an algorithm that stops half-way."""
    values, chance = torch.tensor([-1.0, 0.5, 4.0], dtype=DOUBLE), torch.tensor([0.2, 0.5, 0.3], dtype=DOUBLE)
    risk = lambda w: (chance * (w - values) ** 2).sum() / 2  # noqa: E731
    best = risk((chance * values).sum())
    total = torch.zeros(4, dtype=DOUBLE)
    for draws in itertools.product(range(3), repeat=3):
        S, p = values[list(draws)], chance[list(draws)].prod()
        empirical = lambda w, S=S: (w - S).square().mean() / 2  # noqa: E731
        w, fitted = S.mean() / 2, S.mean()
        total += p * torch.stack(
            [risk(w) - best, risk(w) - empirical(w), empirical(w) - empirical(fitted), empirical(fitted) - best]
        )
    excess, *parts = total
    torch.testing.assert_close(excess, sum(parts))
    assert parts[-1] < 0


def worlds(n):
    """All training sets of size n from three values, with their chances, and what SGD in a fixed order makes of them."""
    values, chance = torch.tensor([-1.0, 0.5, 4.0], dtype=DOUBLE), torch.tensor([0.2, 0.5, 0.3], dtype=DOUBLE)

    def learn(S):
        w = torch.zeros((), dtype=DOUBLE)
        for z in S.repeat(2):
            w = w - 0.3 * (w - z)
        return w

    sets = [(values[list(d)], chance[list(d)].prod()) for d in itertools.product(range(3), repeat=n)]
    return values, chance, [(S, p, learn(S)) for S, p in sets], learn


def test_stability_in_expectation_is_the_gap_and_its_largest_value_bounds_it():
    """Theorem 1, and Proposition 1 of the nonuniformity paper: the sum over all sets and replacements, term by term."""
    values, chance, sets, learn = worlds(3)
    loss = lambda w, z: (w - z) ** 2 / 2  # noqa: E731
    gap, stability, uniform_stability = 0.0, 0.0, 0.0
    for S, p, w in sets:
        gap += p * ((chance * loss(w, values)).sum() - loss(w, S).mean())
        for i in range(3):
            for z, q in zip(values, chance, strict=True):
                T = S.clone()
                T[i] = z
                other = learn(T)
                stability += p * q / 3 * (loss(w, z) - loss(other, z))
                uniform_stability = max(uniform_stability, (loss(w, values) - loss(other, values)).abs().max().item())
    assert gap.item() == pytest.approx(stability.item(), rel=1e-12) and 0 < abs(gap) <= uniform_stability
    assert abs(gap) < 0.15 * uniform_stability, "half of the bound would hold here, too"


def strongly_convex(mu=0.3, L=5.0):
    """The gradient of mu/2 w^2 plus convex terms whose second derivatives add up to at most L - mu."""
    rows = torch.randn(6, 4, generator=generator(), dtype=DOUBLE)
    rows *= math.sqrt(4 * (L - mu)) / torch.linalg.matrix_norm(rows, 2)
    return lambda w: mu * w + torch.sigmoid(w @ rows.T) @ rows  # the logistic's slope is at most 1/4


def test_definitions_2_and_4_exclude_each_other_on_the_whole_space():
    """Strong convexity makes the gradient at a distance r from the minimum at least mu r long: beyond G / mu above G."""
    grad, mu, w = strongly_convex(), 0.3, torch.zeros(4, dtype=DOUBLE)
    for _ in range(4000):
        w = w - 0.2 * grad(w)
    assert grad(w).norm() < 1e-9
    directions = torch.randn(1000, 4, generator=generator(1), dtype=DOUBLE)
    directions = directions / directions.norm(dim=1, keepdim=True)
    for G in (1.0, 10.0, 1000.0):
        assert (grad(w + 1.001 * G / mu * directions).norm(dim=1) > G).all()


def test_lemma_5_on_a_loss_that_is_no_quadratic():
    """Twice the right side fails for most pairs."""
    mu, L, grad = 0.3, 5.0, strongly_convex()
    w, v = 3 * torch.randn(2, 5000, 4, generator=generator(1), dtype=DOUBLE)
    dw, dg = v - w, grad(v) - grad(w)
    left = (dg * dw).sum(1)
    right = mu * L / (mu + L) * dw.square().sum(1) + dg.square().sum(1) / (mu + L)
    assert (left >= right - 1e-12).all() and (left < 2 * right).double().mean() > 0.8


# ---- section 4.2: SAM with xi held, as Assumption 1 has it ------------------------------------------------------------


def quadratics(count=4000, d=5):
    """Random Hessians by their eigenvalues, with constants mu, L, rho / G, C and a step of xi that fit them."""
    g = generator()
    h = 10 ** uniform(g, count, d, low=-2, high=1)
    rho_over_G = 10 ** uniform(g, count, low=-2, high=1)
    rho_over_G[: count // 4] = 0  # SGD
    C = 1 + uniform(g, count, high=3)
    xi = rho_over_G * (1 + (C - 1) * uniform(g, count))
    return h, h.amin(1), h.amax(1), rho_over_G, C, xi


def test_lemma_6_one_step_contracts_up_to_the_papers_rate():
    h, mu, L, rho_over_G, C, xi = quadratics()
    rate = largest_rate(mu, L, rho_over_G, C) * uniform(generator(1), len(mu), low=0.05)
    factors = (1 - rate[:, None] * (1 + xi[:, None] * h) * h).abs().amax(1)
    told = (1 + mu * rho_over_G) * rate * mu * L / (mu + L)
    assert (factors <= 1 - told + 1e-12).all()
    assert (factors > 1 - 2 * told).double().mean() > 0.99, "a contraction twice as fast is none"
    doubled = 2 * largest_rate(mu, L, rho_over_G, C)
    away = (1 - doubled[:, None] * (1 + xi[:, None] * h) * h).abs().amax(1) > 1
    assert away[rho_over_G == 0].all() and away.double().mean() > 0.4, "nor does twice the rate contract"


def test_lemma_7_and_theorem_8_bound_the_distance_of_twins():
    """Samples' losses (w - z)' H (w - z) / 2 with one H: everything in the theorem is met, G taken where the runs go."""
    g, n, d, runs, steps, xi = generator(), 10, 3, 4000, 400, 0.2
    h = torch.tensor([0.5, 1.0, 4.0], dtype=DOUBLE)
    mu, L = 0.5, 4.0
    z = torch.randn(n, d, generator=g, dtype=DOUBLE)
    other = z.clone()
    other[0] = -z[0]
    far = (torch.cat([z, other])[:, None] - torch.cat([z, other])).abs().amax((0, 1))
    G = ((1 + xi * h) * h * far).norm().item()
    rate = min(largest_rate(mu, L, xi, 1.0), 1 / ((1 + xi * L) * L))  # so that no step leaves the samples' hull
    shrink = 1 - (1 + mu * xi) * rate * mu * L / (mu + L)
    w = z.mean(0).expand(runs, d).clone()
    v, most = w.clone(), 0.0
    for _ in range(steps):
        pick = torch.randint(n, (runs,), generator=g)
        before = (v - w).norm(dim=1)
        w, v = (a - rate * (1 + xi * h) * h * (a - data[pick]) for a, data in ((w, z), (v, other)))
        grown = torch.where(pick == 0, 2 * rate * G, 0.0)
        assert ((v - w).norm(dim=1) <= shrink * before + grown + 1e-12).all()
        most = max(most, (((v - w).norm(dim=1) - shrink * before) / (2 * rate * G)).max().item())
    assert 0.25 < most < 0.4, "of the growth that Lemma 7 allows"
    share = (v - w).norm(dim=1).mean() / (2 * G * (mu + L) / (n * mu * L * (1 + mu * xi)))
    assert 0.03 < share < 0.1, "of the distance that Theorem 8 allows: a tenth of the bound would hold here, too"


def test_with_a_rate_below_1_over_L_sgds_own_bound_is_smaller_by_L_over_mu_plus_L():
    """There a plain step contracts by 1 - rate mu, which gives 2 G^2 / (n mu) in place of 2 G^2 (mu + L) / (n mu L)."""
    h, mu, L, *_ = quadratics()
    rate = uniform(generator(1), len(mu), low=0.01) / L
    own = (1 - rate[:, None] * h).abs().amax(1)
    torch.testing.assert_close(own, 1 - rate * mu)
    assert (own < 1 - rate * mu * L / (mu + L)).all()
    torch.testing.assert_close((2 / mu) / (2 * (mu + L) / (mu * L)), L / (mu + L))


@pytest.mark.parametrize("xi, gamma, rate", [(0.0, 1.0, 0.05), (0.0, 1.0, 0.4), (0.5, 1.0, 0.05), (0.5, 0.5, 0.2)])
def test_on_a_quadratic_the_gap_is_tr_h_sigma_over_n_with_every_method(xi, gamma, rate):
    """Samples (w - z)' H (w - z) / 2 with signs for z: at rest, over training sets and orders, whatever xi, gamma and rate.

    The runs stay in a square, so that the loss may be straight beyond it: Lipschitz, as the claim assumes.
    """
    h, n, sets, steps, g = torch.tensor([0.5, 4.0], dtype=DOUBLE), 10, 20_000, 200, generator()
    z = torch.randn(sets, n, 2, generator=g, dtype=DOUBLE).sign()
    w, gap = z.mean(1), 0.0
    risk = lambda w: (h * (w.square() + 1)).sum(-1) / 2  # noqa: E731
    empirical = lambda w: (h * (w[:, None] - z).square().mean(1)).sum(-1) / 2  # noqa: E731
    constant = (h * (1 - z.square().mean(1))).sum(-1) / 2  # of mean zero, and no w in it: left out, for less noise
    for step in range(steps):
        pick = torch.randint(n, (sets, 1, 1), generator=g).expand(-1, 1, 2)
        w = w - rate * gamma * (1 + xi * h) * h * (w - z.gather(1, pick)[:, 0])
        if step % 10 == 9:
            gap = gap + (risk(w) - empirical(w) - constant) / (steps // 10)
    expected, error = (h.sum() / n).item(), (gap.std() / sets**0.5).item()
    assert abs(gap.mean().item() - expected) < 4 * error and error < 0.02 * expected


def test_two_runs_of_sam_do_not_share_their_xi():
    """Assumption 1 wants rho / |g| to be the same for both: it is not at two points of a quadratic."""
    h = torch.tensor([1.0, 3.0], dtype=DOUBLE)
    w, v = torch.tensor([[1.0, 0.2], [0.9, 0.3]], dtype=DOUBLE)
    found = [((rules.sam(a, lambda x: h * x, rho=0.1) / (h * a) - 1) / h).mean().item() for a in (w, v)]
    assert found == pytest.approx([0.1 / (h * a).norm().item() for a in (w, v)])
    assert abs(found[0] / found[1] - 1) > 0.05


# ---- Theorems 10, 11 and 17: two samples that disagree about the curvature -------------------------------------------

L, MU, RHO = 4.0, 1.0, 0.5


def at_rest(rule, curvatures, centres, rate, steps=6000, runs=400, **options):
    """Mean excess of the loss at the end, from the minimum; on the way the longest gradient and the range of gamma."""
    H, c = torch.tensor(curvatures, dtype=DOUBLE), torch.tensor(centres, dtype=DOUBLE)
    loss = lambda w: ((w[:, None] - c).square() * H).sum(-1).mean(-1) / 2  # noqa: E731
    best = (H * c).sum(0) / H.sum(0)
    w, g = best.expand(runs, -1).clone(), generator()
    G, least, most = 0.0, math.inf, 0.0
    for _ in range(steps):
        pick, lengths = torch.randint(2, (runs,), generator=g), []

        def grad(v, pick=pick, lengths=lengths):
            found = H[pick] * (v - c[pick])
            lengths.append(found.norm(dim=1))
            return found

        w = w - rate * rule(w, grad, **options)
        gamma = lengths[0] / lengths[-1]
        G = max(G, *(some.max().item() for some in lengths))
        least, most = min(least, gamma.min().item()), max(most, gamma.max().item())
    return (loss(w) - loss(best[None])).mean().item(), G, least, most


ONE = {"curvatures": [[L], [MU]], "centres": [[1.0], [-1.0]]}
TWO = {"curvatures": [[L, MU], [MU, L]], "centres": [[1.0, 1.0], [-1.0, -1.0]]}


def second_term(rate, G, ratio):
    """Of the bound on the excess risk; `ratio` is rho / G."""
    return rate * G**2 * L / (4 * MU * (1 + MU * ratio))


@pytest.mark.slow
def test_theorem_10_fails_when_samples_disagree_about_the_curvature():
    """As the rate falls the bound goes to zero, and SAM stays beside the minimum; the shift is known in closed form."""
    for rate in (3e-3, 1e-3):
        excess, G, *_ = at_rest(rules.sam, rate=rate, rho=RHO, **ONE)
        assert excess == pytest.approx(RHO**2 * (L - MU) ** 2 / (4 * (L + MU)), rel=0.05)
    assert excess > 8 * second_term(1e-3, G, RHO / G) and second_term(1e-3, G, RHO / G) == pytest.approx(0.012, abs=1e-3)
    assert excess > second_term(1e-3, 10.0, RHO / 10), "also with the G of the interval from -1.5 to 1.5"


def test_theorem_10_holds_in_full_batch():
    """300 random quadratics, SAM with the whole gradient, rates up to 1 / L at which the bound's factor is not negative.
    Half of the floor would hold as well."""
    g, count = generator(3), 300
    h = 10 ** uniform(g, count, 5, low=-2, high=1)
    mu, L, w = h.amin(1), h.amax(1), torch.randn(count, 5, generator=g, dtype=DOUBLE)
    rho = 10 ** uniform(g, count, low=-2, high=0.5)
    grad, loss = lambda v: h * v, lambda v: (h * v * v).sum(1) / 2
    G = grad(w).norm(dim=1)
    rate = uniform(g, count, low=0.02) * torch.minimum(1 / L, 1 / (2 * mu * (1 + mu * rho / G)))
    losses = [loss(w)]
    for _ in range(200):
        step = rules.sam(w, grad, rho[:, None])
        G = torch.stack([G, step.norm(dim=1), grad(w).norm(dim=1)]).amax(0)
        w = w - rate[:, None] * step
        losses.append(loss(w))
    shrink, floor = 1 - 2 * mu * rate * (1 + mu * rho / G), rate * G**2 * L / (4 * mu * (1 + mu * rho / G))
    bounds = shrink ** torch.arange(201)[:, None] * losses[0] + floor
    assert (shrink >= 0).all() and (torch.stack(losses) <= bounds * (1 + 1e-12)).all()
    assert (torch.stack(losses) <= bounds - floor / 2).all()


def test_theorem_10_fails_in_full_batch_where_its_factor_is_negative():
    """One step on w^2 / 2 from 1, at a rate that the paper allows: the right side is below zero."""
    w, rho, rate, G = 1.0, 0.01, 0.9, 1.01
    assert rate < largest_rate(1, 1, rho / G, C=1.01)
    after = w - rate * (w + rho)
    right = (1 - 2 * rate * (1 + rho / G)) * w**2 / 2 + rate * G**2 / (4 * (1 + rho / G))
    assert after**2 / 2 > 0 > right == pytest.approx(-0.18, abs=0.005)


@pytest.mark.slow
def test_theorem_11_fails_with_xi_held_and_ten_thousand_samples():
    """Assumption 1 is met: every sample is a quadratic. Of so many samples about half are of either kind."""
    held = lambda w, grad: grad(w + grad(w))  # noqa: E731  (xi = 1)
    rest = ((1 + L) * L - (1 + MU) * MU) / ((1 + L) * L + (1 + MU) * MU)
    rate = 2e-4
    excess, G, *_ = at_rest(held, rate=rate, steps=15_000, runs=100, **ONE)
    assert excess == pytest.approx((L + MU) / 4 * (rest - (L - MU) / (L + MU)) ** 2, rel=0.05)
    assert rate <= largest_rate(MU, L, 1.0, 1.0)
    first = 2 * G**2 * (MU + L) / (MU * L * (1 + MU))
    assert excess > first / 10_000 + second_term(rate, G, 1.0)


@pytest.mark.slow
def test_sgd_obeys_the_bound_that_sam_breaks():
    """The second term, at three rates, and a sixth of it; the first is Theorem 8 with rho = 0."""
    for rate in (0.1, 0.01, 1e-3):
        excess, G, *_ = at_rest(rules.gd, rate=rate, **ONE)
        assert rate <= largest_rate(MU, L, 0.0, 1.0)
        assert excess < second_term(rate, G, 0.0) / 6


def test_theorem_17_fails_too_in_two_dimensions():
    """StableSAM in one dimension is SGD; in two the directions of the samples turn by different angles."""
    rate = 1e-3
    excess, G, least, most = at_rest(rules.stable_sam, rate=rate, steps=3000, rho=RHO, **TWO)
    assert 0 < least <= most < 1, "Assumption 2"
    assert excess == pytest.approx(0.041, abs=0.002)
    second = second_term(rate, G, RHO / G) * most**2 / least
    assert excess > 4 * second
    first = 2 * most * G**2 * (MU + L) / (MU * L * (1 + MU * RHO / G))
    assert excess > first / 10_000 + second, "Table 1 with ten thousand samples, half of either kind"


# ---- section 3: what the surrogate gradient tells ----------------------------------------------------------------------


def test_a_surrogate_gradient_below_the_plain_one_marks_negative_curvature_and_not_flatness():
    """On quadratics `H` the surrogate is (1 + rho H / |g|) g: as long as g at least, unless an eigenvalue is negative."""
    gen = generator()
    for low, count in ((0.0, 4000), (-1.0, 4000)):
        h = uniform(gen, count, 5, low=low) * 10 ** uniform(gen, count, 1, low=-3, high=3)
        w = torch.randn(count, 5, generator=gen, dtype=DOUBLE)
        factor = (h * w).norm(dim=1) / rules.sam(w, lambda v, h=h: h * v, 0.01).norm(dim=1)
        assert (factor <= 1 + 1e-12).all() if low == 0 else (factor > 1).float().mean() > 0.1
    flat, steep = (torch.tensor([[c, -c]], dtype=DOUBLE) for c in (0.01, 100.0))
    w = torch.tensor([[0.0, 1.0]], dtype=DOUBLE)
    factors = [((h * w).norm() / rules.sam(w, lambda v, h=h: h * v, 0.2).norm()).item() for h in (flat, steep)]
    assert factors == pytest.approx([1.25, 1.25]), "the same factor, at ten thousand times the curvature"


def test_the_smaller_perturbed_loss_can_be_that_of_the_sharper_minimum():
    """Two valleys, the sharp one deeper: SAM's objective is smaller there, and SAM started beside it stays."""
    h, middle, depth = (torch.tensor(v, dtype=DOUBLE) for v in ((50.0, 0.5), (-1.0, 1.0), (-1.0, 0.0)))
    w = torch.tensor([[-1.02], [0.5]], dtype=DOUBLE)
    objective = depth + h * 0.1**2 / 2
    assert objective[0] < objective[1] and h[0] == 100 * h[1]
    for _ in range(500):
        w = w - 0.01 * rules.sam(w, lambda v: h[:, None] * (v - middle[:, None]), 0.1)
    assert (w[:, 0] - middle).abs().amax() < 0.11


def test_one_ascent_step_can_miss_almost_all_of_the_worst_loss():
    """A quadratic of curvatures 100 and 1 on its flat axis: the step follows the gradient, the worst loss is across it."""
    h, w, rho = torch.tensor([100.0, 1.0], dtype=DOUBLE), torch.tensor([0.0, 0.1], dtype=DOUBLE), 0.1
    rise = lambda v: ((h * v * v).sum(-1) - (h * w * w).sum()) / 2  # noqa: E731
    one = rise(w + rho * rules.gd(w, lambda v: h * v) / (h * w).norm())
    angle = torch.linspace(0, 2 * math.pi, 3601, dtype=DOUBLE)
    worst = rise(w + rho * torch.stack([angle.sin(), angle.cos()], 1)).max()
    assert one == pytest.approx(0.015) and worst > 0.49 and one < 0.04 * worst


def test_a_pac_bayes_bound_goes_from_the_mean_over_the_worst_loss_and_not_over_that_of_one_step():
    """Nine directions of curvature 100, one of 0.01 along which the weights lie off the minimum. The mean over Gaussian
    weights, which PAC-Bayes bounds, is below the worst case and far above the loss after one ascent step."""
    h, rho = torch.tensor([100.0] * 9 + [0.01], dtype=DOUBLE), 0.1
    w = torch.tensor([0.0] * 9 + [1.0], dtype=DOUBLE)
    rise = lambda v: ((h * v * v).sum(-1) - (h * w * w).sum()) / 2  # noqa: E731
    one = rise(w + rho * (h * w) / (h * w).norm())
    sigma = rho / math.sqrt(10)
    mean = sigma**2 * h.sum() / 2
    noise = sigma * torch.randn(200_000, 10, generator=generator(), dtype=DOUBLE)
    assert rise(w + noise).mean().item() == pytest.approx(mean.item(), rel=0.01)
    worst = rho**2 * h.max() / 2  # across the gradient, which adds nothing there
    assert one < 0.003 * mean and mean == pytest.approx(0.45, rel=0.001) and worst == pytest.approx(0.5)


# ---- the bounds beside each other ------------------------------------------------------------------------------------


def excess_bound(rate, rho_over_G, gamma0=1.0, gamma1=1.0, G=1.0, n=100):
    """Table 1 with random constants: its row of StableSAM, with both gammas 1 that of SAM, with rho = 0 too that of SGD."""
    first = 2 * gamma1 * G**2 * (MU + L) / (n * MU * L * (1 + MU * rho_over_G))
    return first + rate * gamma1**2 * G**2 * L / (4 * gamma0 * MU * (1 + MU * rho_over_G))


def test_with_gamma_1_squared_at_most_gamma_0_the_bound_of_stable_sam_is_lower_at_an_equal_rate_only():
    """At each method's own largest rate the second term is gamma1 / gamma0 >= 1 times that of SAM."""
    own = largest_rate(MU, L, 0.3, 2.0)
    worse = 0
    for gamma0 in torch.linspace(0.05, 0.95, 19).tolist():
        for gamma1 in (gamma0, math.sqrt(gamma0)):
            assert excess_bound(own, 0.3, gamma0, gamma1) < excess_bound(own, 0.3)
            terms = [excess_bound(own / g1, 0.3, g0, g1, n=1e12) for g0, g1 in ((gamma0, gamma1), (1.0, 1.0))]
            assert terms[0] / terms[1] == pytest.approx(gamma1 / gamma0)
            worse += excess_bound(own / gamma1, 0.3, gamma0, gamma1) > excess_bound(own, 0.3)
    assert worse > 5


def test_the_rate_up_to_which_sams_bound_holds_is_below_sgds():
    _, mu, L, rho_over_G, C, _ = quadratics()
    sam, sgd = largest_rate(mu, L, rho_over_G, C), largest_rate(mu, L, 0.0, 1.0)
    assert (sam[rho_over_G > 0] < sgd[rho_over_G > 0]).all()
    assert largest_rate(0.01, 1.0, 1.0, 1.0) / largest_rate(0.01, 1.0, 0.0, 1.0) == pytest.approx(1.01 / 4)


def test_clipping_from_below_turns_the_comparison_of_the_bounds_around():
    """Random factors between gamma0 and gamma1: at gamma1^2 > gamma0 the bound of StableSAM is above SAM's."""
    assert excess_bound(0.01, 0.3, gamma0=0.9, gamma1=0.9) < excess_bound(0.01, 0.3)
    assert excess_bound(0.01, 0.3, gamma0=0.2, gamma1=0.9) > 1.5 * excess_bound(0.01, 0.3, gamma0=0.9, gamma1=0.9)
    assert excess_bound(0.01, 0.3, gamma0=0.2, gamma1=0.9, n=1e6) > excess_bound(0.01, 0.3, n=1e6)


class Elements(TorchDispatchMode):
    """Counts the numbers that all operations write: what norms and scalings cost, too."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.count += sum(t.numel() for t in tree_leaves(out) if isinstance(t, torch.Tensor))
        return out


def test_the_cut_is_a_parabola_and_not_the_hessians():
    """Figure 2 with LeNet5, from the records: second differences of the loss, close by and far out, by the eigenvalue."""
    runs = records.find(RESULTS, "eigenvector_cut", network="lenet5", epochs=30)
    assert sorted(r["config"]["seed"] for r in runs) == [1, 42, 123]
    for r in runs:
        offsets, first = torch.tensor(r["result"]["offsets"], dtype=DOUBLE), None
        powers = torch.stack([offsets**k for k in range(3)], 1)
        for cut in r["result"]["cuts"]:
            loss = torch.tensor(cut["loss"], dtype=DOUBLE)
            middle, rest = len(loss) // 2, loss - powers @ torch.linalg.lstsq(powers, loss[:, None]).solution[:, 0]
            explained = 1 - float(rest.square().sum() / (loss - loss.mean()).square().sum())
            first = explained if first is None else first
            assert (cut["epoch"] == 0) == (explained < 0.95), "a parabola, but for the initial weights"
            second = loss[middle] + cut["slope"] * offsets + cut["eigenvalue"] * offsets**2 / 2
            assert (loss - second).abs().max() > 0.2 * (loss.max() - loss.min()), "and never the second-order expansion"
            bends = [float(loss[middle + k] + loss[middle - k] - 2 * loss[middle]) / float(offsets[middle + k]) ** 2
                     for k in (1, middle)]  # fmt: skip
            if cut["epoch"] >= 24:
                assert 1.0 < bends[0] / cut["eigenvalue"] < 1.3, "close by it is the Hessian's"
                assert 2.5 < bends[1] / cut["eigenvalue"] < 5.0, "and steeper far out"
        assert first == pytest.approx(0.94, abs=0.01)


def test_sam_is_flatter_on_the_way_and_not_at_the_end():
    """LeNet5, seed by seed: each kind of sharpness after ten epochs and after thirty, beside the training loss."""
    runs = records.find(RESULTS, "noise_and_sharpness", network="lenet5", epochs=30)
    by = {(r["config"]["method"], r["config"]["seed"]): r["result"] for r in runs}
    assert sorted(by) == [(method, seed) for method in ("SAM", "plain") for seed in (1, 42, 123)]
    for seed in (1, 42, 123):
        sgd, sam = by["plain", seed], by["SAM", seed]
        assert [m["epoch"] for m in sgd["measured"]] == [m["epoch"] for m in sam["measured"]] == [0, 10, 20, 30]
        early, late = (
            {key: sam["measured"][k][key] / sgd["measured"][k][key] for key in sam["measured"][k]} for k in (1, 3)
        )
        assert max(early[key] for key in ("eigenvalue", "ascent", "adaptive")) < 0.8 and 1 < early["loss"] < 1.2
        assert late["ascent"] > 1.2 and late["noise"] > 2.5 and late["loss"] > 3
        for key in ("eigenvalue", "ascent", "adaptive"):
            assert sam["measured"][3][key] < sgd["measured"][2][key], "flatter at about equal training losses"
            assert sgd["measured"][3][key] < sgd["measured"][1][key], "and SGD's own falls"
        assert 0.8 < sam["measured"][3]["loss"] / sgd["measured"][2]["loss"] < 1.2
        after = [[m["loss"] + m["ascent"] for m in run["measured"][1:]] for run in (sgd, sam)]
        assert all(ours > plain for plain, ours in zip(*after, strict=True)), "the loss after SAM's step"
        losses = [p["loss"] for p in sgd["curves"]]
        assert losses[-1] > 2 * min(losses), "and SGD overfits"


@pytest.mark.slow
def test_sam_costs_two_plain_steps_and_renormalizing_next_to_nothing():
    """LeNet-5 and a minibatch of 128: operations of products and convolutions, and numbers written by all operations."""
    x, y = torch.randn(128, 3, 32, 32), torch.randint(10, (128,))

    def cost(make, counter):
        model = models.build("lenet5", (3, 32, 32), 10)
        optimizer = make(model.parameters())

        def closure():
            optimizer.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            return loss

        with counter:
            optimizer.step(closure)
        return counter

    base = lambda p: torch.optim.SGD(p, lr=0.1)  # noqa: E731
    sam, stable = (lambda p, kind=kind: kind(base(p), rho=0.05) for kind in (SAM, StableSAM))
    products = [cost(make, FlopCounterMode(display=False)).get_total_flops() for make in (base, sam, stable)]
    assert products[1] == products[2] == 2 * products[0]
    written = [cost(make, Elements()).count for make in (sam, stable)]
    assert 1 < written[1] / written[0] < 1.05
