"""The Python face of the explorables on relative flatness: state, refusals, HTML for static pages, one name once."""

import json
import re

import pytest
import torch
import traitlets

from flatlab.widgets import LocallyConstantLabels, Reparameterize, bundle
from toy_problems import relu_curve


@pytest.mark.parametrize(
    "cls, wrong, said",
    [
        (Reparameterize, {"alpha": 0.0}, "Reparameterize.alpha must lie between 0.1 and 10.0, got 0.0"),
        (Reparameterize, {"neuron": 7}, "neuron"),
        (Reparameterize, {"normalize": "mean"}, "normalize"),
        (
            LocallyConstantLabels,
            {"separation": 9.0},
            "LocallyConstantLabels.separation must lie between 0.25 and 8.0, got 9.0",
        ),
        (LocallyConstantLabels, {"layout": "crossed"}, "LocallyConstantLabels has no 'layout'; it has"),
    ],
)
def test_a_wrong_state_is_named(cls, wrong, said):
    with pytest.raises(traitlets.TraitError, match=re.escape(said)):
        cls(**wrong)


@pytest.mark.parametrize("cls, state", [(Reparameterize, {"beta": 2.0}), (LocallyConstantLabels, {"classes": "crossed"})])
def test_a_static_page_gets_the_state_and_asks_no_host(cls, state):
    html = cls(**state)._repr_mimebundle_()[0]["text/html"]
    options = json.loads(re.search(r"mount\(\{ render \}, (\{.*\})\);", html)[1])
    assert set(options["state"]) == set(cls.public_state()) and options["state"] | state == options["state"]
    assert not re.search(r"https?://", html)


@pytest.mark.parametrize("module", ["reparameterize", "locally_constant_labels"])
def test_the_bundles_define_every_name_once(module):
    names = re.findall(r"^(?:export )?(?:async )?(?:const|let|function|class) (\w+)", bundle.bundle("site", module), re.M)
    assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)


@pytest.mark.parametrize("name, seed, dead", [("alive", 1, 0), ("dead", 5, 2)])
def test_the_frozen_weights_are_trained_ones_at_a_minimum(name, seed, dead):
    frozen = json.loads((bundle.STATIC / "relu_weights.json").read_text())[name]
    parts = [torch.tensor(frozen[k], dtype=torch.float64).reshape(-1) for k in "abvc"]
    w, net = torch.cat(parts), relu_curve.network()
    assert net.grad(w).norm() < 1e-7
    assert torch.linalg.eigvalsh(torch.func.hessian(net.loss)(w))[0] > -1e-9
    spread = torch.relu(relu_curve.INPUTS * parts[0] + parts[1]).std(0)
    assert int((spread == 0).sum()) == dead
    torch.testing.assert_close(net.loss(relu_curve.trained(seed)), net.loss(w), rtol=1e-6, atol=0)


def test_a_factor_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match=r"factors must be finite and > 0, got \[-1.0"):
        relu_curve.rescaled(relu_curve.trained(1), -1.0)
