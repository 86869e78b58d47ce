"""The Python face of the explorables: state, refusals, the HTML for static pages, and the bundler under it."""

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import traitlets

from flatlab.widgets import RiskBound, SamSaddle, SuccessRates, bundle, explorable

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
    assert b"plotly.js" in gzip.decompress(state["_plotly"])[:200]
    data, _ = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data and "text/html" in data


@pytest.mark.parametrize("cls, state", [(SamSaddle, {"lr": 0.2}), (RiskBound, {"mu": 0.3}), (SuccessRates, {"rho": 0.1})])
def test_a_static_page_gets_the_same_state_and_asks_no_host(cls, state):
    data, _ = cls(**state)._repr_mimebundle_()
    html = data["text/html"]
    options = json.loads(re.search(r"mount\(\{ render \}, (\{.*\})\);", html)[1])
    assert set(options["state"]) == set(cls.public_state())
    assert all(options["state"][k] == v for k, v in state.items())
    assert not re.search(r"https?://", html)
    assert "export " not in re.sub(r'"(?:[^"\\]|\\.)*"', '""', html), "a script of a page exports nothing"


def test_a_bundle_defines_every_name_once_and_imports_nothing():
    for module in ("sam_saddle", "risk_bound", "success_rate", "figure"):
        text = bundle.bundle("site", module)
        names = re.findall(r"^(?:export )?(?:async )?(?:const|let|function|class) (\w+)", text, re.M)
        assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)
        assert not re.search(r"^import ", text, re.M)


def test_an_unknown_form_of_import_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "STATIC", tmp_path)
    bundle.bundle.cache_clear()
    (tmp_path / "odd.mjs").write_text('import * as all from "./other.mjs";\n')
    with pytest.raises(ValueError, match=r"odd.mjs: cannot bundle 'import \* as all"):
        bundle.bundle("odd")
    bundle.bundle.cache_clear()


def test_a_script_cannot_close_its_own_tag(monkeypatch):
    monkeypatch.setattr(explorable, "bundle", lambda *names, exports: "'</script>'")
    with pytest.raises(ValueError, match="cannot hold the text </script"):
        explorable.page("figure", {}, name="x", caption="", linkable=False)


def test_a_library_imported_by_a_relative_path_draws_every_method():
    """As a chapter in a folder of its own imports it."""
    code = "from flatlab.widgets.bundle import bundle; print(bundle('plotly'))"
    where = {"cwd": ROOT / "book" / "toys", "env": os.environ | {"PYTHONPATH": "../.."}}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, **where).stdout
    assert '"StableSAM": "dash"' in told and '"LSAM": "#009e73"' in told
