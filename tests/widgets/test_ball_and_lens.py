"""The Python faces of the explorables on local averages: refusals, the state for a static page, whole bundles."""

import json
import re

import pytest
import traitlets

from flatlab.widgets import BallInD, LebesgueLens, bundle

RECORD = {"result": {"start": -1.0, "step": 0.5, "train": [3.0, 1.0, 2.0, 0.5, 1.0], "test": [4.0] * 5}}


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: LebesgueLens(rho=0.0), "LebesgueLens.rho must lie between 0.005 and 1.0, got 0.0"),
        (lambda: LebesgueLens(w=2.5), "LebesgueLens.w must lie between -2.0 and 2.0, got 2.5"),
        (lambda: LebesgueLens(curve="spline"), "curve"),
        (lambda: BallInD(d=0), "d"),
        (lambda: BallInD(k=17), "k"),
        (lambda: BallInD(curvature=-1.0), "BallInD.curvature must lie between 0.1 and 1000.0, got -1.0"),
    ],
)
def test_a_wrong_state_is_named_with_what_is_allowed(make, said):
    with pytest.raises(traitlets.TraitError, match=said):
        make()


def test_the_slice_of_a_record_goes_to_the_page():
    data, _ = LebesgueLens.of(RECORD, curve="network", rho=0.3)._repr_mimebundle_()
    state = json.loads(re.search(r"mount\(\{ render \}, (\{.*\})\);", data["text/html"])[1])["state"]
    assert state["table"] == {"start": -1.0, "step": 0.5, "values": [3.0, 1.0, 2.0, 0.5, 1.0]}
    assert (state["curve"], state["rho"]) == ("network", 0.3)


@pytest.mark.parametrize("module", ["lebesgue_lens", "ball_in_d"])
def test_a_bundle_defines_every_name_once_and_imports_nothing(module):
    text = bundle.bundle("site", module)
    names = re.findall(r"^(?:export )?(?:async )?(?:const|let|function|class) (\w+)", text, re.M)
    assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)
    assert not re.search(r"^import ", text, re.M)
