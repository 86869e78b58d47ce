"""Lengths and directions of vectors of any size, row by row."""

import pytest
import torch
from torch.func import vmap

from flatlab import rules
from flatlab.methods.vectors import with_length_of

SIZES = {torch.float32: (1e-38, 1e-30, 1.0, 1e20, 1e38), torch.float64: (1e-307, 1e-200, 1.0, 1e200, 1e307)}


@pytest.mark.parametrize("dtype", SIZES, ids=str)
def test_rows_of_all_sizes_beside_a_zero_one(dtype):
    v = torch.tensor([[0.0, 0.0], *([0.6 * s, -0.8 * s] for s in SIZES[dtype])], dtype=dtype)
    sizes = torch.tensor([[0.0], *([s] for s in SIZES[dtype])], dtype=dtype)
    heading = torch.tensor([0.6, -0.8], dtype=dtype).expand(len(v) - 1, 2)
    torch.testing.assert_close(rules.norm(v), sizes, rtol=1e-5, atol=0)
    assert torch.equal(rules.unit(v)[0], torch.zeros(2, dtype=dtype))
    torch.testing.assert_close(rules.unit(v)[1:], heading, rtol=1e-5, atol=0)
    w = torch.ones_like(v)
    for rho in (0.5, torch.full((len(v), 1), 0.5, dtype=dtype)):
        assert torch.equal(rules.stepped(w, v, rho)[0], w[0])
        torch.testing.assert_close(rules.stepped(w, v, rho)[1:], 1 + 0.5 * heading, rtol=1e-5, atol=0)
    turned = with_length_of(v, v.flip(0).flip(-1))
    torch.testing.assert_close(rules.norm(turned)[1:-1], sizes[1:-1], rtol=1e-5, atol=0)


@pytest.mark.parametrize("size", [1e-80, 1e-50, 1e-20, 1e-10])
def test_a_step_along_a_small_vector_alone_has_its_full_length(size):
    """Beside no other row, where its norm is taken as it stands."""
    v = torch.tensor([0.6, -0.8], dtype=torch.float64) * size
    for rho in (0.5, torch.tensor([0.5], dtype=torch.float64)):
        step = rules.stepped(torch.zeros_like(v), v, rho)
        torch.testing.assert_close(step, torch.tensor([0.3, -0.4], dtype=torch.float64), rtol=1e-12, atol=0)


def test_the_scale_is_a_power_of_two_and_costs_no_digit():
    v = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    tiny = v * 2.0**-90
    assert torch.equal(rules.unit(tiny), rules.unit(v)) and torch.equal(rules.norm(tiny), rules.norm(v) * 2.0**-90)
    assert torch.equal(rules.unit(v), v / torch.linalg.vector_norm(v, dim=-1, keepdim=True))


@pytest.mark.parametrize("dtype", SIZES, ids=str)
def test_the_scale_of_large_vectors_is_no_denormal_number_which_devices_may_take_for_zero(dtype):
    largest = torch.finfo(dtype).max
    sizes = torch.tensor([[largest / 2**k] for k in (1, 2, 3)], dtype=dtype)
    v = sizes * torch.tensor([0.6, -0.8], dtype=dtype)
    assert torch.set_flush_denormal(True)
    try:
        torch.testing.assert_close(rules.norm(v), sizes, rtol=1e-5, atol=0)
        torch.testing.assert_close(rules.unit(v), v / sizes, rtol=1e-5, atol=0)
    finally:
        torch.set_flush_denormal(False)


def test_under_vmap_and_for_no_rows_at_all():
    v = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1e-30], [1.0], [0.0], [1e30], [1.0]])
    torch.testing.assert_close(vmap(rules.unit)(v), rules.unit(v), rtol=1e-6, atol=0)
    assert rules.unit(torch.ones(0, 3)).shape == (0, 3)


@pytest.mark.parametrize("name", ["sam", "asam", "stable_sam", "stable_asam"])
@pytest.mark.parametrize("size", [1e-40, 1e-23, 1e25, 1e37])
def test_a_rule_climbs_by_rho_along_a_gradient_of_any_size(name, size):
    met = []

    def grad(w):
        met.append(w)
        return torch.tensor([3.0, 4.0]) * size

    w = torch.ones(2)
    direction = getattr(rules, name)(w, grad, 0.5)
    climb = met[1] - w
    torch.testing.assert_close(climb / climb.norm(), torch.tensor([0.6, 0.8]), rtol=1e-4, atol=0)
    assert climb.norm().item() == pytest.approx(0.5 * (1.01 if "asam" in name else 1), rel=1e-3)
    torch.testing.assert_close(direction, torch.tensor([3.0, 4.0]) * size, rtol=1e-4, atol=0)
