"""A rule run on a landscape: the loop, its milestones, and the compiled steps."""

import math

import pytest
import torch

from flatlab import rules
from flatlab.descent import can_fuse, milestones, trajectory
from toy_problems import Lucchi


def test_a_trajectory_on_a_quadratic_is_the_geometric_sequence():
    path = trajectory(rules.gd, lambda w: 0.5 * w, torch.tensor([[1.0], [-2.0]]), lr=0.4, steps=6)
    expected = 0.8 ** torch.arange(7.0)[:, None, None] * torch.tensor([[1.0], [-2.0]])
    torch.testing.assert_close(path, expected)


def test_milestones_are_points_of_the_trajectory_to_the_bit():
    f, w0 = Lucchi(), torch.tensor([[0.3, -1.2], [1.9, 1.9]], dtype=torch.float64)
    path = trajectory(rules.stable_sam, f.grad, w0, lr=0.1, steps=20, rho=0.2)
    for at, w in zip((5, 6, 20), milestones(rules.stable_sam, f.grad, w0, lr=0.1, at=(5, 6, 20), rho=0.2), strict=True):
        assert torch.equal(w, path[at])


def test_a_learning_rate_may_differ_by_row():
    f, w0 = Lucchi(), torch.tensor([[0.3, -1.2], [0.3, -1.2]], dtype=torch.float64)
    rates = torch.tensor([[0.05], [0.2]], dtype=torch.float64)
    (both,) = milestones(rules.sam, f.grad, w0, lr=rates, at=(30,), rho=0.1)
    (second,) = milestones(rules.sam, f.grad, w0[1], lr=0.2, at=(30,), rho=0.1)
    assert torch.equal(both[1], second)


@pytest.mark.slow
def test_fused_steps_give_the_same_points():
    assert can_fuse(), "torch.compile needs a C++ compiler; install g++ (Debian, Ubuntu) or the Xcode tools (macOS)"
    f = Lucchi()
    w0 = (4 * torch.rand(2, 3, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 2).movedim(0, -1)
    plain = milestones(rules.sam, f.grad, w0, lr=0.05, at=(4, 11), rho=0.2)
    fused = milestones(rules.sam, f.grad, w0, lr=0.05, at=(4, 11), fused=4, rho=0.2)
    for a, b in zip(plain, fused, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_a_diverged_run_is_returned_as_it_is():
    path = trajectory(rules.gd, lambda w: w**3, torch.tensor([10.0]), lr=1.0, steps=12)
    assert not torch.isfinite(path[-1]).all() and path[0].item() == 10.0


@pytest.mark.parametrize("lr", [0.0, -0.1, math.nan, math.inf])
def test_a_bad_learning_rate_is_named_with_its_value(lr):
    with pytest.raises(ValueError, match=f"lr must be finite and > 0, got {lr}"):
        trajectory(rules.gd, lambda w: w, torch.ones(2), lr=lr, steps=1)


def test_a_bad_start_or_count_is_named():
    with pytest.raises(ValueError, match="the start must be finite, got nan"):
        trajectory(rules.gd, lambda w: w, torch.tensor([1.0, math.nan]), lr=0.1, steps=1)
    with pytest.raises(ValueError, match="steps must be a whole number >= 0, got -1"):
        trajectory(rules.gd, lambda w: w, torch.ones(2), lr=0.1, steps=-1)
    with pytest.raises(ValueError, match=r"at must be increasing step counts, got \(3, 3\)"):
        next(milestones(rules.gd, lambda w: w, torch.ones(2), lr=0.1, at=(3, 3)))
