"""JavaScript computes what Python computes: the length of a climb, the trajectories and the basin map."""

import math

import numpy as np
import pytest
import torch

from flatlab import rules
from flatlab.descent import milestones, trajectory
from toy_problems import Lucchi
from upkeep import basin_step

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


@pytest.mark.parametrize("lr, rho", [(0.03, 0.2), (0.3, 0.5), (0.17, 0.0)])
@pytest.mark.parametrize("method", ["gd", "sam", "stable_sam"])
def test_webassembly_computes_the_map_of_the_rules_at_every_start(call, method, lr, rho):
    body = """const {inPairs, byRules, basinRows} = module;
      const [quick, plain] = [inPairs, byRules].map((by) => basinRows(argument, by(argument)));
      return [quick.length, quick.filter((f, k) => f !== plain[k]).length, new Set(plain).size];"""
    argument = {"method": method, "lr": lr, "rho": rho, "steps": 120, "radius": 0.1, "from": 0, "to": 256}
    cells, different, fates = call(f"{TOY}/basin.mjs", ["inPairs", "byRules", "basinRows"], body, argument)
    assert (cells, different) == (65536, 0) and fates > 1


@pytest.mark.parametrize("size", [0.0, 1e-320, 1e-200, 1e-100, 1.0, 1e60, 1e200, 1e307])
@pytest.mark.parametrize("method", ["gd", "sam", "stable_sam"])
def test_webassembly_steps_to_the_bit_from_starts_of_every_size(call, method, size):
    """Also where the squares of the gradient vanish or overflow, and where a run leaves the numbers."""
    body = """const ends = [module.inPairs, module.byRules].map((by) => {
        const {xs, ys, step} = by(argument), seen = [];
        xs.set(argument.xs);
        ys.set(argument.ys);
        for (let t = 0; t < 40; t++) (step(), seen.push(...xs, ...ys));
        return seen;
      });
      return [ends[0].length, ends[0].filter((v, k) => !Object.is(v, ends[1][k])).length];"""
    starts = np.random.default_rng(0).normal(size=(2, 32)) * size
    starts[:, 0] = size  # no gradient in y
    argument = {"method": method, "lr": 0.1, "rho": 0.2, "xs": starts[0].tolist(), "ys": starts[1].tolist()}
    assert call(f"{TOY}/basin.mjs", ["inPairs", "byRules"], body, argument) == [40 * 64, 0]


def test_the_webassembly_is_that_of_its_source():
    assert basin_step.SOURCE.with_suffix(".wasm").read_bytes() == basin_step.assembled(), "run python -m upkeep.basin_step"
