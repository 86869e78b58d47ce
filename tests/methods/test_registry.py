"""What a method's file says of it is all there is to say: rule, optimizer, settings and looks follow from it."""

import inspect
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import flatlab
from flatlab import optim, rules
from flatlab.methods import METHODS, Method, Option
from flatlab.palette import PALETTE
from flatlab.training import Train
from flatlab.training.methods import OWNERS

every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@every_method
def test_it_has_a_rule_an_optimizer_settings_and_looks(method):
    name = method.__name__
    assert getattr(rules, method.rule.__name__) is method.rule
    opt = getattr(optim, name)
    assert opt.method is method and opt.__doc__ == method.__doc__ and name in optim.__all__
    taken = inspect.signature(opt).parameters
    assert list(taken)[: 1 + len(method.options)] == ["base_optimizer", *method.options]
    assert all(taken[k].default == option.default for k, option in method.options.items())
    chosen = Train(method=name)
    assert all(getattr(chosen, k) == option.default for k, option in method.options.items())
    assert (PALETTE["methods"][name], PALETTE["dashes"][name]) == (method.colour, method.dash)
    assert f"Source: {method.source.split(',')[0]}" in method.__doc__


@every_method
def test_a_rule_by_itself_has_the_defaults_of_its_optimizer(method):
    own = {name: p.default for name, p in inspect.signature(method.rule).parameters.items() if name in method.options}
    own.pop("form", None)  # a rule on vectors can afford the full matrix, an optimizer of a network cannot
    assert own == {name: method.options[name].default for name in own} and "rho" in own


@every_method
def test_what_it_says_of_its_rule_is_what_the_rule_takes(method):
    taken = set(inspect.signature(method.rule).parameters)
    assert method.draws == ("generator" in taken) and method.cuts == bool({"parts", "samples"} & taken)
    assert method.memory in taken or not method.memory and "mean" not in taken
    assert method.capturable == (not method.draws)


@pytest.mark.parametrize("method", [m for m in METHODS.values() if not m.cuts], ids=lambda m: m.__name__)
def test_workers_may_climb_apart_only_where_nothing_of_the_first_gradient_stays(method):
    """Workers average the later gradients alone: the first, each its own, must leave no trace in what they step along."""

    def found(first):
        gradients = iter([torch.tensor(first)])
        options = {"generator": torch.Generator().manual_seed(0)} if method.draws else {}
        direction = method.rule(torch.ones(2), lambda w: next(gradients, torch.tensor([3.0, 4.0])), **options)
        return torch.cat(direction) if method.memory else direction

    assert torch.equal(found([1.0, 0.0]), found([0.0, 2.0])) == method.local_ascent


def test_no_two_lines_look_alike():
    looks = [(method.colour, method.dash) for method in METHODS.values()]
    assert len(set(looks)) == len(looks)


def test_a_setting_names_its_owners_and_no_other_method_takes_it():
    for name, owners in OWNERS.items():
        for method in METHODS:
            if method not in owners:
                with pytest.raises(ValueError, match=f"{name} = .* has no effect here: it needs method {owners[0]}"):
                    Train(method=method, **{name: METHODS[owners[0]].options[name].default})


def test_bounds_are_those_of_the_option():
    class Example(Method):
        share = Option(0.5, "a share", above=0, below=1)
        count = Option(2, "a number", least=1)
        kind = Option("a", "a kind", allowed=("a", "b"))

    for options, told in (
        ({"share": 1.0}, "share must be between 0 and 1, got 1.0"),
        ({"share": float("nan")}, "share must be between 0 and 1, got nan"),
        ({"count": 0}, "count must be a whole number >= 1, got 0"),
        ({"count": 1.5}, "count must be a whole number >= 1, got 1.5"),
        ({"kind": "c"}, "kind must be 'a' or 'b', got 'c'"),
    ):
        with pytest.raises(ValueError, match=told):
            Example.check(**{"share": 0.5, "count": 2, "kind": "a"} | options)


@every_method
def test_what_lies_on_a_closed_bound_or_just_inside_an_open_one_is_allowed_and_nothing_beyond(method):
    for option in method.options.values():
        good, bad = list(option.allowed), []
        if option.least is not None:
            good.append(option.kind(option.least))
            bad.append(option.least - 1 if option.kind is int else math.nextafter(option.least, -math.inf))
        if option.above is not None:
            good.append(math.nextafter(option.above, math.inf))
            bad.append(option.above)
        if option.below is not None:
            good.append(math.nextafter(option.below, -math.inf))
            bad.append(option.below)
        for value in good:
            option.check(value)
        for value in bad:
            with pytest.raises(ValueError, match=f"{option.name} must be"):
                option.check(value)
        if option.kind is float:  # a tensor is held to the same
            option.check(torch.tensor(good, dtype=torch.float64))
            for value in bad:
                with pytest.raises(ValueError, match=f"{option.name} must be"):
                    option.check(torch.tensor([*good, value], dtype=torch.float64))


NEW = '''
"""Descends along the gradient that a momentum would find."""

from flatlab.methods.method import Method, Option


def looking_ahead(w, grad, ahead=0.5):
    """`grad(w - ahead * grad(w))`."""
    return grad(w - ahead * grad(w))


class Ahead(Method):
    """Looks ahead."""

    rule = staticmethod(looking_ahead)
    ahead = Option(0.5, "how far it looks", least=0)
    source, about, colour, dash = "nobody", "looks ahead", "#123456", "dot"
'''
USE = """
from flatlab import rules
from flatlab.optim import Ahead
from flatlab.palette import PALETTE
from flatlab.training import Train
assert rules.looking_ahead and PALETTE["methods"]["Ahead"] == "#123456"
result = Train(data="digits", network="logistic", epochs=1, method="Ahead", ahead=0.1).run()
assert result["gradients"] == 2 * result["steps"]
"""


@pytest.mark.slow
def test_one_file_is_all_that_a_new_method_takes(tmp_path):
    shutil.copytree(Path(flatlab.__file__).parent, tmp_path / "flatlab", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "flatlab" / "methods" / "ahead.py").write_text(NEW)
    subprocess.run([sys.executable, "-c", USE], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, check=True)
