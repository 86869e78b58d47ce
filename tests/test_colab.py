"""Colab's own packages stay in place: each runtime has what the library needs, and ipywidgets what the panel asks of it."""

import json
import tomllib
from pathlib import Path

import ipywidgets
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from flatlab.widgets import TrainingPanel, training_panel

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIMES = sorted((ROOT / "tests" / "colab").glob("*.txt"))


def installed(runtime):
    lines = [line for line in runtime.read_text().splitlines() if not line.startswith("#")]
    return dict(line.split("==") for line in lines)


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda path: path.stem)
def test_no_version_that_colab_has_must_give_way(runtime):
    there = installed(runtime)
    needed = {need.name: need.specifier for need in map(Requirement, PROJECT["dependencies"])}
    assert "torch" in needed.keys() & there
    wrong = {name: there[name] for name in needed.keys() & there if there[name] not in needed[name]}
    assert not wrong, f"{runtime.stem} would change"
    assert there.get("python", "3.12") in SpecifierSet(PROJECT["requires-python"])


def test_colab_has_all_that_the_library_needs():
    """So that a set-up cell installs one small package in seconds."""
    needed = {Requirement(need).name for need in PROJECT["dependencies"]}
    assert needed <= installed(ROOT / "tests" / "colab" / "2026.07.txt").keys()


def test_the_panel_asks_only_for_what_ipywidgets_7_has(monkeypatch, tmp_path):
    """The names of its traits, as version 7.7.1 has them; version 7 ignores others, and a later traitlets refuses them."""
    api = json.loads((ROOT / "tests" / "colab" / "ipywidgets-7.7.1.json").read_text())
    asked = []

    def watched(cls):
        init = cls.__init__

        def checked(self, *args, **more):
            if type(self) is cls:
                asked.append(cls.__name__)
                assert more.keys() <= set(api[cls.__name__]), cls.__name__
            init(self, *args, **more)

        monkeypatch.setattr(cls, "__init__", checked)

    for name in api:
        watched(getattr(ipywidgets, name))
    monkeypatch.setattr(training_panel, "TOOLTIP", "description_tooltip")
    panel = TrainingPanel(out=tmp_path, data="digits", network="logistic")
    assert {"Accordion", "Box", "Button", "Checkbox", "Combobox", "Dropdown", "FloatProgress", "HTML", "Text"} == set(asked)
    assert panel.form["lr"].tooltip.startswith("largest learning rate")
