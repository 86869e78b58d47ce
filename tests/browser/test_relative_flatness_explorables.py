"""The explorables on relative flatness: parity with flatlab.measures and the toys, and what stands on the page."""

import json

import numpy as np
import pytest
import torch

from flatlab.measures import fisher_rao, relative_flatness, top_eigenvalues, weight_norm
from flatlab.widgets.bundle import STATIC
from tests.browser.gestures import drawn, slide, tick
from toy_problems import GaussianFeatures, relu_curve
from toy_problems.flatness_and_gap import halved_risk

CHAPTER = "book/toys/relative_flatness.html"
FROZEN = json.loads((STATIC / "relu_weights.json").read_text())
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
    got, w, net = call("relu_curve", RELU, MEASURES, argument), weights(network, alpha, beta, neuron), relu_curve.network()
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
    loss, hessian = call("relu_curve", ["curvature"], body, {"a": a, "b": b, "v": v, "c": c[0]})
    net = relu_curve.network()
    assert net.grad(w).norm() > 1 and loss == pytest.approx(net.loss(w).item(), rel=1e-12)
    np.testing.assert_allclose(hessian, torch.func.hessian(net.loss)(w), rtol=1e-11, atol=1e-12)


def test_the_lines_of_the_sweep_are_the_measures_one_by_one(call):
    body = """const w = module.NETWORKS.alive;
      return [module.sweep(w, argument, [0.1, 0.5, 2, 10]),
              [0.1, 0.5, 2, 10].map((alpha) => module.measures(module.rescaled(w, {...argument, alpha})))];"""
    lines, single = call("relu_curve", RELU, body, {"beta": 3, "neuron": 2})
    for line, one in zip(lines, single, strict=True):
        for name in ("trace", "norm", "last", "sd", "variance"):
            assert line[name] == pytest.approx(one[name], rel=1e-10)
        assert line["top"] == pytest.approx(one["top"], rel=0.01), "a line, good to a pixel"


STUDY = """const data = module.draw(argument), w = module.fit(data, argument.loss);
  const at = module.robustness(data, w, argument.loss, argument.classes, argument.delta, 360);
  return {data, w, kappa: module.relativeFlatness(data, w, argument.loss), train: module.trainLoss(data, w, argument.loss),
          risk: module.risk(w, argument.loss, argument.classes, argument.separation), ...at};"""
FOUR = ["draw", "fit", "relativeFlatness", "trainLoss", "risk", "robustness"]


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("classes", ["rectangle", "crossed"])
def test_the_classifier_its_flatness_and_its_robustness_are_pythons(call, classes, loss):
    argument = {"classes": classes, "loss": loss, "separation": 2.0, "delta": 0.3, "sample": 7}
    got = call("four_gaussians", FOUR, STUDY, argument)
    phi = torch.tensor([got["data"]["xs"], got["data"]["ys"]], dtype=torch.float64).T
    y = torch.tensor(got["data"]["labels"], dtype=torch.float64)

    def label(at):
        return at[..., 0].sign() if classes == "rectangle" else at.prod(-1).sign()

    assert (y == label(phi)).all()
    data = GaussianFeatures(phi, y, loss)
    w = data.minimizer(0.002)
    np.testing.assert_allclose(got["w"], w, rtol=1e-9, atol=1e-11)
    assert got["kappa"] == pytest.approx(data.relative_flatness(w).item(), rel=1e-9)
    assert got["train"] == pytest.approx(data.loss(w).item(), rel=1e-11)
    angle = 2 * torch.pi * (torch.arange(360, dtype=torch.float64) + 0.5) / 360
    around = phi[:, None] + 0.3 * phi.norm(dim=1)[:, None, None] * torch.stack([angle.cos(), angle.sin()], -1)
    held = GaussianFeatures(around.flatten(0, 1), y.repeat_interleave(360), loss).loss(w) - data.loss(w)
    real = GaussianFeatures(around.flatten(0, 1), label(around).flatten(), loss).loss(w) - data.loss(w)
    assert (got["held"], got["real"]) == pytest.approx((held.item(), real.item()), rel=1e-7, abs=1e-10)
    assert got["crossed"] == pytest.approx((label(around) != y[:, None]).double().mean().item(), abs=1e-12)
    if loss == "squared":
        assert got["held"] == pytest.approx(0.3**2 / 4 * got["kappa"], rel=1e-7), "exactly so for a quadratic loss"


def test_the_risk_on_the_page_is_the_closed_form(call):
    for separation, w in ((0.5, [0.7, 0.1]), (3.0, [0.5, -0.2]), (8.0, [0.24, 0.01])):
        argument = {"w": w, "separation": separation}
        body = "return module.risk(argument.w, 'squared', 'rectangle', argument.separation);"
        got = call("four_gaussians", FOUR, body, argument)
        assert got == pytest.approx(halved_risk(torch.tensor(w, dtype=torch.float64), separation).item(), abs=1e-6)


def row(frame, name, column=0):
    return frame.locator(f'tr[data-row="{name}"] td').nth(column).inner_text()


def number(frame, name, column=0):
    return float(row(frame, name, column).replace("−", "-").split("; ")[-1])


def said_after(frame, preset):
    frame.get_by_role("button", name=preset).click()
    drawn(frame)
    return frame.locator(".flatlab-status").inner_text()


def test_layers_leave_kappa_alone_neurons_move_it_and_the_standard_deviation_holds_it(open_page, explorable):
    frame = explorable(open_page(CHAPTER), "Reparameterize")
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


def test_the_neuron_and_the_network_can_be_chosen(open_page, explorable):
    frame = explorable(open_page(CHAPTER), "Reparameterize")
    slide(frame, "beta", 0.9)
    seen = set()
    for share in (0, 0.4, 1):
        slide(frame, "neuron", share)
        seen.add(row(frame, "last", 2))
    assert len(seen) == 3
    before = row(frame, "loss")
    tick(frame, "two of six dead")
    assert row(frame, "loss") != before


def test_flatness_and_robustness_agree_far_apart_and_part_near_the_border(open_page, explorable):
    frame = explorable(open_page(CHAPTER), "LocallyConstantLabels")
    said_after(frame, "Far apart")
    assert number(frame, "held") == pytest.approx(number(frame, "real"), rel=0.1)
    said = said_after(frame, "Near")
    assert "Flatness sees the first only" in said and number(frame, "held") > 1.3 * number(frame, "real")
    assert number(frame, "real") + number(frame, "rest") == pytest.approx(number(frame, "gap"), abs=2e-4)
    assert number(frame, "predicted") == number(frame, "held"), "the loss is quadratic"
    tick(frame, "logistic")
    assert number(frame, "predicted") != number(frame, "held")
    slide(frame, "delta", 0.0)
    assert row(frame, "held") == row(frame, "real") == "0"
    assert "No perturbed feature" in frame.locator(".flatlab-status").inner_text()
    before = row(frame, "kappa")
    slide(frame, "sample", 0.5)
    assert row(frame, "kappa") != before
    frame.get_by_label("crossed", exact=True).check()
    slide(frame, "separation", 0.8)
    assert number(frame, "kappa") < 1


@pytest.mark.parametrize(
    "name, measure",
    [
        ("Reparameterize", "flatlab:reparameterize"),
        ("LocallyConstantLabels", "flatlab:labels"),
    ],
)
def test_an_update_is_short(open_page, explorable, name, measure):
    page = open_page(CHAPTER)
    frame = explorable(page, name)
    for k in range(25):
        slide(frame, "alpha" if name == "Reparameterize" else "delta", 0.3 + 0.02 * (k % 5))
    times = page.evaluate("(name) => performance.getEntriesByName(name).map((entry) => entry.duration)", measure)
    assert min(times[5:]) < 16, "the fastest: others share the processor"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_explorables_fit_a_phone(open_page, explorable, scheme):
    page = open_page(CHAPTER, viewport={"width": 360, "height": 780}, color_scheme=scheme)
    for name in ("Reparameterize", "LocallyConstantLabels"):
        frame = explorable(page, name)
        assert frame.bounding_box()["width"] <= 360
        ends = "(el) => [...el.querySelectorAll('input, button, table')].map((x) => x.getBoundingClientRect().right)"
        assert max(frame.evaluate(ends)) <= 361
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
