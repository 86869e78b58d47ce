"""The Python face of the explorables: state, refusals, the HTML for static pages, and the bundler under it."""

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import traitlets

from flatlab.explorable import face
from flatlab.explorable.bundle import bundle
from toy_problems import SamSaddle, SuccessRates

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"rho": -0.1}, r"SamSaddle.rho must lie between 0.0 and 0.5, got -0.1"),
        ({"lr": float("nan")}, r"SamSaddle.lr must lie between 0.001 and 0.3, got nan"),
        ({"lr": 0.0}, r"SamSaddle.lr must lie between 0.001 and 0.3, got 0.0"),
        ({"x": 3.0}, r"SamSaddle.x must lie between -2.0 and 2.0, got 3.0"),
        ({"steps": 5}, r"steps"),
        ({"method": "Adam"}, r"method"),
        ({"rh": 0.1}, r"SamSaddle has no 'rh'; it has .*rho"),
    ],
)
def test_a_wrong_state_is_named_with_what_is_allowed(wrong, said):
    with pytest.raises(traitlets.TraitError, match=said):
        SamSaddle(**wrong)


def test_a_refused_value_leaves_the_state_as_it_was():
    widget = SamSaddle(lr=0.2)
    with pytest.raises(traitlets.TraitError):
        widget.lr = 7.0
    assert widget.lr == 0.2


def test_a_live_host_gets_the_module_its_state_and_plotly():
    widget = SamSaddle(rho=0.3)
    state = widget.get_state()
    assert "export default" in state["_esm"] and state["rho"] == 0.3
    assert gzip.decompress(state["_plotly"]) == face.build("axes").read_bytes()
    data, _ = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data and "text/html" in data


def test_a_plain_figure_is_bundled_without_a_name_twice():
    text = bundle("flatlab/explorable/site.mjs", "flatlab/explorable/figure.mjs")
    names = re.findall(r"^(?:export )?(?:async )?(?:const|let|function|class) (\w+)", text, re.M)
    assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """`odd(source)` puts a module into a package of its own and gives its address."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "oddities").mkdir()
    (tmp_path / "oddities" / "__init__.py").write_text("")

    def written(source):
        (tmp_path / "oddities" / "odd.mjs").write_text(source)
        return "oddities/odd.mjs"

    yield written
    bundle.cache_clear()


def test_a_package_elsewhere_imports_from_ours_by_its_name_and_from_beside_itself(odd, tmp_path):
    (tmp_path / "oddities" / "beside.mjs").write_text("export const seven = 7;\n")
    ours = 'import { add } from "flatlab/explorable/plane.mjs";\n'
    text = bundle(odd(ours + 'import { seven } from "./beside.mjs";\nexport const eight = seven + 1;\n'))
    assert text.index("add =") < text.index("seven = 7") < text.index("eight = seven + 1") and "import " not in text


@pytest.mark.parametrize(
    "source, said",
    [
        ('import * as all from "./other.mjs";\n', r"odd.mjs: cannot bundle 'import \* as all"),
        ('import { a } from "./other.mjs";\n', r"\./other.mjs: there is no file"),
        ('import { a } from "nowhere/at/all.mjs";\n', r"nowhere/at/all.mjs: there is no package 'nowhere'"),
    ],
)
def test_an_import_that_cannot_be_is_refused_by_name(odd, source, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        bundle(odd(source))


def test_a_script_cannot_close_its_own_tag(monkeypatch):
    monkeypatch.setattr(face, "scripts", lambda address: {address: "'</script>'"})
    with pytest.raises(ValueError, match="cannot hold the text </script"):
        face.page("flatlab/explorable/figure.mjs", {}, name="x", caption="", linkable=False)


@pytest.mark.slow
def test_a_library_imported_by_a_relative_path_draws_every_method():
    """As a chapter in a folder of its own imports it."""
    code = "from flatlab.explorable.bundle import bundle; print(bundle('flatlab/explorable/plotly.mjs'))"
    where = {"cwd": ROOT / "book" / "toys", "env": os.environ | {"PYTHONPATH": "../.."}}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, **where).stdout
    assert '"StableSAM": "dash"' in told and '"LSAM": "#009e73"' in told


def test_ranges_are_those_of_the_traits_and_of_the_record_where_it_has_some():
    assert SamSaddle().ranges()["steps"] == {"min": 10, "max": 1000, "initial": 300, "whole": True}
    assert SamSaddle(lr=0.2).get_state()["_ranges"]["lr"] == {"min": 0.001, "max": 0.3, "initial": 0.1, "whole": False}
    config = {"rhos": [0.05, 0.2], "radii": [0.1], "steps": [100]}
    record = {"config": config, "result": {"learning_rates": [0.01, 0.1, 0.25]}}
    assert SuccessRates.of(record).ranges()["at"] == {"min": 0.01, "max": 0.25, "initial": 0.2, "whole": False}
