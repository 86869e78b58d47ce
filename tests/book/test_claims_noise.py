"""What the chapter on the shape of gradient noise says of Figure 4, equation 11, Theorem 3 and Algorithm 1, asked again."""

import itertools
import math
import statistics

import pytest
import torch
from scipy.stats import binom
from torch import nn
from torch.nn.functional import cross_entropy

from book.nonuniformity import mnist, moving_average, sparse
from book.nonuniformity.sparse import CODE, GRID, TEXT, WHOLE, final, median, record
from flatlab import data, rules
from flatlab.landscape import Landscape
from flatlab.stats.intervals import student


@pytest.mark.parametrize("config", [CODE, TEXT], ids=["code", "text"])
def test_figure_4_samgcm_is_best_and_sparsest_and_sgd_worst(config):
    sgd, sam, gcm = (final(config, *which) for which in (("SGD",), ("SAM", 0.3), ("SAMGCM", 5e-4)))
    assert (sam < sgd).all() and (gcm < sam).sum() >= 9, "in nine problems of ten at least"
    assert median(sgd) > 7 * median(sam) > 2 * 7 * median(gcm)
    norms = [median(final(config, *which, field="l1")) for which in (("SGD",), ("SAM", 0.3), ("SAMGCM", 5e-4))]
    assert norms[0] > norms[1] > norms[2] > 2.9, "three ones have the norm 3"
    train = [median(final(config, *which, field="train")) for which in (("SGD",), ("SAM", 0.3), ("SAMGCM", 5e-4))]
    assert train[0] < train[1] < train[2] < 0.01, "the noise alone leaves 0.01: SGD fits it, SAMGCM does not"


@pytest.mark.parametrize("config", [CODE, TEXT], ids=["code", "text"])
def test_figure_4_the_radii_of_the_text_give_no_such_picture(config):
    assert torch.isinf(final(config, "SAMGCM", 0.005)).all(), "SAMGCM diverges at 0.005"
    assert median(final(config, "SAM", 0.1)) > 3 * median(final(config, "SAM", 0.3))


def test_equal_radii_samgcm_leads_by_its_shape_only_at_large_ones():
    """The control that the paper lacks: SAM with SAMGCM's radius, and with its length step by step."""
    small = median(final(CODE, "SAM", 0.3)) / median(final(CODE, "SAMGCM", 3e-4))
    assert small == pytest.approx(1.0, abs=0.2)
    assert median(final(CODE, "SAM", 0.2)) < median(final(CODE, "SAMGCM", 2e-4))
    for config, least in ((CODE, 3), (TEXT, 6)):
        for control in (final(config, "SAM", 0.5), final(config, "matched", 5e-4)):
            assert median(control) > least * median(final(config, "SAMGCM", 5e-4))
    best = {
        method: min(median(final(CODE, method, rho)) for rho in rhos)
        for method, rhos in (("SAM", (0.2, 0.3, 0.4, 0.5)), ("SAMGCM", (2e-4, 3e-4, 4e-4, 5e-4, 7e-4)))
    }
    assert best["SAM"] > 4 * best["SAMGCM"], "also when SAM's radius is tuned"


def test_the_pages_shares_and_counts_are_those_of_the_records_rows():
    words, shares = sparse.in_words(), []
    for name, config in (("code", CODE), ("text", TEXT)):
        curves = record(config)["result"]["curves"]
        ends = {(c["method"], c.get("rho")): [math.inf if v is None else v for v in c["test"][-1]] for c in curves}
        sgd, gcm = ends["SGD", None], ends["SAMGCM", 5e-4]
        ordered = sum(g < s < d for g, s, d in zip(gcm, ends["SAM", 0.3], sgd, strict=True))
        assert words[f"sparse-order-{name}"] == f"{ordered} of 10"
        middle = {which: statistics.median(values) for which, values in ends.items()}
        fall = middle["SGD", None] - middle["SAMGCM", 5e-4]
        shares += [100 * (middle["SGD", None] - middle["SAM", rho]) / fall for rho in (0.3, 0.4, 0.5)]
        least = min((value, rho) for (method, rho), value in middle.items() if method == "SAMGCM")
        assert words[f"sparse-best-gcm-{name}"] == f"{least[0]:.4f}"
        assert float(words[f"sparse-best-radius-{name}"]) == pytest.approx(1000 * least[1])
    assert words["sparse-share"] == f"{min(shares):.0f} to {max(shares):.0f}"


def test_samgcm_begins_at_rho_over_the_root_of_the_damping():
    for rho in (1e-4, 3e-4, 5e-4, 7e-4):
        (curve,) = [c for c in record(CODE)["result"]["curves"] if (c["method"], c.get("rho")) == ("SAMGCM", rho)]
        assert torch.tensor(curve["ascent"][1]).double() / (rho / 1e-3) == pytest.approx(torch.ones(10).numpy(), abs=0.05)
        assert median(torch.tensor(curve["ascent"][-1])) < 0.85 * rho / 1e-3, "and ends shorter"


def test_sam_and_samgcm_shrink_the_balance():
    """Theorem 2's conclusion: a smaller alpha than SAM's or SGD's goes with the sparser solution."""
    assert median(final(CODE, "SGD", field="alpha")) == pytest.approx(0.13, abs=0.005)
    for which in (("SAM", 0.3), ("SAMGCM", 5e-4)):
        assert median(final(CODE, *which, field="alpha")) < 1e-3


def test_the_damping_changes_the_verdict():
    sam = median(final(GRID, "SAM", 0.3))
    assert median(final(GRID, "SAMGCM", 5e-4, 1e-6)) < sam / 2
    assert median(final(GRID, "SAMGCM", 5e-4, 1e-5)) > 4 * sam
    assert torch.isinf(final(GRID, "SAMGCM", 5e-4, 1e-8)).sum() > 5


def test_equation_11_in_full_batch_does_not_give_the_order():
    sgd, gcm = final(WHOLE, "SGD"), final(WHOLE, "SAMGCM", 5e-4)
    assert median(final(WHOLE, "SAM", 0.1)) > 1.3 * median(sgd), "SAM is worse than no ascent at all"
    assert median(final(WHOLE, "SAM", 0.3)) > 5 * median(sgd)
    assert median(gcm) > 0.8 * median(sgd), "SAMGCM gains an eighth, where minibatches gave it a factor of 65"
    assert median(final(WHOLE, "SAMGCM", 5e-4, field="l1")) > 6, "and is not sparse"
    for damping in (1e-5, 1e-4):
        assert median(final(WHOLE, "SAMGCM", 5e-4, damping)) == pytest.approx(median(sgd), rel=0.1)


def late(lr):
    """Relative error and cosine of CSAM's own average with the full batch's difference, in the second half of 300 steps."""
    rows, _ = moving_average.follow(lr)
    return rows[len(rows) // 2 :, 1 + moving_average.EMAS.index(0.9)].mean(0).tolist()


@pytest.mark.slow
def test_theorem_3_the_average_is_near_only_while_the_network_stands_still():
    assert late(0.001) == [pytest.approx(0.61, abs=0.02), pytest.approx(0.80, abs=0.02)]
    assert late(0.1) == [pytest.approx(1.08, abs=0.02), pytest.approx(-0.21, abs=0.02)], "zero is nearer: its error is 1"


def test_theorem_3_is_weaker_than_the_trivial_bound():
    """On a beta-smooth loss every average of differences, zero too, lies within 2 beta rho of the full one."""
    generator = torch.Generator().manual_seed(0)
    curvature = torch.rand(50, 8, dtype=torch.float64, generator=generator)  # of sample i along coordinate j: at most 1
    centre = torch.randn(50, 8, dtype=torch.float64, generator=generator)
    w, m, rho = torch.randn(8, dtype=torch.float64, generator=generator), None, 0.1
    for _ in range(200):
        batch = torch.randint(50, (5,), generator=generator)

        def grad(v, i=batch):
            return (curvature[i] * (v - centre[i])).mean(0)

        g = grad(w, slice(None))
        full = grad(w + rho * g / g.norm(), slice(None)) - g
        direction, m = rules.csam(w, grad, m, rho=rho, rho_cov=0.2, ema=0.9)
        assert full.norm() <= rho and m.norm() <= rho and (m - full).norm() <= 2 * rho
        w = w - 0.1 * direction


def test_algorithm_1_subtracts_the_average_that_holds_the_new_term():
    """Lines 5 and 6 as printed: d = alpha (difference - m before), nothing at alpha = 0; and lines 6, 7 climb rho_cov^2."""
    slope = torch.tensor([3.0, 1.0], dtype=torch.float64)
    w, before, seen = torch.tensor([2.0, 1.0], dtype=torch.float64), torch.tensor([0.1, 0.3], dtype=torch.float64), []

    def grad(v):
        seen.append(v)
        return slope * v

    for ema in (0.2, 0.9):
        seen.clear()
        rules.csam(w, grad, before, rho=0.5, rho_cov=0.2, ema=ema)
        grown = slope * seen[1] - slope * w
        d = grown - (ema * before + (1 - ema) * grown)
        torch.testing.assert_close(d, ema * (grown - before))
        torch.testing.assert_close(seen[2] - w, 0.2 * d / d.norm())
        printed = 0.2 * (0.2 * d / d.norm())  # line 7 multiplies what line 6 has scaled already
        assert printed.norm().item() == pytest.approx(0.04)
    assert (grown - (0 * before + grown)).norm() == 0
    with pytest.raises(ValueError, match="ema must be between 0 and 1, got 0"):
        rules.csam(w, grad, before, ema=0)


# ---- section 4: from the trace of C to minibatches -------------------------------------------------------------------


def sample_gradients(n=6, d=4):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("b", [1, 2, 3, 6])
def test_over_all_minibatches_the_gradient_is_unbiased_and_the_mean_of_equation_13_is_the_trace_of_c(b):
    """Of minibatches drawn without replacement, exactly; C as in equation (4), with its factor (n - b) / (b (n - 1))."""
    each = sample_gradients()
    whole, n = each.mean(0), len(each)
    trace = (n - b) / (b * (n - 1)) * (each - whole).square().sum(1).mean()
    batches = torch.stack([each[list(rows)].mean(0) for rows in itertools.combinations(range(n), b)])
    torch.testing.assert_close(batches.mean(0), whole)
    surrogate = (batches.square().sum(1) - whole.square().sum()).mean()
    torch.testing.assert_close(surrogate, trace)
    parted = torch.stack([rows.mean(0) for rows in each.split(b)])
    assert each.square().sum(1).mean() >= parted.square().sum(1).mean() - 1e-12


def test_lemma_2_is_the_perturbation_of_the_linearized_surrogate():
    """Two samples' quadratics in the plane: the maximum of (13) on the circle, by a grid, turns away from Lemma 2's."""
    H = torch.tensor([[[3.0, 0.5], [0.5, 1.0]], [[0.5, 0.0], [0.0, 2.0]]], dtype=torch.float64)
    c = torch.tensor([[1.0, 0.0], [-0.5, 1.0]], dtype=torch.float64)
    angle = torch.linspace(0, 2 * math.pi, 36_001, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin()], 1)

    def surrogate(w):
        each = torch.einsum("kij,nkj->nki", H, w[:, None] - c)
        return each[:, 0].square().sum(1) - each.mean(1).square().sum(1)

    w = torch.tensor([[0.3, -0.2]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(surrogate(w).sum(), w)
    w, printed = w.detach(), slope / slope.norm()
    cosines = [(circle[surrogate(w + rho * circle).argmax()] @ printed[0]).item() for rho in (1e-3, 1.0)]
    assert cosines[0] > 0.99999 and math.degrees(math.acos(cosines[1])) == pytest.approx(11, abs=0.5)


# ---- FCN-3 on MNIST --------------------------------------------------------------------------------------------------


def test_csam_is_the_highest_on_mnist_by_little():
    means = [student(list(mnist.scores(0.0, name).values()))[0] for name in ("SAM", "ASAM", "CSAM")]
    assert [round(mean, 2) for mean in means] == [98.49, 98.56, 98.60]
    over_sam, over_asam = mnist.lead(0.0, "CSAM", "SAM"), mnist.lead(0.0, "CSAM", "ASAM")
    assert over_sam == pytest.approx((0.11, 0.10), abs=0.006) and over_asam == pytest.approx((0.03, 0.20), abs=0.006)


def test_one_test_set_tells_a_tenth_of_a_point_by_its_binomial_deviation():
    words = mnist.in_words()
    one = binom.std(10_000, float(words["mnist-level"]) / 100) / 100
    assert float(words["mnist-deviation"]) == pytest.approx(one, abs=0.006)
    assert float(words["mnist-edge"]) == pytest.approx(math.hypot(one, one), abs=0.006)


@pytest.mark.parametrize(("noise", "tuned", "papers"), [(0.2, 0.46, 0.33), (0.4, 0.81, 0.64), (0.6, 2.59, 1.33)])
def test_with_wrong_labels_csam_stays_below_sam(noise, tuned, papers):
    sam = mnist.scores(noise, "SAM")
    for name, gap in (("CSAM", tuned), ("CSAM, 0.2", papers)):
        csam = mnist.scores(noise, name)
        assert mnist.lead(noise, "SAM", name)[0] == pytest.approx(gap, abs=0.006)
        assert all(csam[seed] < sam[seed] for seed in sam)
    assert abs(mnist.lead(noise, "CSAM", "SGD")[0]) < 0.2 and mnist.lead(noise, "SAM", "SGD")[0] > 0.5


def test_sam_on_mnist_does_not_mind_its_radius_over_a_decade():
    held = mnist.held_out("SAM")
    decade = [held[rho] for rho in (0.02, 0.05, 0.1, 0.2)]
    assert max(decade) - min(decade) < 0.101 and min(decade) - held[0.5] > 1.0


def test_at_larger_radii_csam_falls_further_than_sam():
    """Held-out accuracy below the best, at the two larger of five radii: 0.2 and 0.5 of SAM, 0.4 and 0.8 of CSAM."""
    falls = {}
    for method in ("SAM", "CSAM"):
        held = mnist.held_out(method)
        falls[method] = [max(held.values()) - held[rho] for rho in sorted(held)[-2:]]
    assert falls["SAM"] == [pytest.approx(0.08, abs=0.01), pytest.approx(1.14, abs=0.01)]
    assert falls["CSAM"] == [pytest.approx(1.90, abs=0.01), pytest.approx(67.8, abs=0.1)]


# ---- sections 1, 3 and 4, on small worlds ------------------------------------------------------------------------------


def stays(curvatures, rate):
    """Whether SGD, one of two samples a step, comes back to a minimum: the mean of log |1 - rate h| is negative."""
    return torch.tensor(curvatures, dtype=torch.float64).mul(-rate).add(1).abs().log().mean().item() < 0


def test_noise_lets_sgd_leave_a_flat_minimum_and_stay_at_a_sharper_quiet_one():
    """Samples' curvatures -1 and 3 (mean 1) beside 1.5 and 1.5, at a rate of 1; by the exponent, and by running it."""
    assert not stays((-1.0, 3.0), 1.0) and stays((1.5, 1.5), 1.0)
    generator, out = torch.Generator().manual_seed(0), []
    for pair in ((-1.0, 3.0), (1.5, 1.5)):
        w = torch.full((4000,), 1e-6, dtype=torch.float64)
        for _ in range(200):
            w = w - torch.tensor(pair, dtype=torch.float64)[torch.randint(2, w.shape, generator=generator)] * w
        out.append((w.abs() > 1e-6).double().mean().item())
    assert out[0] > 0.99 and out[1] == 0


def test_noise_in_step_with_the_curvature_leaves_a_minimum_that_descent_does_not():
    """Samples' curvatures 0 and 2 h, their mean h: SGD leaves from a rate of 1 / h on, descent from 2 / h."""
    for h in (0.5, 2.0):
        assert stays((0.0, 2 * h), 0.99 / h) and not stays((0.0, 2 * h), 1.01 / h)
        assert stays((h, h), 1.99 / h) and not stays((h, h), 2.01 / h)


def test_the_difference_of_gradients_is_the_hessian_times_the_unit_gradient_and_not_times_the_gradient():
    """With a step of length rho, as line 4 of Algorithm 1 has it; the text's step rho g has the length rho |g|."""
    digits = data.load("digits")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10)).double()
    loss = Landscape.of(model, cross_entropy, (digits.flat(digits.x_train).double(), digits.y_train))
    g = loss.grad(loss.w0)
    product = loss.hvp(loss.w0, g)
    errors = []
    for rho in (0.02, 0.01):
        difference = (loss.grad(loss.w0 + rho * rules.unit(g)) - g) / rho
        errors.append(((difference - product / g.norm()).norm() / (product / g.norm()).norm()).item())
    assert errors[1] < 0.02 and errors[0] / errors[1] == pytest.approx(2, rel=0.2)
    assert abs(g.norm().item() - 1) > 0.3, "so that the two steps differ here"


def test_the_logarithm_of_one_over_root_t_bounds_no_mean_square():
    assert all(math.log(1 / math.sqrt(T)) < 0 for T in (2, 100, 10**6))
