"""The explorable of the rescaled network: its measures are the library's, and what stands on the page."""

import json

import numpy as np
import pytest
import torch

from flatlab.explorable.bundle import located
from flatlab.measures import fisher_rao, relative_flatness, top_eigenvalues, weight_norm
from tests.browser.gestures import slide, tick
from tests.browser.readings import number, row, said_after
from toy_problems import Reparameterize, relu_curve

TWIN = "toy_problems/relu_curve/landscape.mjs"
FROZEN = json.loads(located("toy_problems/relu_curve/relu_weights.json").read_text())
MEASURES = "return module.measures(module.rescaled(module.NETWORKS[argument.network], argument));"
RELU = ["measures", "rescaled", "NETWORKS", "sweep", "INPUTS", "TARGETS"]


def weights(network, alpha, beta, neuron):
    w = torch.cat([torch.tensor(FROZEN[network][k], dtype=torch.float64).reshape(-1) for k in "abvc"])
    factors = torch.full((6,), float(alpha), dtype=torch.float64)
    factors[neuron - 1] *= beta
    return relu_curve.rescaled(w, factors)


@pytest.mark.parametrize(
    "network, alpha, beta, neuron",
    [
        ("alive", 1, 1, 1),
        ("alive", 3, 0.2, 4),
        ("alive", 0.1, 10, 6),
        ("dead", 0.5, 4, 1),
        ("dead", 7, 0.3, 3),
    ],
)
def test_every_measure_of_the_rescaled_network_is_the_librarys(call, network, alpha, beta, neuron):
    argument = {"network": network, "alpha": alpha, "beta": beta, "neuron": neuron}
    got, w, net = (
        call(TWIN, RELU, MEASURES, argument),
        weights(network, alpha, beta, neuron),
        relu_curve.network(),
    )
    a, b, v, _ = w.split([6, 6, 6, 1])
    phi = torch.relu(relu_curve.INPUTS * a + b)
    spread = phi.std(0, unbiased=False)
    alive = spread > 0
    by_variance = 2 * (phi / spread**2)[:, alive].square().sum(1).mean() * (v * spread**2)[alive].square().sum()
    expected = {
        "loss": net.loss(w).item(),
        "trace": torch.func.hessian(net.loss)(w).trace().item(),
        "top": top_eigenvalues(net, w).item(),
        "norm": weight_norm(net, w),
        "fisher": fisher_rao(net, w),
        "first": relative_flatness(net, w, "0"),
        "last": relative_flatness(net, w),
        "sd": relative_flatness(net, w, normalize=True, dead="drop"),
        "variance": by_variance.item(),
        "dead": int((~alive).sum()),
    }
    # The data come from JavaScript's own sine and cosine, which may differ from Python's in the last digit.
    assert got == pytest.approx(expected, rel=1e-11)


def test_the_hessian_is_whole_also_away_from_a_minimum(call):
    """At a minimum the part that is bilinear in a, b and v vanishes, and would not be missed."""
    w = weights("alive", 1, 1, 1) + 0.3 * torch.randn(19, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a, b, v, c = (part.tolist() for part in w.split([6, 6, 6, 1]))
    body = "const {loss, hessian} = module.curvature(argument); return [loss, hessian.map((row) => Array.from(row))];"
    loss, hessian = call(TWIN, ["curvature"], body, {"a": a, "b": b, "v": v, "c": c[0]})
    net = relu_curve.network()
    assert net.grad(w).norm() > 1 and loss == pytest.approx(net.loss(w).item(), rel=1e-12)
    np.testing.assert_allclose(hessian, torch.func.hessian(net.loss)(w), rtol=1e-11, atol=1e-12)


def test_the_lines_of_the_sweep_are_the_measures_one_by_one(call):
    body = """const w = module.NETWORKS.alive;
      return [module.sweep(w, argument, [0.1, 0.5, 2, 10]),
              [0.1, 0.5, 2, 10].map((alpha) => module.measures(module.rescaled(w, {...argument, alpha})))];"""
    lines, single = call(TWIN, RELU, body, {"beta": 3, "neuron": 2})
    for line, one in zip(lines, single, strict=True):
        for name in ("trace", "norm", "last", "sd", "variance"):
            assert line[name] == pytest.approx(one[name], rel=1e-10)
        assert line["top"] == pytest.approx(one["top"], rel=0.01), "a line, good to a pixel"


def test_layers_leave_kappa_alone_neurons_move_it_and_the_standard_deviation_holds_it(stand):
    frame = stand(Reparameterize())
    assert "relative flatness has not moved" in said_after(frame, "Layers")
    assert number(frame, "trace", 2) > 5 and row(frame, "last", 2) == "1" == row(frame, "loss", 2)
    said = said_after(frame, "One neuron")
    assert "relative flatness is" in said and number(frame, "last", 2) > 2 and row(frame, "sd", 2) == "1"
    assert "relative flatness has not moved" in said_after(frame, "unless normalized")
    assert "relative flatness is" in said_after(frame, "by the variance") and number(frame, "variance", 2) != 1
    slide(frame, "beta", 0.5)
    assert "relative flatness has not moved" in frame.locator(".flatlab-status").inner_text()
    slide(frame, "alpha", 1.0)
    assert number(frame, "top", 2) > 30
    assert "2 neurons are dead" in said_after(frame, "A dead neuron")
    assert row(frame, "trace", 2) == "1" and number(frame, "last", 2) == 3.0 and row(frame, "sd").startswith("undefined")


def test_the_neuron_and_the_network_can_be_chosen(stand):
    frame = stand(Reparameterize())
    slide(frame, "beta", 0.9)
    seen = set()
    for share in (0, 0.4, 1):
        slide(frame, "neuron", share)
        seen.add(row(frame, "last", 2))
    assert len(seen) == 3
    before = row(frame, "loss")
    tick(frame, "two of six dead")
    assert row(frame, "loss") != before
