"""One number as a product of two: closed forms, the law of the imbalance, where a penalty on the noise comes to rest."""

import math

import pytest
import torch

from flatlab import measures, rules
from flatlab.landscape import Landscape
from flatlab.measures.noise import minibatch_factor
from toy_problems import ScalarFactorization
from toy_problems.scalar_factorization import PENALIZED, ValleyRuns

F = ScalarFactorization.sample(n=40, theta=(1.0, 1.0), seed=3)
PLANE = torch.cartesian_prod(*[torch.linspace(-3, 3, 9, dtype=torch.float64)] * 2)


class Differentiated(Landscape):
    """The same terms, left to automatic differentiation."""

    d, n = 2, F.n

    def losses(self, w, batch=None):
        x, y = (F.x, F.y) if batch is None else (F.x[batch], F.y[batch])
        return (w[..., :1] * w[..., 1:] * x - y) ** 2 / 2


AUTO = Differentiated()


@pytest.mark.parametrize("batch", [None, torch.tensor([3, 3, 17])])
def test_the_closed_forms_agree_with_automatic_differentiation(batch):
    torch.testing.assert_close(F.loss(PLANE, batch), AUTO.loss(PLANE, batch))
    torch.testing.assert_close(F.grad(PLANE, batch), AUTO.grad(PLANE, batch))
    torch.testing.assert_close(F.per_sample_grads(PLANE, batch), AUTO.per_sample_grads(PLANE, batch))
    v = PLANE.flip(0) + 0.3
    torch.testing.assert_close(F.hvp(PLANE, v, batch), AUTO.hvp(PLANE, v, batch))


def test_the_traces_agree_with_automatic_differentiation_all_over_the_plane():
    """Example 1: Tr H = mean x^2 ||w||^2, and Tr C = var(r x) ||w||^2, times the factor of the minibatch."""
    hessians = torch.func.vmap(torch.func.hessian(AUTO.loss))(PLANE)
    torch.testing.assert_close(F.hessian_trace(PLANE), hessians.diagonal(dim1=-2, dim2=-1).sum(-1))
    grads = AUTO.per_sample_grads(PLANE)
    for batch_size, factor in ((1, 1.0), (8, (40 - 8) / (8 * 39)), (40, 0.0)):
        spread = (grads.square().sum(-1).mean(-1) - grads.mean(-2).square().sum(-1)) * factor
        torch.testing.assert_close(F.gradient_noise(PLANE, batch_size), spread)
    point = PLANE[13]
    assert measures.gradient_noise(F, point, batch_size=8) == pytest.approx(F.gradient_noise(point, 8).item(), rel=1e-9)
    slopes = torch.func.vmap(torch.func.grad(lambda w: F.gradient_noise(w, 8)))(PLANE)
    torch.testing.assert_close(F.gradient_noise_grad(PLANE, 8), slopes)


def test_on_the_valley_both_traces_are_least_where_the_norm_is():
    w1 = torch.linspace(0.2, 4, 2000, dtype=torch.float64)
    valley = torch.stack([w1, F.valley / w1], -1)
    for trace in (F.hessian_trace(valley), F.gradient_noise(valley)):
        least = valley[trace.argmin()]
        assert least.norm().item() == pytest.approx(F.least_norm.item(), rel=1e-5)
        assert least[0].item() == pytest.approx(least[1].item(), abs=5e-3)


def test_the_minibatch_factor_is_exact_without_replacement():
    """Not an approximation, as the paper's section 2.2 has it: all minibatches of 3 of 7 samples, one by one."""
    toy = ScalarFactorization.sample(n=7, theta=(1.0, 1.0), seed=1)
    w = torch.tensor([1.3, -0.4], dtype=torch.float64)
    grads = torch.stack([toy.grad(w, pick) for pick in torch.combinations(torch.arange(7), 3)])
    spread = (grads - grads.mean(0)).square().sum(-1).mean()
    assert spread.item() == pytest.approx(toy.gradient_noise(w, 3).item(), rel=1e-12)


def imbalance(w):
    return (w[..., 0] ** 2 - w[..., 1] ** 2).item()


def test_the_imbalance_shrinks_by_the_law_of_each_method():
    """SGD: 1 - (lr c)^2; SAM: (1 - lr c k)^2 - (lr c)^2; COV: (1 - 2 lr m V)^2 - (lr c)^2, with the c of each one."""
    lr, rho, lam, b = 0.05, 0.1, 0.3, 8
    generator = torch.Generator().manual_seed(0)
    w = torch.tensor([3.0, 0.1], dtype=torch.float64)
    for _ in range(50):
        batch = torch.randint(F.n, (b,), generator=generator)
        g = F.grad(w, batch)
        c = (g[0] / w[1]).item()
        assert imbalance(w - lr * g) == pytest.approx(imbalance(w) * (1 - (lr * c) ** 2), rel=1e-9)

        k = rho * math.copysign(1, c) / w.norm().item()
        far = F.grad(w + k * w.flip(0), batch)
        torch.testing.assert_close(rules.sam(w, lambda v, batch=batch: F.grad(v, batch), rho), far)
        c_far = (far[0] / (w[1] + k * w[0])).item()
        expected = imbalance(w) * ((1 - lr * c_far * k) ** 2 - (lr * c_far) ** 2)
        assert imbalance(w - lr * far) == pytest.approx(expected, rel=1e-9)

        weight = lam * minibatch_factor(F.n, b)
        penalized = g + lam * F.gradient_noise_grad(w, b)
        shrink = 2 * lr * weight * F.variance(w.prod()).item()
        c_pen = ((penalized[0] - shrink / lr * w[0]) / w[1]).item()
        expected = imbalance(w) * ((1 - shrink) ** 2 - (lr * c_pen) ** 2)
        assert imbalance(w - lr * penalized) == pytest.approx(expected, rel=1e-9)
        w = w - lr * g


@pytest.mark.parametrize("weight", [1e-4, 0.003, 0.03, 0.1])
def test_the_resting_product_is_a_minimum_of_the_penalized_loss_off_the_valley(weight):
    p = F.resting_product(weight)
    w = torch.full((2,), math.sqrt(p), dtype=torch.float64)
    penalized = lambda v: F.loss(v) + weight * F.gradient_noise(v)  # noqa: E731
    assert torch.func.grad(penalized)(w).norm() < 1e-9
    assert (torch.linalg.eigvalsh(torch.func.hessian(penalized)(w)) > 0).all()
    assert 0 < p < F.valley.item() - 0.5 * weight, "it is no solution of the unpenalized problem"
    w = F.valley.sqrt().expand(2)  # and where descent from the valley's least norm ends
    slope = lambda v: F.grad(v) + weight * F.gradient_noise_grad(v)  # noqa: E731
    for _ in range(3000):
        w = w - 0.02 * slope(w)
    assert w.prod().item() == pytest.approx(p, rel=1e-6)


def test_with_the_papers_data_the_whole_penalty_leaves_nothing_of_the_solution():
    toy = ScalarFactorization.sample(seed=0)
    assert toy.resting_product(0.0) == pytest.approx(toy.valley.item(), rel=1e-12) != 0
    assert toy.resting_product(0.3) == 0.0
    w = torch.tensor([0.1, 0.19], dtype=torch.float64)
    for _ in range(2000):
        w = w - 0.01 * (toy.grad(w) + 0.3 * toy.gradient_noise_grad(w))
    assert w.norm() < 1e-9


def test_a_penalty_along_the_valley_only_keeps_the_solution():
    w = F.valley.sqrt() * torch.tensor([2.0, 0.5], dtype=torch.float64)
    for _ in range(3000):
        u = rules.unit(w.flip(-1))
        q = F.gradient_noise_grad(w)
        w = w - 0.01 * (F.grad(w) + 0.1 * (q - (q * u).sum() * u))
    assert w.norm().item() == pytest.approx(F.least_norm.item(), rel=1e-6)
    assert w.prod().item() == pytest.approx(F.valley.item(), rel=1e-6) != pytest.approx(F.resting_product(0.1), rel=1e-2)


def test_equation_7_lacks_a_factor_of_two():
    """A step along the gradient moves it by rho / 2 times the gradient of its squared norm, so lambda is rho / 2."""
    w = torch.tensor([1.7, 0.4], dtype=torch.float64)
    squared_norm = torch.func.grad(lambda v: AUTO.grad(v).square().sum())(w)
    noise = F.gradient_noise_grad(w)
    for rho in (1e-4, 1e-5):
        n_sam = (rules.usam(w, F.grad, rho) - F.grad(w)) / rho
        one_sam = (rules.usam(w[None], rules.micro_gradients(F, 1), rho).mean(0) - F.grad(w)) / rho
        torch.testing.assert_close(n_sam, squared_norm / 2, rtol=0, atol=200 * rho * squared_norm.norm().item())
        torch.testing.assert_close(one_sam - n_sam, noise / 2, rtol=0, atol=200 * rho * noise.norm().item())


@pytest.mark.slow
def test_the_smaller_the_micro_batch_the_faster_unnormalized_sam_moves_along_the_valley():
    """The imbalance decays by 2 lr rho times the noise of micro-batches over the squared norm; n-SAM stands still."""
    toy = ScalarFactorization.sample(n=64, theta=(1.0, 1.0), seed=0)
    generator = torch.Generator().manual_seed(0)
    rates = {}
    for m in (1, 4, 16, 64):
        w = torch.tensor([2.0, 0.5], dtype=torch.float64) * toy.valley.sqrt()
        w0, predicted = w, 0.0
        for _ in range(300):
            order = torch.randperm(64, generator=generator)
            grads = rules.micro_gradients(toy, m, order)
            square = (grads(w[None]) / w.flip(0)).square().mean()
            predicted += 2 * 1e-3 * 5e-4 * square.item()
            w = w - 1e-3 * rules.usam(w[None], grads, 5e-4).mean(0)
        rates[m] = -math.log(imbalance(w) / imbalance(w0))
        assert rates[m] == pytest.approx(predicted, rel=0.05, abs=1e-6)
    assert rates[1] > 3 * rates[4] > 9 * rates[16] > 0 and rates[64] < 1e-3 * rates[1]


def test_the_experiment_follows_a_plain_loop():
    size = {"n": 50, "batch": 10, "steps": 30, "seeds": 2, "spacing": 10}
    setting = ValleyRuns(theta=(1.0, 1.0), start=(1.5, 0.4), lr=0.02, rho=0.05, **size)
    result = setting.run()
    toys, generator = setting.toys(), torch.Generator().manual_seed(setting.seed)
    picks = [torch.randint(50, (2, 10), generator=generator) for _ in range(30)]
    assert result["steps"] == [0, 10, 20, 30]
    for curve in result["curves"]:
        for s, toy in enumerate(toys):
            w, norms = torch.tensor([1.5, 0.4], dtype=torch.float64), []
            for t in range(30):
                grad = lambda v, t=t, s=s, toy=toy: toy.grad(v, picks[t][s])  # noqa: E731
                direction = rules.sam(w, grad, 0.05) if curve["method"] == "SAM" else grad(w)
                if curve["method"] in PENALIZED:
                    direction = direction + 0.3 * toy.gradient_noise_grad(w, 10 if PENALIZED[curve["method"]] else 1)
                w = w - 0.02 * direction
                norms += [w.norm().item()] if t % 10 == 9 else []
            assert curve["norm"][s][1:] == pytest.approx(norms, rel=1e-5)
            assert curve["product"][s][3] == pytest.approx(w.prod().item(), rel=1e-5)
    assert result["data"]["rest"]["COV, whole"][0] == pytest.approx(toys[0].resting_product(0.3), rel=1e-5)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"start": (1.0,)}, r"start must be 2 numbers, got \(1.0,\)"),
        ({"batch": 6000}, "batch must be at most n = 5000, got 6000"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"lam": -0.1}, "lam must be >= 0, got -0.1"),
    ],
)
def test_a_wrong_setting_of_valley_is_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        ValleyRuns(**wrong)


def test_data_of_two_lengths_are_refused():
    with pytest.raises(ValueError, match=r"got \(3,\) and \(2,\)"):
        ScalarFactorization(torch.zeros(3), torch.zeros(2))
