"""Colab's own packages stay in place: each runtime has what the library needs, and ipywidgets what the panel asks of it."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import ipywidgets
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from flatlab.widgets import TrainingPanel, training_panel

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "book" / "_ext"))
import colab  # noqa: E402

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


def metadata(name, version, needs=(), extras=()):
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Provides-Extra: {e}" for e in extras)]
    return "\n".join([*lines, *(f"Requires-Dist: {need}" for need in needs), ""])


def wheel(folder, name, version, needs=(), extras=()):
    """A package of that name without content: pip reads no more of it until it installs."""
    file = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    inside = f"{name.replace('-', '_')}-{version}.dist-info"
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr(f"{inside}/METADATA", metadata(name, version, needs, extras))
        packed.writestr(f"{inside}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr(f"{inside}/RECORD", "")
    return file


def library(folder):
    """The library as pip sees it."""
    extras = PROJECT["optional-dependencies"]
    needs = [f'{need}; extra == "{extra}"' for extra, more in extras.items() for need in more]
    return wheel(folder, "flatlab", PROJECT["version"], [*PROJECT["dependencies"], *needs], extras)


def as_in(folder, there):
    """The Python of an environment where, for all that pip sees, these versions are installed."""
    venv.create(folder / "env", symlinks=True)
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    for name, version in there.items():
        if name != "python":
            version += "+cu128" * (name == "torch")  # Colab's is built for its GPUs
            place = packages / f"{name.replace('-', '_')}-{version}.dist-info"
            place.mkdir()
            (place / "METADATA").write_text(metadata(name, version))
            (place / "INSTALLER").write_text("pip")
    return folder / "env" / "bin" / "python"


def changed(python, folder, page, *how):
    """The packages that the set-up cell of `page` would install, by pip's own resolution of its own commands."""
    cell = colab.notebook(ROOT / "book" / page, "book", "https://nowhere.invalid", "")["cells"][0]["source"]
    (listing,) = re.findall(r'^ *!"\{sys.executable\}" -m pip (.*) > "\{there\}"$', cell, re.M)
    (install,) = re.findall(r"^ *%pip (.*)$", cell, re.M)
    pip, report = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)], folder / "report"
    there = subprocess.run([*pip, *shlex.split(listing)], capture_output=True, text=True, check=True).stdout
    (folder / "there.txt").write_text(there)
    words = shlex.split(install.replace("{there}", str(folder / "there.txt")).replace("{book}", str(library(folder))))
    words += ["--dry-run", f"--report={report}", *how]
    subprocess.run([*pip, *words], capture_output=True, text=True, check=True)
    return {found["metadata"]["name"]: found["metadata"]["version"] for found in json.loads(report.read_text())["install"]}


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda path: path.stem)
def test_by_pips_own_resolution_the_set_up_cell_changes_no_version(runtime, tmp_path):
    """Where a list is short, what it does not name counts as not installed: pip finds a newer one, and may take it."""
    there = installed(runtime)
    for need in map(Requirement, PROJECT["dependencies"]):
        if need.name not in there:
            wheel(tmp_path, need.name, "999")
    would = changed(
        as_in(tmp_path, there), tmp_path, "first_run.md", "--isolated", "--no-index", f"--find-links={tmp_path}"
    )
    assert "flatlab" in would and not would.keys() & there.keys()


@pytest.mark.slow
def test_an_extra_that_asks_for_a_newer_torch_is_refused_and_torch_stays(tmp_path):
    """Without the constraint pip would put the newer one in its place."""
    wheel(tmp_path, "pytorch-lightning", "9.0", ["torch>=99"])
    for name in ("accelerate", "transformers", "skorch", "torch"):
        wheel(tmp_path, name, "99.0")
    python = as_in(tmp_path, installed(ROOT / "tests" / "colab" / "2026.07.txt"))
    with pytest.raises(subprocess.CalledProcessError) as refused:
        changed(python, tmp_path, "frameworks.md", "--isolated", "--no-index", f"--find-links={tmp_path}")
    assert "ResolutionImpossible" in refused.value.stderr


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda path: path.stem)
def test_with_what_is_published_today_the_extra_of_a_page_changes_no_version(runtime, tmp_path):
    """Asks the index that pip is set to; of torch, which is there in every runtime, nothing is fetched."""
    ask = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--timeout=10", f"--dest={tmp_path}", "skorch"]
    asked = subprocess.run(ask, capture_output=True, text=True)
    if asked.returncode:
        pytest.skip(f"no index can be reached: {asked.stderr.strip().splitlines()[-1]}")
    there = installed(runtime)
    full = installed(ROOT / "tests" / "colab" / "2026.01.txt")  # the oldest whole list, for what a short one does not name
    would = changed(as_in(tmp_path, full | there), tmp_path, "frameworks.md")
    assert "transformers" in would and not would.keys() & there.keys()


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
