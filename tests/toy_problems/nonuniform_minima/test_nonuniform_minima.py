"""The two minima of one curvature: closed forms, the linear theory of escape, and what the chapter states of methods."""

import itertools
import math

import pytest
import torch

from flatlab import measures, rules
from flatlab.landscape import Landscape
from toy_problems import NonuniformMinima
from toy_problems.nonuniform_minima import METHODS, NonuniformEscape, linearized, slope, step
from toy_problems.nonuniform_minima.random_product import (
    crossing_rate,
    exit_shares,
    lyapunov_exponent,
    second_moment_radius,
)

F = NonuniformMinima()
MEAN_SQUARE = 4 / 7.24
ALMOST_SURE = (4 - math.sqrt(16 - 4 * 0.76 * 2)) / (2 * 0.76)
POSSIBLE = 2 / 3.8


class Differentiated(Landscape):
    """The same terms, left to automatic differentiation."""

    d, n = 1, 2

    def losses(self, w, batch=None):
        both = torch.stack([torch.minimum(w[..., 0] ** 2, c * (w[..., 0] - 1) ** 2) for c in (0.1, 1.9)], -1)
        return both if batch is None else both[..., batch]


@pytest.mark.parametrize("batch", [None, torch.tensor([0]), torch.tensor([1, 1, 0])])
def test_closed_forms_agree_with_automatic_differentiation(batch):
    w = torch.linspace(-2, 5, 141, dtype=torch.float64)[:, None] + 1e-4  # off the kinks
    auto = Differentiated()
    torch.testing.assert_close(F.losses(w, batch), auto.losses(w, batch))
    torch.testing.assert_close(F.grad(w, batch), auto.grad(w, batch))
    torch.testing.assert_close(F.hvp(w, 3 * w, batch), auto.hvp(w, 3 * w, batch))
    torch.testing.assert_close(F.per_sample_grads(w, batch), auto.per_sample_grads(w, batch))


def test_the_two_intervals_are_where_both_terms_are_one_parabola():
    w = torch.linspace(-1, 4, 100_001, dtype=torch.float64)[:, None]
    at_zero = (F.losses(w) == w * w).all(-1)
    assert w[at_zero & (w[:, 0] < 1)].aminmax() == pytest.approx(F.inner, abs=1e-4)
    at_one = (w[:, 0] > 0.25) & (F.losses(w) == F.curvatures * (w - 1) ** 2).all(-1)
    assert w[at_one].aminmax() == pytest.approx(F.outer, abs=1e-4)


def test_equal_curvature_but_nonuniform_terms_at_one_only():
    for minimum, expected in zip(F.minima.double(), (0.0, 1.8), strict=True):
        assert measures.hessian_trace(F, minimum).value == pytest.approx(2.0, rel=1e-9)
        assert measures.hessian_nonuniformity(F, minimum) == pytest.approx(expected, abs=1e-9)


def test_the_gradient_noise_is_zero_at_both_minima():
    """Definition 3 cannot tell them apart; a step away, it is the square of Definition 2 times the distance's."""
    for minimum in F.minima.double():
        assert measures.gradient_noise(F, minimum) == 0.0
    for distance in (1e-3, 0.1, -0.2):
        noise = measures.gradient_noise(F, torch.tensor([1 + distance], dtype=torch.float64))
        assert noise == pytest.approx((1.8 * distance) ** 2, rel=1e-9)
        assert measures.gradient_noise(F, torch.tensor([distance], dtype=torch.float64)) == 0.0


# ---- linear stability --------------------------------------------------------------------------------------------------


def test_the_thresholds_of_sgd_in_closed_form():
    mean_square = crossing_rate(lambda r: second_moment_radius(linearized("SGD", r)), 1.0, 0.1, 0.9)
    almost_sure = crossing_rate(lambda r: lyapunov_exponent(linearized("SGD", r)).value, 0.0, 0.3, 0.9)
    assert mean_square == pytest.approx(MEAN_SQUARE, abs=2e-6)
    assert almost_sure == pytest.approx(ALMOST_SURE, abs=2e-6)
    assert (round(MEAN_SQUARE, 4), round(ALMOST_SURE, 4)) == (0.5525, 0.5595)


@pytest.mark.parametrize("method, size", [("SGD", 1), ("Momentum", 2), ("Nesterov", 2), ("GD", 1)])
def test_the_linear_maps_are_the_step_itself(method, size):
    """One step near 1, by the toy, equals the matrix of the term drawn."""
    z = torch.tensor([0.01, 0.003], dtype=torch.float64)
    for k, matrix in enumerate(linearized(method, 0.4, nesterov=7 / 9)):
        grad = F.grad if method == "GD" else lambda x, k=k: slope(x, F.curvatures[k])
        w, v = step(method, 1 + z[:1], z[1:], grad, 0.4, t=7)
        got = torch.cat([w - 1, v])[:size]
        torch.testing.assert_close(got, matrix @ z[:size], rtol=1e-11, atol=1e-14)


def test_second_moments_grow_as_the_operator_says():
    """All 2^10 products of ten factors, against the tenth power of the operator."""
    a = linearized("Momentum", 0.5)
    z0 = torch.tensor([1.0, 0.5], dtype=torch.float64)
    total = 0.0
    for draws in itertools.product((0, 1), repeat=10):
        z = z0
        for k in draws:
            z = a[k] @ z
        total += (z @ z).item() / 2**10
    operator = torch.stack([torch.kron(m, m) for m in a]).mean(0)
    moments = torch.linalg.matrix_power(operator, 10) @ torch.outer(z0, z0).ravel()
    assert total == pytest.approx((moments[0] + moments[3]).item(), rel=1e-10)
    assert second_moment_radius(a) == pytest.approx(torch.linalg.eigvals(operator).abs().max().item())


def test_the_exponent_of_a_matrix_is_its_largest_eigenvalue_where_nothing_is_random():
    a = torch.tensor([[1.1, 0.3], [0.2, 0.7]], dtype=torch.float64)
    top = torch.linalg.eigvals(a).abs().max().log().item()
    assert lyapunov_exponent(a.expand(2, -1, -1), chains=4, steps=200).value == pytest.approx(top, abs=1e-9)


def test_below_two_over_the_sharpest_curvature_nobody_ever_leaves():
    assert POSSIBLE < MEAN_SQUARE < ALMOST_SURE
    for lr, some in ((0.99 * POSSIBLE, False), (1.05 * POSSIBLE, True)):
        shares = exit_shares((1 - 0.2 * lr, 1 - 3.8 * lr), 0.2, F.outer[0] - 1, F.outer[1] - 1, 300)
        assert bool(shares[-1] > 0) == some and (shares.diff() >= 0).all()


def test_exit_shares_agree_with_all_sequences_of_draws():
    factors, low, high = (0.88, -1.28), -0.42, 2.6
    left = torch.zeros(13)
    for draws in itertools.product(factors, repeat=12):
        z, out = 0.05, False
        for t, a in enumerate(draws, 1):
            z *= a
            out = out or not low <= z <= high
            left[t] += out
    torch.testing.assert_close(exit_shares(factors, 0.05, low, high, 12), (left / 2**12).double())


# ---- the experiment ----------------------------------------------------------------------------------------------------

SMALL = NonuniformEscape(learning_rates=3, lr_min=0.56, lr_max=0.64, runs=1000, steps=(100, 200))


@pytest.fixture(scope="module")
def small():
    return {curve["method"]: curve for curve in SMALL.run()["curves"]}


def test_the_share_of_sgd_that_leaves_is_the_exact_one(small):
    for k, lr in enumerate(SMALL.rates().tolist()):
        exact = exit_shares((1 - 0.2 * lr, 1 - 3.8 * lr), SMALL.start - 1, F.outer[0] - 1, F.outer[1] - 1, 200)
        for row, t in enumerate(SMALL.steps):
            p = exact[t].item()
            error = math.sqrt(p * (1 - p) / SMALL.runs)
            assert abs(small["SGD"]["left"][row][k] / SMALL.runs - p) <= 4 * error + 1e-9


def test_full_batch_descent_stays(small):
    assert small["GD"]["one"] == [[SMALL.runs] * 3] * 2 and small["GD"]["left"] == [[0] * 3] * 2


def test_the_experiment_counts_what_a_plain_loop_counts():
    setting = NonuniformEscape(learning_rates=2, lr_min=0.5, lr_max=0.7, runs=20, steps=(7, 30), start=1.05, seed=3)
    result = setting.run()
    generator = torch.Generator().manual_seed(3)
    draws = torch.stack([torch.randint(2, (20, 1), generator=generator)[:, 0] for _ in range(30)]).tolist()

    def g(x, c):
        return 2 * x if x * x < c * (x - 1) ** 2 else 2 * c * (x - 1)

    for curve in result["curves"]:
        for k, lr in enumerate((0.5, 0.7)):
            counts = {name: [0, 0] for name in ("zero", "one", "left")}
            for r in range(20):
                x, v, left = 1.05, {"Momentum": 0.05, "Nesterov": 0.01}.get(curve["method"], 0.0), False
                for t in range(1, 31):
                    c = (0.1, 1.9)[draws[t - 1][r]]
                    if curve["method"] == "GD":
                        x -= lr * (g(x, 0.1) + g(x, 1.9)) / 2
                    elif curve["method"] == "SGD":
                        x -= lr * g(x, c)
                    elif curve["method"] == "Momentum":
                        v = 0.5 * v - lr * g(x, c)
                        x += v
                    elif curve["method"] == "Nesterov":
                        v = t / (t + 2) * v - lr * g(x + t / (t + 2) * v, c)
                        x += v
                    elif curve["method"] == "SAM":
                        x -= lr * g(x + math.copysign(0.01, g(x, c)), c)
                    else:
                        x -= lr * g(x + 0.01, c)
                    left = left or not F.outer[0] <= x <= F.outer[1]
                    if t in (7, 30):
                        row = int(t == 30)
                        counts["zero"][row] += abs(x) <= 0.24
                        counts["one"][row] += abs(x - 1) <= 0.24
                        counts["left"][row] += left
            for name, expected in counts.items():
                assert [curve[name][row][k] for row in range(2)] == expected, (curve["method"], lr, name)


# ---- SAM, as published and proper --------------------------------------------------------------------------------------


def test_the_published_sam_is_sgd_seen_from_rho_beside():
    """Its path is that of SGD from x0 + rho, moved by -rho, draw for draw: it has no ascent of its own."""
    generator, none = torch.Generator().manual_seed(0), torch.zeros(200, 1, dtype=torch.float64)
    sam, sgd = none + 1.0001, none + 1.0101
    for t in range(1, 301):
        drawn = F.curvatures[torch.randint(2, (200, 1), generator=generator)]
        grad = lambda x, drawn=drawn: slope(x, drawn)  # noqa: E731
        sam, _ = step("SAM as published", sam, none, grad, 0.6, t, rho=0.01)
        sgd, _ = step("SGD", sgd, none, grad, 0.6, t)
        if t <= 30:
            torch.testing.assert_close(sam, sgd - 0.01, rtol=0, atol=1e-9)
    assert ((sam + 0.01).abs() < 1e-9).double().mean() > 0.9, "it comes to rest at -rho, where L is not least"


@pytest.mark.parametrize("rho", [0.01, 0.1])
def test_sam_leaves_once_the_climbs_from_its_cycle_end_beyond_the_way_out(rho):
    """The gradient is taken there, and it is the other parabola's: by eta > 2 (1 - rho / l) / 3.8, sharp terms alone."""
    reach = 1 - F.outer[0]
    limit = 2 * (1 - rho / reach) / 3.8
    for lr, some in ((0.998 * limit, False), (1.002 * limit, True)):
        x = torch.tensor([[1.0001]], dtype=torch.float64)
        for _ in range(4000):
            x = x - lr * rules.sam(x, lambda z: slope(z, torch.full_like(z, max(F.curvatures))), rho)
        assert bool((x - 1).abs() > reach) == some


@pytest.mark.slow
def test_sam_proper_circles_zero_and_leaves_one_below_the_thresholds_of_sgd():
    setting = NonuniformEscape(learning_rates=1, lr_min=0.55, lr_max=0.55, runs=500, steps=(2000,))
    curves = {curve["method"]: curve for curve in setting.run()["curves"]}
    assert curves["SGD"]["left"] == [[0]] and curves["SAM"]["left"][0][0] > 490
    x = torch.tensor([0.1], dtype=torch.float64)
    for _ in range(300):
        x, _ = step("SAM", x, x, F.grad, 0.6, 1)
    assert x.abs().item() == pytest.approx(0.6 * 2 * 0.01 / (2 - 1.2), rel=1e-6)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"runs": 0}, "runs must be >= 1, got 0"),
        ({"lr_min": -1.0}, "lr_min must be > 0, got -1.0"),
        ({"lr_min": 1.0}, "lr_max must be at least the lr_min of 1.0, got 0.98"),
        ({"steps": (200, 100)}, r"steps must be increasing and >= 1, got \(200, 100\)"),
        ({"radius": 0.7}, "radius must be > 0 and < 0.5, got 0.7"),
    ],
)
def test_a_wrong_setting_of_escape_is_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        NonuniformEscape(**wrong)


def test_an_unknown_method_is_named():
    with pytest.raises(ValueError, match=f"one of {', '.join(METHODS)}, got 'Adam'"):
        step("Adam", F.minima, F.minima, F.grad, 0.1, 1)


# ---- what the chapter says beside ----------------------------------------------------------------------------------------


def test_rounding_holds_some_runs_of_momentum_at_one():
    generator = torch.Generator().manual_seed(1)
    x = torch.full((2000, 1), 1.0001, dtype=torch.float64)
    v = torch.full_like(x, 0.05)
    for t in range(1, 2001):
        drawn = F.curvatures[torch.randint(2, (2000, 1), generator=generator)]
        x, v = step("Momentum", x, v, lambda z, drawn=drawn: slope(z, drawn), 0.6, t)
    assert 80 < (x == 1).sum() < 160


def test_momentums_exponent_comes_down_to_zero_at_the_papers_rate():
    exponent = {lr: lyapunov_exponent(linearized("Momentum", lr), 300, 1000) for lr in (0.55, 0.58, 0.6, 0.64)}
    assert exponent[0.55].value < -0.02 and exponent[0.58].value > 0.008 and exponent[0.64].value > 0.05
    assert abs(exponent[0.6].value) < 0.003


@pytest.mark.slow
def test_below_the_almost_sure_limit_the_chance_to_leave_is_a_power_of_the_start():
    lr, (low, high) = 0.555, (end - 1 for end in F.outer)
    factors = 1 - 0.2 * lr, 1 - 3.8 * lr
    moment = lambda theta: sum(abs(a) ** theta for a in factors) / 2  # noqa: E731
    theta = crossing_rate(moment, 1.0, 0.5, 3.0)
    assert 0 < theta < 2
    near, far = (exit_shares(factors, start, low, high, 3000)[-1].item() for start in (0.003, 0.03))
    assert math.log(far / near) / math.log(10) == pytest.approx(theta, abs=0.1)
    assert exit_shares(factors, 0.3, low, high, 600)[-1].item() == pytest.approx(0.61, abs=0.005)


def test_a_larger_batch_moves_the_mean_square_limit_by_definition_two():
    """2 h / (h^2 + alpha s^2) with h = 2 and s = 1.8: alpha is 1 for single samples, 1/3 for batches of 2 of four."""
    assert 2 * 2 / (4 + 1.8**2) == pytest.approx(MEAN_SQUARE) == pytest.approx(0.5525, abs=5e-5)
    kinds = [0.2, 0.2, 3.8, 3.8]
    h = torch.tensor([sum(pair) / 2 for pair in itertools.combinations(kinds, 2)], dtype=torch.float64)
    limit = crossing_rate(lambda lr: second_moment_radius((1 - lr * h)[:, None, None]), 1.0, 0.1, 2.0)
    assert limit == pytest.approx(2 * 2 / (4 + 1.8**2 / 3), abs=2e-6) == pytest.approx(0.787, abs=1e-3)


def test_the_bound_of_theorem_1_is_larger_for_runs_that_end_at_the_uniform_minimum():
    generator, lr = torch.Generator().manual_seed(0), 0.58
    x, total, none = torch.full((2000, 1), 1.0001, dtype=torch.float64), torch.zeros(2000), torch.zeros(2000, 1)
    for t in range(1, 201):
        drawn = F.curvatures[torch.randint(2, (2000, 1), generator=generator)]
        total = total + lr * F.per_sample_grads(x).std(-2, correction=0)[:, 0]
        x, _ = step("SGD", x, none, lambda z, drawn=drawn: slope(z, drawn), lr, t)
    uniform, nonuniform = (x.abs() < 0.24)[:, 0], ((x - 1).abs() < 0.01)[:, 0]
    assert uniform.sum() > 200 and nonuniform.sum() > 200
    assert total[uniform].mean() / total[nonuniform].mean() == pytest.approx(30, abs=5)


def test_theorem_1_leaves_full_batch_descent_no_gap_and_it_has_one():
    """Logistic regression: Lipschitz, smooth, no noise at b = n; one sample replaced changes the loss at it."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(10, 3, dtype=torch.float64, generator=generator), torch.arange(10) % 2

    def descend(inputs):
        w = torch.zeros(3, dtype=torch.float64)
        for _ in range(200):
            w = w - 0.5 * inputs.T @ ((inputs @ w).sigmoid() - y) / len(y)
        return w

    class Logistic(Landscape):
        d, n = 3, 10

        def losses(self, w, batch=None):
            rows = slice(None) if batch is None else batch
            scores = (w[..., None, :] * x[rows]).sum(-1)
            return torch.nn.functional.softplus(scores) - scores * y[rows]

    whole, changes = descend(x), []
    for i in range(10):
        other = x.clone()
        other[i] = torch.randn(3, dtype=torch.float64, generator=generator)
        at_i = Logistic().losses(torch.stack([whole, descend(other)]))[:, i]
        changes.append((at_i[1] - at_i[0]).abs().item())
    assert sum(changes) / 10 > 0.01
    assert measures.gradient_noise(Logistic(), torch.zeros(3, dtype=torch.float64), batch_size=10) == 0.0
    assert measures.gradient_noise(Logistic(), torch.zeros(3, dtype=torch.float64), batch_size=9) > 0
