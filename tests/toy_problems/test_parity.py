"""JavaScript computes what Python computes: every twin in a room, found by walking the rooms, in a real browser.

A twin is a module in JavaScript beside the Python module of its name. Its function `twin(given)` offers some of what the
landscape has, under its names and on arrays. A landscape that needs data has its examples in `ROOM_example.py` in the
folder of its tests, each with what its twin is given.
"""

import inspect
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from flatlab import rules
from flatlab.explorable.bundle import located
from flatlab.landscape import Landscape
from tests.rooms import ROOT, explorables
from toy_problems import Lucchi

FACES = {cls.module for cls in explorables()}
TWINS = sorted(
    address
    for file in (ROOT / "toy_problems").rglob("*.mjs")
    if file.with_suffix(".py").exists() and (address := file.relative_to(ROOT).as_posix()) not in FACES
)
BODY = """const twin = module.twin(argument.given);
  return Object.fromEntries(Object.entries(twin).map(([name, f]) => [name, argument.points.map((w) => f(w))]));"""


def landscapes(address):
    """Instances of the landscapes of a Python module, and what their twins are given."""
    module = import_module(address.removesuffix(".mjs").replace("/", "."))
    own = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
    plain = [c for c in own if issubclass(c, Landscape) and not inspect.isabstract(c) and "__init__" not in vars(c)]
    room = Path(address).parent.name
    if (Path(__file__).parent / room / f"{room}_example.py").exists():
        return list(import_module(f"tests.toy_problems.{room}.{room}_example").landscapes())
    assert plain, f"{address}: a landscape with data needs {room}_example.py in the folder of its tests"
    return [(cls(), {}) for cls in plain]


def in_python(landscape, name, w):
    """`name`, as JavaScript has it, of the landscape at the points `w`; by automatic differentiation if it has none."""
    own = getattr(landscape, re.sub("[A-Z]", lambda m: f"_{m[0].lower()}", name), None)
    if own is None:
        own = torch.func.vmap({"hessian": torch.func.hessian, "grad": torch.func.grad}[name](landscape.loss))
    return own(w).detach().numpy()


def test_every_landscape_on_a_page_has_its_twin_beside_it():
    assert {Path(address).parent.name for address in TWINS} >= {"lucchi", "ravines", "relu_curve"}
    for file in (ROOT / "toy_problems").rglob("landscape.mjs"):
        assert file.relative_to(ROOT).as_posix() in TWINS, "a landscape in JavaScript alone"


@pytest.mark.parametrize("address", TWINS)
def test_a_twin_computes_what_python_computes_to_1e_12_on_random_points(call, address):
    for landscape, given in landscapes(address):
        w = 1.5 * torch.randn(120, landscape.d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        w[0] = 0.0  # often a critical point
        found = call(address, ["twin"], BODY, {"given": given, "points": w.tolist()})
        assert "loss" in found and len(found) > 1
        for name, values in found.items():
            expected = in_python(landscape, name, w)
            assert np.shape(values) == expected.shape, name
            scale = max(1.0, np.abs(expected).max())
            np.testing.assert_allclose(np.array(values) / scale, expected / scale, rtol=0, atol=1e-12, err_msg=name)


RULES = re.findall(r"\w+", re.search(r"RULES = \{(.*)\}", located("flatlab/explorable/rules.mjs").read_text())[1])
OPTIONS = {"rho": 0.3, "eta": 0.01}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_on_the_page_is_the_rule_of_python_to_1e_12_on_random_points(call, name):
    w = torch.randn(500, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    w[0] = 0.0  # a critical point
    rule = getattr(rules, name)
    options = {key: value for key, value in OPTIONS.items() if key in inspect.signature(rule).parameters}
    body = """const {points, name, options} = argument;
      const direction = ([x, y]) => module.RULES[name]({x, y}, module.grad, options);
      return points.map(direction).map(({x, y}) => [x, y]);"""
    modules = ["toy_problems/lucchi/landscape.mjs", "flatlab/explorable/rules.mjs"]
    got = call(modules, ["RULES", "grad"], body, {"points": w.tolist(), "name": name, "options": options})
    expected = rule(w, Lucchi().grad, **options)
    torch.testing.assert_close(torch.tensor(got, dtype=torch.float64), expected, rtol=1e-12, atol=1e-12)
