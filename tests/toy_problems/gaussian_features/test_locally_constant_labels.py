"""The explorable of the labels: classifier and robustness are Python's, and what stands on the page."""

import numpy as np
import pytest
import torch

from tests.browser.gestures import slide, tick
from tests.browser.readings import number, row, said_after
from toy_problems import GaussianFeatures, LocallyConstantLabels
from toy_problems.gaussian_features.flatness_and_gap import halved_risk

TWIN = "toy_problems/gaussian_features/landscape.mjs"
STUDY = """const data = module.draw(argument), w = module.fit(data, argument.loss);
  const at = module.robustness(data, w, argument.loss, argument.classes, argument.delta, 360);
  return {data, w, kappa: module.relativeFlatness(data, w, argument.loss), train: module.trainLoss(data, w, argument.loss),
          risk: module.risk(w, argument.loss, argument.classes, argument.separation), ...at};"""

FOUR = ["draw", "fit", "relativeFlatness", "trainLoss", "risk", "robustness"]


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("classes", ["rectangle", "crossed"])
def test_the_classifier_its_flatness_and_its_robustness_are_pythons(call, classes, loss):
    argument = {"classes": classes, "loss": loss, "separation": 2.0, "delta": 0.3, "sample": 7}
    got = call(TWIN, FOUR, STUDY, argument)
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
        got = call(TWIN, FOUR, body, argument)
        assert got == pytest.approx(halved_risk(torch.tensor(w, dtype=torch.float64), separation).item(), abs=1e-6)


def test_flatness_and_robustness_agree_far_apart_and_part_near_the_border(stand):
    frame = stand(LocallyConstantLabels())
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
