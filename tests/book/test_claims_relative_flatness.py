"""What the ledger says of the relative flatness paper: its identities, and Figures 3 and 4 asked of the records again."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from book.relative_flatness.data_sets import curves, falling, record, rising
from book.relative_flatness.representativeness import study
from flatlab.landscape import Landscape
from flatlab.measures import fisher_rao, hessian_trace, pac_bayes, relative_flatness, weight_norm
from toy_problems import GaussianFeatures, relu_curve
from toy_problems.gaussian_features import FourGaussians
from toy_problems.gaussian_features.flatness_and_gap import correlation, density_error, limit_correlation

F64 = torch.float64


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def haar(count, m, seed=0):
    q, r = torch.linalg.qr(normal(count, m, m, seed=seed))
    return q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None]


# --- identities ----------------------------------------------------------------------------------------------------


def head(w, phi):
    """g(w phi): any smooth function of the product."""
    return (phi @ w.mT).tanh().sum(-1)


def test_equations_1_and_7_moving_the_features_is_moving_the_weights():
    w, phi, a, y = normal(3, 5), normal(40, 5, seed=1), 0.3 * normal(5, 5, seed=2), normal(40, seed=3)
    torch.testing.assert_close(head(w, phi + phi @ a.mT), head(w + w @ a, phi))
    moved, held = ((head(*at) - y).square().mean() for at in ((w + w @ a, phi), (w, phi + phi @ a.mT)))
    torch.testing.assert_close(moved, held)


def test_section_2_the_risk_decomposes_over_cells_and_the_gap_over_local_densities():
    """One sample a cell of a partition of the line; all integrals by the midpoint rule."""
    x = (torch.arange(200_000, dtype=F64) + 0.5) / 200_000  # uniform on [0, 1]
    loss = (torch.sin(5 * x) - (x > 0.37).double()).square()
    samples = torch.tensor([0.11, 0.29, 0.52, 0.93], dtype=F64)
    at = (samples * 200_000).long()
    edges = torch.tensor([0.2, 0.4, 0.7], dtype=F64)
    cell = torch.bucketize(x, edges)
    alphas = torch.bincount(cell) / len(x)
    means = torch.stack([loss[cell == k].mean() for k in range(4)])
    torch.testing.assert_close((alphas * means).sum(), loss.mean())  # equation (2)

    def representativeness(local):
        """Equation (3); `local` holds the mean loss under each sample's own density."""
        return loss.mean() - local.mean()

    quarters = torch.stack([part.mean() for part in loss.chunk(4)])  # cells of equal probability, true local densities
    assert representativeness(quarters).abs() < 1e-12
    gap = loss.mean() - loss[at].mean()
    torch.testing.assert_close(representativeness(loss[at]), gap)  # point masses
    boxes = torch.stack([loss[k - 4000 : k + 4000].mean() for k in at.tolist()])  # densities in between
    torch.testing.assert_close(representativeness(boxes) + (boxes - loss[at]).mean(), gap)
    assert (representativeness(boxes) - gap).abs() > 1e-3


def test_proposition_2_random_orthogonal_matrices_spread_a_feature_over_its_sphere():
    m, phi = 5, normal(5, seed=4)
    turned = haar(40_000, m) @ phi / phi.norm()
    torch.testing.assert_close(turned.norm(dim=-1), torch.ones(40_000, dtype=F64))
    assert turned.mean(0).abs().max() < 4 / math.sqrt(m * 40_000)
    assert (turned.mT @ turned / 40_000 - torch.eye(m) / m).abs().max() < 0.006
    # Fourth moment of a coordinate of a uniform point on the sphere: 3 / (m (m + 2)).
    assert turned[:, 0].pow(4).mean().item() == pytest.approx(3 / (m * (m + 2)), rel=0.03)
    # Times a radius delta U^(1/m): the uniform kernel of bandwidth delta ||phi||, from matrices of norm below delta.
    radius = 0.4 * torch.rand(40_000, dtype=F64, generator=torch.Generator().manual_seed(1)) ** (1 / m)
    moved = radius[:, None] * turned * phi.norm()
    assert radius.max() < 0.4 and moved.norm(dim=-1).max() < 0.4 * phi.norm()
    for share in (0.2, 0.6, 0.9):  # the volume within a radius
        within = (moved.norm(dim=-1) < share * 0.4 * phi.norm()).double().mean().item()
        assert within == pytest.approx(share**m, abs=0.01)


def test_theorem_5s_remainder_is_of_order_4_or_of_2_5_with_two_derivatives():
    """One output, two features: the random directions form a circle, over which the mean is exact to rounding."""
    four = GaussianFeatures(normal(30, 2), normal(30, seed=1).sign(), "logistic")
    w = torch.tensor([0.9, 0.9], dtype=F64)
    assert four.grad(w).norm() > 0.1, "no minimum"
    angle = 2 * math.pi * torch.arange(64, dtype=F64) / 64
    circle = w.norm() * torch.stack([angle.cos(), angle.sin()], -1)
    kappa = four.relative_flatness(w)
    rest = [(four.loss(w + d * circle).mean() - four.loss(w) - d**2 / 4 * kappa).abs().item() for d in (0.02, 0.04, 0.08)]
    for small, large in zip(rest, rest[1:], strict=False):
        assert math.log2(large / small) == pytest.approx(4, abs=0.1)

    linear = nn.Linear(2, 1, bias=False).double()
    linear.weight.data = w[None].clone()
    x = normal(30, 2)
    fits = Landscape.of(linear, lambda z, y: (z[:, 0] - y).abs().pow(2.5).mean(), (x, x @ w))
    assert relative_flatness(fits, fits.w0, "") == 0
    rise = [torch.stack([fits.loss(w + d * v) for v in circle]).mean().item() for d in (0.02, 0.04, 0.08)]
    for small, large in zip(rise, rise[1:], strict=False):
        assert math.log2(large / small) == pytest.approx(2.5, abs=1e-6)


def test_neurons_of_other_layers_may_be_rescaled_one_by_one():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    data = normal(30, 4), torch.arange(30) % 3
    net = Landscape.of(model, cross_entropy, data)
    before = {layer: relative_flatness(net, net.w0, layer) for layer in ("0", "2", "4")}
    factor = torch.tensor([0.2, 5.0, 1.0, 3.0, 0.7], dtype=F64)
    with torch.no_grad():
        model[0].weight *= factor[:, None]
        model[0].bias *= factor
        model[2].weight /= factor
    other = Landscape.of(model, cross_entropy, data)
    after = {layer: relative_flatness(other, other.w0, layer) for layer in before}
    assert after["4"] == pytest.approx(before["4"], rel=1e-10)
    assert after["0"] == pytest.approx(before["0"], rel=1e-10), "the neurons that this layer makes"
    assert abs(after["2"] / before["2"] - 1) > 0.1, "the neurons that it takes in: the feature layer"


def test_theorem_4_as_printed_fails_and_dead_neurons_have_no_scale():
    net, w = relu_curve.network(), relu_curve.trained(1)
    factors = torch.tensor([1, 5, 1, 1, 0.3, 1], dtype=F64)
    moved = relu_curve.rescaled(w, factors)

    def normalized(at, power):
        a, b, *_ = at.split([6, 6, 6, 1])
        spread = torch.relu(relu_curve.INPUTS * a + b).std(0, correction=0) ** power
        return relative_flatness(net, relu_curve.rescaled(at, 1 / spread))

    assert normalized(moved, 1) == pytest.approx(normalized(w, 1), rel=1e-10), "the standard deviation"
    assert normalized(moved, 2) > 5 * normalized(w, 2), "the variance"
    assert normalized(w, 1) == pytest.approx(relative_flatness(net, w, normalize=True), rel=1e-10)
    half_dead = relu_curve.trained(5)
    with pytest.raises(ValueError, match="2 of 6 features do not vary"):
        relative_flatness(net, half_dead, normalize=True)
    first = torch.tensor([0.1, 1, 1, 1, 1, 1], dtype=F64)
    shrunk = relu_curve.rescaled(half_dead, first)
    assert hessian_trace(net, shrunk).value == pytest.approx(hessian_trace(net, half_dead).value, rel=1e-9)
    assert relative_flatness(net, shrunk) > 2 * relative_flatness(net, half_dead), "a neuron that computes nothing"


def test_of_the_competing_measures_only_the_fisher_rao_norm_is_invariant():
    net, w = relu_curve.network(), relu_curve.trained(1)
    other = relu_curve.rescaled(w, 3.0)
    assert fisher_rao(net, other) == pytest.approx(fisher_rao(net, w), rel=1e-9)
    for measure in (hessian_trace, weight_norm, pac_bayes):
        assert abs(float(measure(net, other)) / float(measure(net, w)) - 1) > 0.5


def test_the_factor_of_theorem_6_and_the_density_estimate_depend_on_the_dimension():
    errors = []
    for m in (2, 5, 10):
        four = FourGaussians.of("rectangle", 2.0, m)
        generator = torch.Generator().manual_seed(0)
        phi, _ = four.draw(500, 2, generator)
        errors.append(min(density_error(four, phi, d, 2000, generator) for d in (0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)))
    assert errors[0] < 0.35 and errors == sorted(errors) and errors[2] > 0.7
    factors = [n ** (-2 / (4 + 84)) for n in (5e4, 1e44)]
    assert factors == pytest.approx([0.782, 0.1], abs=1e-3)


# --- Figure 3 ------------------------------------------------------------------------------------------------------


def test_figure_3_rises_only_where_the_training_loss_is_used_up():
    """From negative, and not as the first-order theory has it, which predicts the fall in all other settings."""
    for c in rising(curves()):
        assert (c["generator"], c["loss"], c["penalty"]) == ("halved", "logistic", 1e-5)
        assert c["pearson"][0] < -0.4 and c["gap_train"][-1] > 0 and c["limit"][-1] < -0.9
    assert all(c in falling(curves()) for c in curves(generator="rectangle"))


def test_figure_3_on_one_distribution_is_the_first_order_prediction():
    (c,) = curves(generator="rectangle", m=2, loss="squared", penalty=0.002)
    separations = record("flatness_and_gap")["config"]["separations"]
    for separation, found, limit in zip(separations, c["pearson"], c["limit"], strict=True):
        assert found == pytest.approx(limit, abs=0.03)
        assert limit == pytest.approx(limit_correlation(separation, 2), abs=0.015)
    for c in curves(generator="rectangle", loss="logistic", penalty=0.002):
        # The few samples near the border make up kappa and the training loss alike.
        assert c["pearson"][-1] < -0.7 and c["kappa_train"][-1] > 0.6 and c["gap_train"][-1] < -0.7


# --- Figure 4 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [2, 10])
def test_figure_4_the_bound_falls_step_by_step_and_does_not_know_the_gap(m):
    """On the way up by a standard error of a point at most."""
    s = study(m)
    assert s.bound.mean(1).diff().max() < 0.0015 and correlation(s.bound, s.gap).max() < 0.05


@pytest.mark.parametrize("m", [2, 10])
def test_figure_4_the_estimate_is_the_scatter_of_the_test_part(m):
    """The gap scatters like a mean of 500 losses, a split like the difference of one of 50 and one of 450."""
    s = study(m, 0.05)
    scatter = math.sqrt(2 / math.pi) * math.sqrt(1 / 50 + 1 / 450) * math.sqrt(500) * s.gap.std(1)
    assert (s.split.mean(1) / scatter - 1).abs().max() < 0.25


def test_feature_robustness_with_true_labels_follows_the_gap_where_flatness_does_not():
    s = study(10, 0.8)
    assert correlation(s.true, s.gap)[0] > 0.9 and correlation(s.held, s.gap)[0] < 0.5


# --- what theory decides ---------------------------------------------------------------------------------------------


def signed_permutations(m):
    """All of them: as many orthogonal matrices over which `O M O'` has the mean `tr(M) I / m` exactly, as over all."""
    eye = torch.eye(m, dtype=F64)
    orders = [eye[list(p)] for p in itertools.permutations(range(m))]
    return torch.stack(
        [torch.diag(torch.tensor(s, dtype=F64)) @ o for s in itertools.product((1, -1), repeat=m) for o in orders]
    )


def test_section_7_a_shape_of_the_support_weights_the_weights_and_not_the_eigenvalues():
    """Losses z' G z / 2 of two outputs z = w phi. The rise comes from moved features, the measure from the Hessian."""
    m, w, phi = 3, normal(2, 3), normal(40, 3, seed=1)
    roots = normal(40, 2, 2, seed=2)
    g = roots @ roots.mT
    H = torch.einsum("nab,ni,nj->abij", g, phi, phi) / 40
    eigenvalues, vectors = torch.linalg.eigh(H[0, 0])
    b = normal(m, m, seed=3)
    loss = lambda features: torch.einsum("nab,na,nb->n", g, features @ w.mT, features @ w.mT).mean() / 2  # noqa: E731
    o = signed_permutations(m)

    def rise(matrices, delta):
        return torch.stack([loss(phi + delta * phi @ a.mT) - loss(phi) for a in matrices]).mean()

    trace = lambda inner, hessians: torch.einsum("ab,abii->", inner, hessians)  # noqa: E731
    for delta in (0.1, 0.2):
        factor = delta**2 / (2 * m)
        torch.testing.assert_close(rise(o, delta), factor * trace(w @ w.mT, H))  # Theorem 5
        on_ellipsoids = factor * trace(w @ b @ b.mT @ w.mT, H)  # the trace stays
        torch.testing.assert_close(rise(b @ o, delta), on_ellipsoids)
        of_other_sizes = factor * trace(w @ w.mT, b @ H @ b.mT)
        torch.testing.assert_close(rise(o @ b, delta), of_other_sizes)
    torch.testing.assert_close((b @ o @ phi[0]) @ torch.linalg.inv(b).mT, o @ phi[0])  # an ellipsoid around each sample
    torch.testing.assert_close(
        (o @ b @ phi[0]).norm(dim=-1), (b @ phi[0]).norm().expand(len(o))
    )  # a sphere, of another size
    weights = (b @ vectors).square().sum(0)  # of the eigenvalues, one by one
    torch.testing.assert_close(torch.trace(b @ H[0, 0] @ b.mT), (weights * eigenvalues).sum())
    assert weights.max() > 2 * weights.min() and abs(on_ellipsoids / of_other_sizes - 1) > 0.05


def test_theorem_6_has_the_rate_of_interpolation_for_two_derivatives_and_none_that_holds_for_all_densities():
    """Bias and scatter of a density estimate of the bandwidth that balances them. Then densities 1 + cos 2 pi k x."""
    for m, n in itertools.product((1, 2, 10, 84), (100, 50_000)):
        h, rate = n ** (-1 / (4 + m)), n ** (-2 / (4 + m))
        assert h**2 == pytest.approx(rate) == pytest.approx((n * h**m) ** -0.5)
        of_smoothness = lambda alpha, m=m, n=n: n ** (-alpha / (2 * alpha + m))  # noqa: E731
        assert rate == pytest.approx(of_smoothness(2)) and of_smoothness(1) > rate
    n = 10_000
    x, h = torch.arange(4000, dtype=F64) / 4000, n ** (-1 / 5)
    offsets = torch.linspace(-6 * h, 6 * h, 601, dtype=F64)
    kernel = torch.exp(-((offsets / h) ** 2) / 2)
    errors, bounds = [], []
    for k in (1, 5, 50):
        density = lambda t, k=k: 1 + torch.cos(2 * math.pi * k * t)  # noqa: E731
        smoothed = (density(x[:, None] + offsets) * kernel).sum(1) / kernel.sum()
        errors.append((smoothed - density(x)).abs().mean().item())
        bounds.append(h**2 / 2 * (2 * math.pi * k) ** 2 * 2 / math.pi)
        assert errors[-1] == pytest.approx(2 / math.pi * (1 - math.exp(-((2 * math.pi * k * h) ** 2) / 2)), abs=1e-3)
    assert errors[2] > 0.63 and all(e <= b for e, b in zip(errors, bounds, strict=True))
    assert bounds[2] / bounds[0] == pytest.approx(2500), "the constant grows with the density's second derivatives"


def test_kappa_tells_interpolating_models_apart_and_the_factor_of_the_bound_stays_above_0_69():
    """Least squares with 40 features and 20 samples. All fit; what lies in the null space adds to kappa and risk."""
    phi, teacher = normal(20, 40), normal(40, seed=1)
    least = torch.linalg.pinv(phi) @ (phi @ teacher)
    null = torch.linalg.svd(phi, full_matrices=True).Vh[-1]
    c = 2 * phi.square().sum(1).mean()  # kappa is c times the squared norm
    kappas, risks = [], []
    for a in (0.0, 1.0, 3.0):
        both = least + a * null, least - a * null
        for w in both:
            assert (phi @ (w - teacher)).abs().max() < 1e-12, "the training loss is zero"
            assert GaussianFeatures(phi, phi @ teacher).relative_flatness(w) == pytest.approx((c * w @ w).item())
        kappas.append(c * both[0].square().sum())
        risks.append(sum((w - teacher).square().sum() for w in both) / 2)  # features of covariance I
    for k in (1, 2):
        torch.testing.assert_close((kappas[k] - kappas[0]) / c, risks[k] - risks[0])
    assert min(n ** (-2 / (4 + n)) for n in range(2, 100_000)) == pytest.approx(6**-0.2) == pytest.approx(0.699, abs=1e-3)


# --- the exercise on one data set -----------------------------------------------------------------------------------


def test_over_penalties_on_one_data_set_relative_flatness_follows_the_gap_but_not_the_loss_on_new_data():
    four = FourGaussians.of("rectangle", 2.0, 40)
    features, y = four.draw(500, generator=torch.Generator().manual_seed(0))
    data = GaussianFeatures(features, y)
    penalties = torch.logspace(-3, 1, 30).tolist()
    ws = torch.stack([data.minimizer(penalty) for penalty in penalties])
    risk = four.risk(ws, "squared")
    gap = risk - data.loss(ws)
    assert correlation(data.relative_flatness(ws), gap).item() == pytest.approx(0.997, abs=5e-4)
    assert penalties[risk.argmin()] == pytest.approx(0.2, abs=0.05) and risk.min().item() == pytest.approx(0.53, abs=5e-3)
    assert gap.argmin() == 29 and risk[29].item() == pytest.approx(0.85, abs=5e-3)
