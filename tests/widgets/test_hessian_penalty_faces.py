"""The Python face of the explorables on the Hessian penalty: state, refusals, HTML for static pages, one name once."""

import json
import re

import pytest
import traitlets

from flatlab.widgets import HutchinsonDice, PenalizedRavines, bundle


@pytest.mark.parametrize(
    "cls, wrong, said",
    [
        (HutchinsonDice, {"xy": -4.5}, "HutchinsonDice.xy must lie between -4.0 and 4.0, got -4.5"),
        (HutchinsonDice, {"quantity": "cube"}, "'cube'"),
        (PenalizedRavines, {"lam": 0.0}, "PenalizedRavines.lam must lie between 0.0001 and 10.0, got 0.0"),
        (PenalizedRavines, {"batch": 0}, "batch"),
        (PenalizedRavines, {"lambda": 1.0}, "PenalizedRavines has no 'lambda'"),
    ],
)
def test_a_wrong_state_of_the_penalty_is_named(cls, wrong, said):
    with pytest.raises(traitlets.TraitError, match=re.escape(said)):
        cls(**wrong)


@pytest.mark.parametrize("cls, state", [(HutchinsonDice, {"xy": 2.0}), (PenalizedRavines, {"batch": 7})])
def test_a_static_page_of_the_penalty_gets_the_state_and_asks_no_host(cls, state):
    html = cls(**state)._repr_mimebundle_()[0]["text/html"]
    options = json.loads(re.search(r"mount\(\{ render \}, (\{.*\})\);", html)[1])
    assert set(options["state"]) == set(cls.public_state()) and options["state"] | state == options["state"]
    assert not re.search(r"https?://", html)
    assert "export " not in re.sub(r'"(?:[^"\\]|\\.)*"', '""', html)


@pytest.mark.parametrize("module", ["hutchinson_dice", "penalized_ravines", "ravines_worker"])
def test_the_penalty_bundles_define_every_name_once(module):
    text = bundle.bundle("site", module) if module != "ravines_worker" else bundle.bundle(module)
    names = re.findall(r"^(?:export )?(?:async )?(?:const|let|function\*?|class) (\w+)", text, re.M)
    assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)
