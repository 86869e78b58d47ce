"""The Python face of the explorables on gradient noise: state, refusals, HTML for static pages, one name once."""

import json
import re

import pytest
import traitlets

from flatlab.widgets import NoiseEllipsoid, SparseRace, bundle


@pytest.mark.parametrize(
    "cls, wrong, said",
    [
        (SparseRace, {"damping": 0.0}, "SparseRace.damping must lie between 1e-08 and 0.01, got 0.0"),
        (SparseRace, {"samples": 25}, "SparseRace.samples must be a multiple of 10, got 25"),
        (SparseRace, {"rhos": 0.1}, "SparseRace has no 'rhos'"),
        (NoiseEllipsoid, {"x": 2.5}, "NoiseEllipsoid.x must lie between -2.0 and 2.0, got 2.5"),
    ],
)
def test_a_wrong_state_of_the_noise_is_named(cls, wrong, said):
    with pytest.raises(traitlets.TraitError, match=re.escape(said)):
        cls(**wrong)


@pytest.mark.parametrize("cls, state", [(SparseRace, {"seed": 7}), (NoiseEllipsoid, {"angle": 30.0})])
def test_a_static_page_gets_the_state_and_asks_no_host(cls, state):
    html = cls(**state)._repr_mimebundle_()[0]["text/html"]
    options = json.loads(re.search(r"mount\(\{ render \}, (\{.*\})\);", html)[1])
    assert set(options["state"]) == set(cls.public_state()) and options["state"] | state == options["state"]
    assert not re.search(r"https?://", html)
    assert "export " not in re.sub(r'"(?:[^"\\]|\\.)*"', '""', html)


@pytest.mark.parametrize("module", ["sparse_race", "noise_ellipsoid", "race_worker"])
def test_the_noise_bundles_define_every_name_once(module):
    text = bundle.bundle("site", module) if module != "race_worker" else bundle.bundle(module)
    names = re.findall(r"^(?:export )?(?:async )?(?:const|let|function\*?|class) (\w+)", text, re.M)
    assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)
