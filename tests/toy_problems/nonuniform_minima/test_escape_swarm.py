"""The explorable of the two minima, driven as a reader drives it; checked are the numbers on the page."""

import re
import statistics

import pytest

from tests.browser.gestures import press, slide, tick, until
from toy_problems import EscapeSwarm, NonuniformMinima
from toy_problems.nonuniform_minima.random_product import exit_shares

LOW, HIGH = (end - 1 for end in NonuniformMinima.outer)
SWARM = re.compile(
    r"(?P<method>.+) at η = (?P<lr>[\d.]+) after (?P<steps>\d+) steps: of 500 runs (?P<zero>\d+) are at x = 0, "
    r"(?P<one>\d+) at x = 1, (?P<elsewhere>\d+) elsewhere(?: \((?P<outside>\d+) outside the plot\))?\. "
    r"(?P<left>\d+) have left x = 1(?:; theory: (?P<theory>\d+) ± (?P<error>\d+))?\."
)


def swarm(frame, steps):
    """What the page says once the runs have ended."""
    frame.locator(".flatlab-status", has_text=f"after {steps} steps").wait_for(timeout=30_000)
    said = SWARM.fullmatch(frame.locator(".flatlab-status").inner_text())
    assert said, frame.locator(".flatlab-status").inner_text()
    return {k: v if k == "method" or v is None else float(v) for k, v in said.groupdict().items()}


@pytest.fixture
def still(stand):
    """The swarm on a page whose reader wants no motion: every run is at its end at once."""
    return stand(EscapeSwarm(), reduced_motion="reduce")


def test_the_swarm_leaves_as_the_exact_share_says_and_presets_show_what_they_name(still):
    exact = 500 * exit_shares((1 - 0.2 * 0.6, 1 - 3.8 * 0.6), 1e-4, LOW, HIGH, 200)[-1].item()
    for _ in range(3):
        now = swarm(still, 200)
        assert now["method"] == "SGD" and now["lr"] == 0.6
        assert now["theory"] == pytest.approx(exact, abs=0.5) and now["error"] == pytest.approx(6, abs=1)
        assert abs(now["left"] - exact) < 5 * now["error"]
        assert now["zero"] + now["one"] + now["elsewhere"] == 500
        press(still, "Again, new draws")
    press(still, "A little less")
    assert swarm(still, 600)["left"] == 0
    press(still, "SAM leaves")
    now = swarm(still, 600)
    assert now["method"] == "SAM" and now["lr"] == 0.54 and now["zero"] > 480 and now["theory"] is None
    press(still, "Full batch")
    now = swarm(still, 200)
    assert now["one"] == 500 and now["theory"] is None, "where nothing is drawn, chance has no say"
    press(still, "Neither holds")
    now = swarm(still, 200)
    assert now["method"] == "Nesterov" and now["zero"] + now["one"] == 0 and now["outside"] > 400
    press(still, "Figure 1")
    assert swarm(still, 200)["zero"] == pytest.approx(450, abs=35)


def test_every_control_of_the_swarm_answers(still):
    first = swarm(still, 200)
    slide(still, "distance", 1)
    assert swarm(still, 200)["left"] > first["left"], "a start near the way out"
    slide(still, "lr", 0)
    now = swarm(still, 200)
    assert now["lr"] == 0.2 and now["left"] == 0
    slide(still, "steps", 0)
    assert swarm(still, 20)["steps"] == 20
    assert not still.locator('input[data-name="rho"]').is_visible(), "a radius is SAM's only"
    for method in ("Momentum", "Nesterov", "SAM as published", "GD", "SAM"):
        tick(still, method)
        assert swarm(still, 20)["method"] == method
    slide(still, "distance", 0)
    slide(still, "steps", 1)
    slide(still, "lr", 170 / 390)  # 0.54
    counts = {}
    for share in (0, 1):
        slide(still, "rho", share)
        counts[share] = swarm(still, 600)["left"]
    assert counts[0] == 0 and counts[1] == 500, "it is the kicks of size rho that carry SAM out"


def test_the_swarm_runs_pauses_and_steps(stand):
    frame = stand(EscapeSwarm())
    pause = frame.get_by_role("button", name="Pause")
    at = lambda: int(re.search(r"after (\d+) steps", frame.locator(".flatlab-status").inner_text())[1])  # noqa: E731
    until(frame, lambda: at() > 0)
    pause.click()
    stopped = at()
    assert stopped < 200
    frame.page.wait_for_timeout(300)
    assert at() == stopped
    frame.get_by_role("button", name="One step").click()
    assert at() == stopped + 1
    frame.get_by_role("button", name="Run", exact=True).click()
    assert swarm(frame, 200)["zero"] > 400
    frame.get_by_role("button", name="Run again").wait_for(timeout=20_000)
    times = frame.page.evaluate("performance.getEntriesByName('flatlab:swarm').map((entry) => entry.duration)")
    assert len(times) > 190 and statistics.median(times) < 8, "half of a sixtieth of a second is left to the browser"


def test_a_link_to_the_swarm_keeps_its_state(stand):
    state = "EscapeSwarm.method=SAM&EscapeSwarm.lr=0.54&EscapeSwarm.steps=200.7&EscapeSwarm.rho=NaN"
    frame = stand(EscapeSwarm(), f"{state}", reduced_motion="reduce")
    now = swarm(frame, 201)
    assert now["method"] == "SAM" and now["lr"] == 0.54


def test_the_first_twenty_steps_are_seen(stand):
    """From 0.0001 nobody moves on the axis of x for 80 steps; by ratio the runs are apart from the first draw on."""
    frame = stand(EscapeSwarm(steps=20), reduced_motion="reduce")
    swarm(frame, 20)
    columns = """(canvas) => {
      const {width, height} = canvas;
      const top = Math.round(0.7 * height);
      const pixels = canvas.getContext("2d").getImageData(0, top, width, height - top).data;
      const used = new Set();
      for (let k = 3; k < pixels.length; k += 4) if (pixels[k]) used.add(((k - 3) / 4) % width);
      return Math.max(...used) - Math.min(...used);
    }"""
    assert frame.locator(".flatlab-map canvas").evaluate(columns) > 40, "over more than a power of ten"


def test_the_thresholds_are_said_in_words(still):
    bounds = still.locator('[data-says="limits"]')
    assert "mean square from η = 0.5525; solid: unstable for almost every run from η = 0.5595" in bounds.inner_text()
    tick(still, "GD")
    assert bounds.text_content() == ""
    tick(still, "SAM")
    assert "from η = 0.514" in bounds.inner_text()
