"""What the ledger says of the theory of the StableSAM paper: lemmas on quadratics, theorems against counterexamples."""

import itertools
import math

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from flatlab import models, rules
from flatlab.optim import SAM, StableSAM

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


def test_lemma_5_on_a_loss_that_is_no_quadratic():
    """mu/2 w^2 plus convex terms whose second derivatives add up to at most L - mu."""
    mu, L = 0.3, 5.0
    rows = torch.randn(6, 4, generator=generator(), dtype=DOUBLE)
    rows *= math.sqrt(4 * (L - mu)) / torch.linalg.matrix_norm(rows, 2)
    grad = lambda w: mu * w + torch.sigmoid(w @ rows.T) @ rows  # noqa: E731  (the logistic's slope is at most 1/4)
    w, v = 3 * torch.randn(2, 5000, 4, generator=generator(1), dtype=DOUBLE)
    dw, dg = v - w, grad(v) - grad(w)
    left = (dg * dw).sum(1)
    right = mu * L / (mu + L) * dw.square().sum(1) + dg.square().sum(1) / (mu + L)
    assert (left >= right - 1e-12).all()


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
    assert (factors <= 1 - (1 + mu * rho_over_G) * rate * mu * L / (mu + L) + 1e-12).all()


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
    rate = largest_rate(mu, L, xi, 1.0)
    shrink = 1 - (1 + mu * xi) * rate * mu * L / (mu + L)
    w = z.mean(0).expand(runs, d).clone()
    v = w.clone()
    for _ in range(steps):
        pick = torch.randint(n, (runs,), generator=g)
        before = (v - w).norm(dim=1)
        w, v = (a - rate * (1 + xi * h) * h * (a - data[pick]) for a, data in ((w, z), (v, other)))
        grown = torch.where(pick == 0, 2 * rate * G, 0.0)
        assert ((v - w).norm(dim=1) <= shrink * before + grown + 1e-12).all()
    assert (v - w).norm(dim=1).mean() <= 2 * G * (mu + L) / (n * mu * L * (1 + mu * xi))


def test_with_a_rate_below_1_over_L_sgds_own_bound_is_smaller_by_L_over_mu_plus_L():
    """There a plain step contracts by 1 - rate mu, which gives 2 G^2 / (n mu) in place of 2 G^2 (mu + L) / (n mu L)."""
    h, mu, L, *_ = quadratics()
    rate = uniform(generator(1), len(mu), low=0.01) / L
    own = (1 - rate[:, None] * h).abs().amax(1)
    torch.testing.assert_close(own, 1 - rate * mu)
    assert (own < 1 - rate * mu * L / (mu + L)).all()
    torch.testing.assert_close((2 / mu) / (2 * (mu + L) / (mu * L)), L / (mu + L))


@pytest.mark.parametrize("xi", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_on_a_quadratic_twins_are_equally_far_apart_with_every_method(xi, gamma):
    """In the mean over draws v - w is (z' - z) / n once the runs are at rest: no xi, no gamma and no rate is in it."""
    n, runs, rate = 10, 20_000, 0.2
    g = generator()
    z = torch.randn(n, generator=g, dtype=DOUBLE)
    other = z.clone()
    other[0] += 2.0
    w = torch.full((runs,), z.mean().item(), dtype=DOUBLE)
    v = w.clone()
    total, late = 0.0, 200
    for step in range(400):
        pick = torch.randint(n, (runs,), generator=g)
        w, v = (a - rate * gamma * (1 + xi) * (a - data[pick]) for a, data in ((w, z), (v, other)))
        assert (v - w > -1e-12).all(), "so that the mean of the distance is the distance of the means"
        total += (v - w).mean().item() if step >= late else 0.0
    assert total / late / 2.0 == pytest.approx(1 / n, rel=0.02)


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


def test_theorem_10_fails_when_samples_disagree_about_the_curvature():
    """As the rate falls the bound goes to zero, and SAM stays beside the minimum; the shift is known in closed form."""
    one = {"curvatures": [[L], [MU]], "centres": [[1.0], [-1.0]]}
    excess, G, *_ = at_rest(rules.sam, rate=1e-3, rho=RHO, **one)
    floor = 1e-3 * G**2 * L / (4 * MU * (1 + MU * RHO / G))
    assert excess == pytest.approx(RHO**2 * (L - MU) ** 2 / (4 * (L + MU)), rel=0.05)
    assert excess > 2.5 * floor
    sgd, G, *_ = at_rest(rules.gd, rate=1e-3, **one)
    assert sgd < 1e-3 * G**2 * L / (4 * MU), "SGD obeys its own"


def test_theorem_17_fails_too_in_two_dimensions():
    """StableSAM in one dimension is SGD; in two the directions of the samples turn by different angles."""
    two = {"curvatures": [[L, MU], [MU, L]], "centres": [[1.0, 1.0], [-1.0, -1.0]]}
    rate = 5e-5
    excess, G, least, most = at_rest(rules.stable_sam, rate=rate, steps=40_000, runs=50, rho=RHO, **two)
    assert 0 < least <= most < 1, "Assumption 2"
    floor = rate * most**2 * G**2 * L / (4 * MU * least * (1 + MU * RHO / G))
    assert excess > 2 * floor, (excess, floor)


# ---- the bounds beside each other ------------------------------------------------------------------------------------


def test_with_gamma_1_squared_at_most_gamma_0_the_bound_of_stable_sam_is_the_lower_one():
    """Table 1: the first term carries gamma_1, the second gamma_1^2 / gamma_0."""
    g0 = uniform(generator(), 1000, low=0.01, high=0.99)
    for g1 in (g0, g0.sqrt()):
        assert (g1 < 1).all() and (g1**2 <= g0 * (1 + 1e-12)).all()
    above = (0.9 + 0.1 * g0).maximum(g0)  # a factor near 1: then the second term is the larger one
    assert ((above**2 / g0)[g0 < 0.5] > 1).all()


def test_sam_costs_two_plain_steps_and_stable_sam_no_more():
    """Operations of matrix products and convolutions in one step of LeNet-5."""
    x, y = torch.randn(8, 3, 32, 32), torch.randint(10, (8,))

    def operations(make):
        model = models.build("lenet5", (3, 32, 32), 10)
        optimizer = make(model.parameters())

        def closure():
            optimizer.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            return loss

        with FlopCounterMode(display=False) as counter:
            optimizer.step(closure)
        return counter.get_total_flops()

    base = lambda p: torch.optim.SGD(p, lr=0.1)  # noqa: E731
    plain = operations(base)
    assert operations(lambda p: SAM(base(p), rho=0.05)) == operations(lambda p: StableSAM(base(p), rho=0.05)) == 2 * plain
