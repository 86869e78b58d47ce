"""The explorable of training runs, on a page of its own with records of known numbers, and the network off."""

import math
import statistics

import pytest

from flatlab.plots import METHODS
from flatlab.widgets import RunCurves
from tests.browser.gestures import drawn

SEEDS = (1, 42, 123)
EPOCHS = 10
PLACES = {"SGD": ("plain", None), "SAM 0.1": ("SAM", 0.1), "SAM 0.2": ("SAM", 0.2), "StableSAM 0.1": ("StableSAM", 0.1)}


def accuracy(method, rho, seed, epoch):
    """Some numbers that tell every run and epoch apart."""
    best = {"plain": 0.9, "SAM": 0.93, "StableSAM": 0.92}[method] + (rho or 0) / 10
    return best - 0.3 / epoch + 0.0013 * SEEDS.index(seed) * (1 if method == "plain" else -1 + (rho or 0))


def record(method, rho, seed, data="digits"):
    config = {"data": data, "network": "fcn", "method": method, "base": "SGD", "lr": 0.1, "epochs": EPOCHS, "seed": seed}
    curves = []
    for epoch in range(1, EPOCHS + 1):
        a = accuracy(method, rho, seed, epoch)
        scores = {"accuracy": a, "loss": 2 * (1 - a), "whole_train_loss": 1 - a, "whole_train_accuracy": 1.0}
        curves.append({"epoch": epoch, "train_loss": 1.5 * (1 - a), "train_accuracy": 0.99} | scores)
    gradients = 100 * EPOCHS * (1 if method == "plain" else 2)
    result = {"evaluated_on": "test", "gradients": gradients, "curves": curves}
    return {"config": config | ({} if rho is None else {"rho": rho}), "result": result}


def records():
    whole = [record(method, rho, seed) for method, rho in PLACES.values() for seed in SEEDS]
    return [*whole, record("plain", None, 1, data="mnist"), record("SAM", 0.1, 1, data="mnist")]


@pytest.fixture
def shown(stand):
    """`shown(query, **context)` gives the page, with two copies on it, and the first of them."""

    def opened(query="", **context):
        frame = stand(RunCurves.of(records()), query, copies=2, **context)
        return frame.page, frame

    return opened


def rows(frame):
    return {
        row.get_attribute("data-line"): [cell.inner_text() for cell in row.locator("td").all()]
        for row in frame.locator("tr[data-line]").all()
    }


def settled(frame):
    drawn(frame)
    return frame


def span(frame, axis):
    return frame.locator(".js-plotly-plot").evaluate(f"(plot) => plot._fullLayout.{axis}.range")


def last(method, rho):
    return [100 * round(accuracy(method, rho, seed, EPOCHS), 5) for seed in SEEDS]


def test_the_table_says_mean_deviation_seeds_and_paired_difference(shown):
    _, frame = shown()
    table = rows(frame)
    plain, sam = last("plain", None), last("SAM", 0.1)
    gain = [a - b for a, b in zip(sam, plain, strict=True)]
    assert table["SGD"] == [f"{statistics.mean(plain):.2f} ± {statistics.stdev(plain):.2f}", "3", "–"]
    expected = [f"{statistics.mean(sam):.2f} ± {statistics.stdev(sam):.2f}", "3"]
    assert table["SAM"] == [*expected, f"+{statistics.mean(gain):.2f} ± {statistics.stdev(gain):.2f}"]


def test_all_radii_at_once_are_lines_of_their_own(shown):
    _, frame = shown()
    frame.get_by_label("all", exact=True).check()
    assert list(rows(settled(frame))) == ["SGD", "SAM 0.1", "SAM 0.2", "StableSAM"]


def test_what_has_not_been_run_is_said_not_drawn(shown):
    _, frame = shown()
    frame.get_by_label("0.2", exact=True).check()
    assert rows(settled(frame))["StableSAM"] == ["not run yet"]
    frame.locator("select[data-name=problem]").select_option("perceptron 500-500 on MNIST")
    table = rows(settled(frame))
    assert table["SAM"] == ["not run yet"] and table["SGD"][1] == "1" and "±" not in table["SGD"][0]
    frame.get_by_role("checkbox", name="SGD", exact=True).uncheck()
    assert settled(frame).get_by_text("No method is ticked.").is_visible()


def test_gradient_evaluations_stretch_the_methods_that_take_two(shown):
    _, frame = shown()
    assert span(frame, "xaxis") == [1, EPOCHS]
    frame.get_by_label("gradient evaluations").check()
    assert span(settled(frame), "xaxis") == [100, 200 * EPOCHS]
    assert "gradient evaluations" in frame.locator(".flatlab-plot").inner_text()


def test_metrics_are_computed_and_scaled(shown):
    _, frame = shown()
    metric = frame.locator("select[data-name=metric]")
    metric.select_option("error")
    error = [100 - v for v in last("plain", None)]
    assert rows(settled(frame))["SGD"][0].startswith(f"{statistics.mean(error):.2f}")
    metric.select_option("generalization")
    gap = [1 - accuracy("plain", None, seed, EPOCHS) for seed in SEEDS]
    assert rows(settled(frame))["SGD"][0].startswith(f"{statistics.mean(gap):.3f}")
    frame.get_by_label("log", exact=True).check()
    kind = "(plot) => plot._fullLayout.yaxis.type"
    assert settled(frame).locator(".js-plotly-plot").evaluate(kind) == "log"
    assert span(frame, "yaxis")[1] < 0, "in decades: all errors lie below 1"
    options = metric.locator("option").all_inner_texts()
    assert "distance of the twins" not in options, "what no run has is not offered"


def test_the_last_fifth_is_shown_on_its_own_scale(shown):
    _, frame = shown()
    low, high = span(frame, "yaxis")
    frame.get_by_label("last fifth").check()
    assert span(settled(frame), "xaxis") == [0.8 * EPOCHS, EPOCHS]
    assert span(frame, "yaxis")[1] - span(frame, "yaxis")[0] < (high - low) / 3


def test_lines_are_drawn_in_their_methods_colours_and_can_be_taken_away(shown):
    _, frame = shown()
    colour = [int(METHODS["SAM"][k : k + 2], 16) for k in (1, 3, 5)]
    of_sam = f"""(canvas) => {{
      const {{ data }} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const far = (k) => {colour}.reduce((sum, value, i) => sum + Math.abs(data[k + i] - value), 0);
      let count = 0;
      for (let k = 0; k < data.length; k += 4) count += far(k) < 30 && data[k + 3] > 200;
      return count;
    }}"""
    canvas = frame.locator("canvas.flatlab-strokes")
    assert canvas.evaluate(of_sam) > 200
    frame.get_by_role("checkbox", name="SAM", exact=True).uncheck()
    assert settled(frame).locator("canvas.flatlab-strokes").evaluate(of_sam) == 0
    assert "SAM" not in rows(frame)


def test_two_on_one_page_do_not_take_each_others_choices(shown):
    page, frame = shown()
    page.locator('[data-explorable="RunCurves"]').nth(1).locator(".flatlab-toolbar").wait_for(timeout=20_000)
    for name in ("axis", "part", "scale", "spread", "rho"):
        assert page.locator(f"input[data-name={name}]:checked").count() == 2, name


def test_every_control_works_by_keyboard(shown):
    page, frame = shown()
    frame.locator("input[data-name=axis]").first.focus()
    page.keyboard.press("ArrowRight")
    assert span(settled(frame), "xaxis")[1] == 200 * EPOCHS
    frame.get_by_role("checkbox", name="SGD", exact=True).focus()
    page.keyboard.press("Space")
    assert "SGD" not in rows(settled(frame))
    frame.locator("select[data-name=metric]").focus()
    page.keyboard.press("ArrowDown")
    assert "test error" in settled(frame).locator("caption").inner_text()
    unnamed = "(inputs) => inputs.filter((el) => !el.labels?.length).length"
    assert frame.locator("input, select").evaluate_all(unnamed) == 0


def test_the_state_comes_from_the_address_and_nonsense_is_put_right(shown):
    _, frame = shown("RunCurves.metric=loss&RunCurves.rho=0.2&RunCurves.hidden=SGD%7CStableSAM&RunCurves.axis=gradients")
    assert list(rows(frame)) == ["SAM"] and frame.get_by_label("0.2", exact=True).is_checked()
    assert "test loss" in frame.locator("caption").inner_text()


@pytest.mark.parametrize(
    "query",
    [
        "RunCurves.metric=beauty&RunCurves.rho=7",
        "RunCurves.problem=x&RunCurves.scale=cubic",
    ],
)
def test_a_state_that_does_not_exist_gives_way_to_the_first(shown, query):
    _, frame = shown(query)
    assert rows(frame)["SGD"][1] == "3" and "test accuracy" in frame.locator("caption").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_narrow_screen_in_light_and_in_dark(shown, scheme):
    page, frame = shown(viewport={"width": 320, "height": 700}, color_scheme=scheme)
    frame.get_by_label("all", exact=True).check()
    settled(frame)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    ink = frame.evaluate("(el) => getComputedStyle(el.querySelector('svg.main-svg text')).fill")
    assert ink == ("rgb(0, 0, 0)" if scheme == "light" else "rgb(238, 238, 238)")


def test_a_log_axis_of_less_than_a_decade_has_numbers_that_can_be_read(call):
    body = "return module.logTicks(...argument)"
    ask = lambda *argument: call("flatlab/widgets/run_curves.mjs", ["logTicks"], body, argument)  # noqa: E731
    found = ask([math.log10(0.036), math.log10(0.51)], False)
    assert found == {"at": [0.05, 0.1, 0.2, 0.5], "said": ["0.05", "0.1", "0.2", "0.5"]}
    found = ask([math.log10(0.828), math.log10(0.961)], True)
    assert found["said"] == ["85%", "90%", "95%"]
    for low, high in ((0.42, 0.47), (3.1, 3.3), (1e-5, 1.2e-5), (0.9, 1.1)):
        at = ask([math.log10(low), math.log10(high)], False)["at"]
        assert len(at) > 2 and all(low <= v <= high for v in at)
