"""The explorable of local averages: JavaScript against Python, and driven as a reader drives it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.browser.gestures import drawn, press, shown, slide
from tests.browser.readings import cells, words
from toy_problems import LebesgueLens
from toy_problems.one_dimensional import CURVES, Table

TWIN = "toy_problems/one_dimensional/landscape.mjs"
RECORDS = Path(__file__).parents[3] / "book" / "results" / "network_slice"
TABLE = {"start": -3.0, "step": 0.25, "values": [((7 * k) % 11) / 10 for k in range(25)]}
ALL = {**CURVES, "table": Table(**TABLE)}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("rho", [0.01, 0.13, 1.0])
def test_average_maximum_and_oscillation_agree_to_1e_12(call, name, rho):
    body = """const {name, rho, table, ws} = argument;
      const curve = name === "table" ? module.table(table) : module.CURVES[name];
      const maxima = module.maxima(curve, ws, rho);
      const {average, oscillation} = module;
      return ws.map((w, k) => [curve.value(w), average(curve, w, rho), maxima[k], oscillation(curve, w, rho)]);"""
    ws = np.linspace(-2, 2, 57).tolist()
    argument = {"name": name, "rho": rho, "table": TABLE, "ws": ws}
    got = call(
        TWIN,
        ["CURVES", "average", "maxima", "oscillation", "table"],
        body,
        argument,
    )
    curve, w = ALL[name], torch.tensor(ws, dtype=torch.float64)[:, None]
    expected = torch.stack([curve.loss(w), curve.average(w, rho), curve.maximum(w, rho), curve.oscillation(w, rho)], 1)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CURVES)
def test_the_minimizers_agree(call, name):
    body = "return argument.rhos.map((rho) => module.rows(module.CURVES[argument.name], rho).lowest);"
    rhos = [0.03, 0.1, 0.27, 0.9]
    got = call(TWIN, ["CURVES", "rows"], body, {"name": name, "rhos": rhos})
    assert got == [CURVES[name].minimizers(rho) for rho in rhos]


def test_lens_presets_show_what_they_name(stand):
    frame = stand(LebesgueLens())
    press(frame, "The maximum leaves first")
    assert "Only the maximum has left the valley of the lowest point" in words(frame)
    assert [cells(frame, row)[1] for row in ("loss", "average", "maximum")] == pytest.approx([-0.9, -0.9, 0.6], abs=0.01)
    press(frame, "Then both")
    assert "Average and maximum have left" in words(frame)
    press(frame, "A needle in the best valley")
    assert "Only the maximum has left" in words(frame) and cells(frame, "maximum")[1] < -1
    lowest, stays = cells(frame, "loss")[2], cells(frame, "average")[2]
    assert f"The average’s own is near it, at a loss of {stays:.3f} where the lowest is {lowest:.3f}." in words(frame)
    press(frame, "The average sits on a peak")
    assert cells(frame, "average")[1] == 0 and cells(frame, "loss")[0] > cells(frame, "average")[0]


def test_lens_shows_where_equation_21_fails(stand):
    frame = stand(LebesgueLens())
    press(frame, "Equation (21) fails")
    assert "equation (21) fails here" in words(frame)
    assert cells(frame, "average")[0] == 0.25 and cells(frame, "oscillation") == [0.125]
    slide(frame, "w", 0.9)
    assert shown(frame, "w") == 1.6 and "equation (21) holds here" in words(frame)


def test_lens_stays_halfway_up_the_step(stand):
    frame = stand(LebesgueLens())
    press(frame, "No Lebesgue point")
    slide(frame, "rho", 0.0)
    assert shown(frame, "rho") == 0.005
    assert cells(frame, "loss")[0] == 0.2 and cells(frame, "average")[0] == pytest.approx(0.35, abs=0.001)


def test_lens_is_moved_by_mouse(stand):
    frame = stand(LebesgueLens())
    page = frame.page
    box = frame.locator(".flatlab-layer").bounding_box()

    def at(w):
        return box["x"] + (w + 2) / 4 * box["width"], box["y"] + box["height"] / 3

    page.mouse.move(*at(-0.9))
    page.mouse.down()
    page.mouse.move(*at(0.5), steps=4)
    page.mouse.move(*at(9.0), steps=4)
    page.mouse.up()
    assert shown(frame, "w") == 2
    page.mouse.click(*at(0.5))
    drawn(frame)
    assert shown(frame, "w") == pytest.approx(0.5, abs=0.02)
    w = torch.tensor([[shown(frame, "w")]], dtype=torch.float64)
    assert cells(frame, "average")[0] == pytest.approx(CURVES["wells"].average(w, 0.1).item(), abs=6e-4)


def test_lens_shows_the_slice_of_the_record(stand):
    record = json.loads(next(RECORDS.glob("*.json")).read_text())
    frame, result = stand(LebesgueLens.of(record)), record["result"]
    press(frame, "Between two trained networks")
    curve = Table(result["start"], result["step"], result["train"])
    w, rho = torch.tensor([[shown(frame, "w")]], dtype=torch.float64), shown(frame, "rho")
    assert cells(frame, "average")[0] == pytest.approx(curve.average(w, rho).item(), abs=6e-4)
    assert cells(frame, "maximum")[0] == pytest.approx(curve.maximum(w, rho).item(), abs=6e-4)


def test_the_slice_of_a_record_goes_to_the_page():
    record = {"result": {"start": -1.0, "step": 0.5, "train": [3.0, 1.0, 2.0, 0.5, 1.0], "test": [4.0] * 5}}
    lens = LebesgueLens.of(record, curve="network", rho=0.3)
    assert lens.table == {"start": -1.0, "step": 0.5, "values": [3.0, 1.0, 2.0, 0.5, 1.0]}
    assert (lens.curve, lens.rho) == ("network", 0.3)
