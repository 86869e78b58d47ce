"""The rules against their formulas, written out here without the library's own vocabulary."""

import math

import pytest
import torch

from flatlab import rules

HESSIAN = torch.tensor([[3.0, 1.0, 0.0], [1.0, 2.0, -0.5], [0.0, -0.5, 1.0]], dtype=torch.float64)


def gradient(w):
    return w @ HESSIAN + 0.3 * w**3


def by_hand(name, w, rho, eta):
    """One point, plain numbers: the formula of each paper."""

    def grad(v):
        return gradient(torch.tensor(v, dtype=torch.float64)).tolist()

    def length(v):
        return math.sqrt(sum(x * x for x in v))

    g = grad(w)
    if name == "gd":
        return g
    size = [abs(x) + eta for x in w] if "asam" in name else [1.0] * len(w)
    scaled = [t * x for t, x in zip(size, g, strict=True)]
    factor = rho if name == "usam" else rho / length(scaled)
    s = grad([x + factor * t * y for x, t, y in zip(w, size, scaled, strict=True)])
    return [length(g) / length(s) * x for x in s] if name.startswith("stable") else s


OPTIONS = {
    "gd": {},
    "sam": {"rho": 0.7},
    "usam": {"rho": 0.7},
    "asam": {"rho": 0.7, "eta": 0.02},
    "stable_sam": {"rho": 0.7},
    "stable_asam": {"rho": 0.7, "eta": 0.02},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_rule_agrees_with_its_formula_written_out(name):
    w = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    got = getattr(rules, name)(w, gradient, **OPTIONS[name])
    expected = [by_hand(name, row.tolist(), 0.7, 0.02) for row in w]
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["stable_sam", "stable_asam"])
def test_stable_rules_keep_the_length_of_the_plain_gradient(name):
    w = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    d = getattr(rules, name)(w, gradient, **OPTIONS[name])
    torch.testing.assert_close(rules.norm(d), rules.norm(gradient(w)), rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_batch_of_points_is_the_points_one_by_one(name):
    w = torch.randn(4, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    rule = getattr(rules, name)
    one_by_one = torch.stack([rule(v, gradient, **OPTIONS[name]) for v in w.reshape(-1, 3)]).reshape(w.shape)
    torch.testing.assert_close(rule(w, gradient, **OPTIONS[name]), one_by_one, rtol=1e-13, atol=1e-14)


def test_every_row_may_have_its_own_rho():
    w = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    radii = torch.tensor([[0.0], [0.1], [2.0]], dtype=torch.float64)
    separately = torch.stack([rules.sam(v, gradient, float(r)) for v, r in zip(w, radii, strict=True)])
    torch.testing.assert_close(rules.sam(w, gradient, radii), separately)


@pytest.mark.parametrize("name", OPTIONS)
def test_at_a_critical_point_every_rule_stands_still(name):
    w = torch.zeros(2, 3, dtype=torch.float64)
    assert torch.equal(getattr(rules, name)(w, gradient, **OPTIONS[name]), w)


def test_with_rho_zero_sam_is_gradient_descent_to_the_bit():
    w = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    for name in ("sam", "usam", "asam"):
        assert torch.equal(getattr(rules, name)(w, gradient, rho=0.0), gradient(w))


def test_asam_leaves_unscaled_coordinates_to_sam():
    w = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    nowhere = torch.zeros(3, dtype=torch.bool)
    torch.testing.assert_close(rules.asam(w, gradient, 0.3, scaled=nowhere), rules.sam(w, gradient, 0.3))


@pytest.mark.parametrize("name", ["sam", "usam", "asam", "stable_sam", "stable_asam"])
@pytest.mark.parametrize("rho", [-0.1, math.nan, math.inf])
def test_a_bad_rho_is_named_with_its_value(name, rho):
    with pytest.raises(ValueError, match=rf"rho must be finite and >= 0, got {rho}"):
        getattr(rules, name)(torch.ones(3, dtype=torch.float64), gradient, rho=rho)


def test_a_bad_rho_in_a_tensor_is_named_with_its_value():
    with pytest.raises(ValueError, match="rho must be finite and >= 0, got -2.0"):
        rules.sam(torch.ones(2, 3, dtype=torch.float64), gradient, torch.tensor([[1.0], [-2.0]]))
