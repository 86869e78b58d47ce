"""The explorables of the chapter on local averages: JavaScript against Python, and driven as a reader drives them."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.browser.gestures import drawn, press, slide
from toy_problems.one_dimensional import CURVES, Table

CHAPTER = "book/toys/local_average.html"
RECORDS = Path(__file__).parents[2] / "book" / "results" / "network_slice"
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
    got = call("one_dimensional", ["CURVES", "average", "maxima", "oscillation", "table"], body, argument)
    curve, w = ALL[name], torch.tensor(ws, dtype=torch.float64)[:, None]
    expected = torch.stack([curve.loss(w), curve.average(w, rho), curve.maximum(w, rho), curve.oscillation(w, rho)], 1)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CURVES)
def test_the_minimizers_agree(call, name):
    body = "return argument.rhos.map((rho) => module.rows(module.CURVES[argument.name], rho).lowest);"
    rhos = [0.03, 0.1, 0.27, 0.9]
    got = call("one_dimensional", ["CURVES", "rows"], body, {"name": name, "rhos": rhos})
    assert got == [CURVES[name].minimizers(rho) for rho in rhos]


def test_the_ball_in_d_is_the_formula_and_the_draws_agree_with_it(call):
    names = ["ball", "drawn", "coordinateDensity", "lengthDensity"]
    for d in (1, 3, 200, 272474):
        s = {"d": d, "rho": 0.3, "k": 4, "stiff": 7, "curvature": 5.0}
        b, m = call("ball_in_d", names, "return module.ball(argument);", s), min(7, d)
        assert b["coordinate"] == pytest.approx(0.3 / math.sqrt(d + 2), rel=1e-12)
        assert b["length"] == pytest.approx(0.3 * d / (d + 1), rel=1e-12)
        assert b["lsam"] == pytest.approx(5 * 0.3 * math.sqrt(m / (4 * (d + 2))), rel=1e-12)
        assert b["lsamLoss"] == pytest.approx(0.3**2 / (2 * (d + 2)) * 5 * m, rel=1e-12)
        if d <= 1000:
            sample = call("ball_in_d", names, "return module.drawn(argument);", s)
            assert np.mean(sample["lengths"]) == pytest.approx(d / (d + 1), abs=0.06)
            assert math.sqrt(np.mean(np.square(sample["firsts"]))) == pytest.approx(1 / math.sqrt(d + 2), rel=0.2)
            assert sample["lsam"] == pytest.approx(b["lsam"] / 1.5, rel=0.25)
    # On [0, 1], over its integral, the density of a coordinate has the mean square 1 / (d + 2).
    x = (np.arange(20_000) + 0.5) / 20_000
    density = np.array(call("ball_in_d", names, "return argument.map((x) => module.coordinateDensity(40, x));", x.tolist()))
    assert (x * x * density).sum() / density.sum() == pytest.approx(1 / 42, rel=1e-6)


def words(frame):
    return frame.locator(".flatlab-status").inner_text()


def shown(frame, name):
    text = frame.locator(f'.flatlab-control:has(input[data-name="{name}"]) output').inner_text()
    return float(text.replace(",", ""))


def cells(frame, row):
    texts = frame.locator(f'tr[data-row="{row}"] td').all_inner_texts()
    return [float(t.replace("−", "-")) for t in texts if t not in ("", "–")]


def test_lens_presets_show_what_they_name(open_page, explorable):
    frame = explorable(open_page(CHAPTER), "LebesgueLens")
    press(frame, "The maximum leaves first")
    assert "Only the maximum has left the lowest point" in words(frame)
    assert [cells(frame, row)[1] for row in ("loss", "average", "maximum")] == pytest.approx([-0.9, -0.9, 0.6], abs=0.01)
    press(frame, "Then both")
    assert "Average and maximum have left" in words(frame)
    press(frame, "A needle in the best valley")
    assert "Only the maximum has left" in words(frame) and cells(frame, "maximum")[1] < -1
    press(frame, "The average sits on a peak")
    assert cells(frame, "average")[1] == 0 and cells(frame, "loss")[0] > cells(frame, "average")[0]


def test_lens_shows_where_equation_21_fails(open_page, explorable):
    frame = explorable(open_page(CHAPTER), "LebesgueLens")
    press(frame, "Equation (21) fails")
    assert "equation (21) fails here" in words(frame)
    assert cells(frame, "average")[0] == 0.25 and cells(frame, "oscillation") == [0.125]
    slide(frame, "w", 0.9)
    assert shown(frame, "w") == 1.6 and "equation (21) holds here" in words(frame)


def test_lens_stays_halfway_up_the_step(open_page, explorable):
    frame = explorable(open_page(CHAPTER), "LebesgueLens")
    press(frame, "No Lebesgue point")
    slide(frame, "rho", 0.0)
    assert shown(frame, "rho") == 0.005
    assert cells(frame, "loss")[0] == 0.2 and cells(frame, "average")[0] == pytest.approx(0.35, abs=0.001)


def test_lens_is_moved_by_mouse(open_page, explorable):
    page = open_page(CHAPTER)
    frame = explorable(page, "LebesgueLens")
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


def test_lens_shows_the_slice_of_the_record(open_page, explorable):
    frame = explorable(open_page(CHAPTER), "LebesgueLens")
    press(frame, "Two solutions of a network")
    result = json.loads(next(RECORDS.glob("*.json")).read_text())["result"]
    curve = Table(result["start"], result["step"], result["train"])
    w, rho = torch.tensor([[shown(frame, "w")]], dtype=torch.float64), shown(frame, "rho")
    assert cells(frame, "average")[0] == pytest.approx(curve.average(w, rho).item(), abs=6e-4)
    assert cells(frame, "maximum")[0] == pytest.approx(curve.maximum(w, rho).item(), abs=6e-4)


def test_lens_takes_its_state_from_the_address(open_page, explorable):
    page = open_page(f"{CHAPTER}?LebesgueLens.curve=step&LebesgueLens.rho=0.5&LebesgueLens.w=7&LebesgueLens.table=x")
    frame = explorable(page, "LebesgueLens")
    assert frame.get_by_label("a step", exact=True).is_checked()
    assert shown(frame, "rho") == 0.5 and shown(frame, "w") == 2


def test_ball_says_what_is_computed_and_what_is_drawn(open_page, explorable):
    frame = explorable(open_page(CHAPTER), "BallInD")
    press(frame, "A hundred weights")
    assert "160 draws made here and now" in words(frame)
    for row in ("length", "coordinate", "lsam"):
        computed, drawn = cells(frame, row)
        assert drawn == pytest.approx(computed, rel=0.15)
    press(frame, "ResNet-20")
    assert shown(frame, "d") == 272474
    assert cells(frame, "coordinate") == pytest.approx([0.05 / math.sqrt(272476)], rel=5e-3)
    assert re.search(r"Averaging moves the gradient 0\.61% as far as SAM can\. Computed, not drawn", words(frame))


def test_ball_follows_every_control(open_page, explorable):
    frame = explorable(open_page(CHAPTER), "BallInD")
    press(frame, "A disc")
    (before, _), (length, _) = cells(frame, "lsam"), cells(frame, "length")
    slide(frame, "k", 0.2)
    assert shown(frame, "k") == 4 and cells(frame, "lsam")[0] == pytest.approx(before / 2, rel=5e-3)
    slide(frame, "rho", 1.0)
    assert cells(frame, "length")[0] == pytest.approx(20 * length, rel=5e-3)
    slide(frame, "curvature", 1.0)
    assert shown(frame, "curvature") == 1000 and cells(frame, "sam") == [1000]
    slide(frame, "d", 1.0)
    assert shown(frame, "d") == 1_000_000 and cells(frame, "lsam")[0] == pytest.approx(1000 * math.sqrt(2 / 4e6), rel=5e-3)
    slide(frame, "stiff", 1.0)
    assert shown(frame, "stiff") == 1000
    assert cells(frame, "lsam")[0] == pytest.approx(1000 * math.sqrt(1000 / 4e6), rel=5e-3)


@pytest.mark.parametrize("name", ["LebesgueLens", "BallInD"])
def test_an_update_takes_less_than_a_frame(open_page, explorable, name):
    frame = explorable(open_page(CHAPTER), name)
    press(frame, {"LebesgueLens": "As rough as √ρ", "BallInD": "All directions stiff"}[name])
    for k in range(18):  # the first ones are not compiled yet
        slide(frame, "rho", 0.6 + 0.02 * k)
    mark = {"LebesgueLens": "flatlab:lens", "BallInD": "flatlab:ball"}[name]
    times = frame.page.evaluate("(mark) => performance.getEntriesByName(mark).map((e) => e.duration)", mark)
    assert min(times[5:]) < 16, "the fastest: others share the processor"


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_page(open_page, explorable, width):
    page = open_page(CHAPTER, viewport={"width": width, "height": 800})
    for name in ("LebesgueLens", "BallInD"):
        box = explorable(page, name).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
