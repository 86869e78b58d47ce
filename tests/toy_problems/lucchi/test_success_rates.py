"""The explorable of the success rates: it shows what the record holds."""

import json
import math
from pathlib import Path

from tests.browser.gestures import shown, slide, tick
from toy_problems import SuccessRates

RECORDS = Path(__file__).parents[3] / "book" / "results" / "lucchi_success_rate"


def frozen():
    """The record that the chapter shows."""
    (path,) = RECORDS.glob("*.json")
    return json.loads(path.read_text())


def cells(frame, method):
    return [cell.inner_text() for cell in frame.locator(f'tr[data-method="{method}"] td').all()]


def test_success_rates_are_those_of_the_record(stand):
    record = frozen()
    frame = stand(SuccessRates.of(record))
    config, result = record["config"], record["result"]
    slide(frame, "rho", 1 / 3)  # the second of four
    slide(frame, "radius", 1.0)
    slide(frame, "steps", 0.0)
    rho, radius, steps = shown(frame, "rho"), shown(frame, "radius"), shown(frame, "steps")
    assert (rho, radius, steps) == (config["rhos"][1], config["radii"][-1], config["steps"][0])
    at = shown(frame, "at")
    k = min(range(100), key=lambda j: abs(math.log(result["learning_rates"][j] / at)))
    for curve in result["curves"]:
        if curve.get("rho", rho) == rho:
            success, saddle = curve["success"][k][0][-1] / 1e4, curve["saddle"][k][0][-1] / 1e4
            assert cells(frame, curve["method"])[:2] == [f"{success:.1%}", f"{saddle:.1%}"]


def test_success_rates_against_time_draw_other_axes(stand):
    frame = stand(SuccessRates.of(frozen()))
    chart = frame.locator(".flatlab-plot")
    assert "learning rate × steps" not in chart.inner_text()
    tick(frame, "learning rate × steps")
    assert "learning rate × steps" in chart.inner_text()
