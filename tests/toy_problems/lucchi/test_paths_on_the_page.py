"""JavaScript computes what Python computes: the length of a climb, the trajectories and the basin map."""

import math

import numpy as np
import pytest
import torch

from flatlab import rules
from flatlab.descent import milestones, trajectory
from toy_problems import Lucchi

F = Lucchi()
TOY, KIT = "toy_problems/lucchi", "flatlab/explorable"


@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e200, 1e307])
@pytest.mark.parametrize("name", ["sam", "asam", "stable_sam", "stable_asam"])
def test_a_climb_is_rho_long_whatever_the_size_of_the_gradient(call, name, size):
    body = """const {name, g, options} = argument, seen = [];
      module.RULES[name]({x: 0, y: 0}, (w) => (seen.push(w), g), options);
      return [seen[1].x, seen[1].y];"""
    argument = {"name": name, "g": {"x": 3 * size, "y": 4 * size}, "options": {"rho": 0.5, "eta": 1.0}}
    assert call(f"{KIT}/rules.mjs", ["RULES"], body, argument) == pytest.approx([0.3, 0.4], rel=1e-3)


@pytest.mark.parametrize("name", ["gd", "stable_sam"])
def test_a_trajectory_agrees_step_by_step(call, name):
    body = """const {path, ratios} = module.trajectory(module.RULES[argument], module.grad, {x: -0.6, y: 1.6},
        {lr: 0.1, steps: 300, rho: 0.2}); return [path.map((w) => [w.x, w.y]), ratios];"""
    modules = [f"{TOY}/landscape.mjs", f"{KIT}/rules.mjs", f"{KIT}/descent.mjs"]
    path, ratios = call(modules, ["RULES", "grad", "trajectory"], body, name)
    start = torch.tensor([-0.6, 1.6], dtype=torch.float64)
    rule, options = getattr(rules, name), {} if name == "gd" else {"rho": 0.2}
    expected = trajectory(rule, F.grad, start, lr=0.1, steps=300, **options)
    np.testing.assert_allclose(path, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ratios[:100], [1.0] * 100, rtol=1e-9)


@pytest.mark.parametrize(
    "name, lr, rho, steps",
    [
        ("gd", 0.02, 0.0, 300),
        ("sam", 0.1, 0.2, 300),
        ("stable_sam", 0.1, 0.2, 300),
        ("sam", 0.3, 0.5, 301),
        ("stable_sam", 0.3, 0.5, 60),
    ],
)
def test_the_basin_map_agrees_start_by_start(call, name, lr, rho, steps):
    body = "return Array.from(module.mirrored(module.basinRows({...argument, radius: 0.1, from: 0, to: 128})));"
    argument = {"method": name, "lr": lr, "rho": rho, "steps": steps}
    got = np.array(call(f"{TOY}/basin.mjs", ["basinRows", "mirrored"], body, argument)).reshape(256, 256)
    centres = (torch.arange(256, dtype=torch.float64) + 0.5) / 256 * 4 - 2
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    rule, options = getattr(rules, name), {} if name == "gd" else {"rho": rho}
    (end,) = milestones(rule, F.grad, torch.stack([x, y], -1), lr=lr, at=(steps,), **options)
    expected = np.full((256, 256), 3)
    for code, point in ((2, (0, 0)), (1, (-1, -1)), (0, (1, 1))):
        expected[(torch.hypot(end[..., 0] - point[0], end[..., 1] - point[1]) <= 0.1).numpy()] = code
    expected[~torch.isfinite(end).all(-1).numpy()] = 4
    # A start on a border of two basins may fall to either side by rounding; SAM's map is not even continuous.
    assert (got != expected).mean() < 5e-4
    assert math.isclose((got == 0).mean(), (got == 1).mean()), "the map mirrors itself"
