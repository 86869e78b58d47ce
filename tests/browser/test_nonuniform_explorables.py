"""The explorables of the chapter on two minima, driven as a reader drives them; checked are the numbers on the page."""

import re
import statistics

import pytest

from tests.browser.gestures import drawn, press, slide, tick, until
from toy_problems import NonuniformMinima
from toy_problems.random_product import exit_shares

CHAPTER = "book/toys/nonuniform_minima.html"
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
def still(open_page, explorable):
    """The swarm on a page whose reader wants no motion: every run is at its end at once."""
    return explorable(open_page(CHAPTER, reduced_motion="reduce"), "EscapeSwarm")


def test_the_swarm_leaves_as_the_exact_share_says_and_presets_show_what_they_name(still):
    exact = 500 * exit_shares((1 - 0.2 * 0.6, 1 - 3.8 * 0.6), 1e-4, LOW, HIGH, 200)[-1].item()
    for _ in range(3):
        now = swarm(still, 200)
        assert now["method"] == "SGD" and now["lr"] == 0.6
        assert now["theory"] == pytest.approx(exact, abs=0.5) and now["error"] == pytest.approx(6, abs=1)
        assert abs(now["left"] - exact) < 5 * now["error"]
        assert now["zero"] + now["one"] + now["elsewhere"] == 500
        press(still, "Again, new draws")
    press(still, "A little less: it stays")
    assert swarm(still, 600)["left"] == 0
    press(still, "SAM leaves there")
    now = swarm(still, 600)
    assert now["method"] == "SAM" and now["lr"] == 0.54 and now["zero"] > 480 and now["theory"] is None
    press(still, "Full batch: it stays")
    assert swarm(still, 200)["one"] == 500
    press(still, "Neither minimum holds")
    now = swarm(still, 200)
    assert now["method"] == "Nesterov" and now["zero"] + now["one"] == 0 and now["outside"] > 400
    press(still, "The paper’s Figure 1")
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


def test_the_swarm_runs_pauses_and_steps(open_page, explorable):
    frame = explorable(open_page(CHAPTER), "EscapeSwarm")
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


def test_a_link_to_the_swarm_keeps_its_state(open_page, explorable):
    state = "EscapeSwarm.method=SAM&EscapeSwarm.lr=0.54&EscapeSwarm.steps=200.7&EscapeSwarm.rho=NaN"
    frame = explorable(open_page(f"{CHAPTER}?{state}", reduced_motion="reduce"), "EscapeSwarm")
    now = swarm(frame, 201)
    assert now["method"] == "SAM" and now["lr"] == 0.54


NORMS = re.compile(
    r"‖w‖ after (?P<steps>\d+) steps: SGD (?P<sgd>[\d.]+), SAM (?P<sam>[\d.]+), COV (?P<cov>[\d.]+); "
    r"the least on the valley is (?P<least>[\d.]+)\. COV is at w₁w₂ = (?P<product>-?[\d.]+); "
    r"the penalized loss has its minimum at (?P<rest>-?[\d.]+), the loss itself at (?P<valley>-?[\d.]+)\."
)


def norms(frame):
    drawn(frame)
    said = NORMS.fullmatch(frame.locator(".flatlab-status").inner_text())
    assert said, frame.locator(".flatlab-status").inner_text()
    return {name: float(value) for name, value in said.groupdict().items()}


def test_the_valley_shows_what_the_records_show(open_page, explorable):
    frame = explorable(open_page(CHAPTER), "FactorizationValley")
    now = norms(frame)
    assert now["steps"] == 10_000 and now["least"] == pytest.approx(1.416, abs=0.015)
    assert now["sgd"] == pytest.approx(2.96, abs=0.02)
    assert now["sam"] == pytest.approx(now["least"], rel=0.03) and now["cov"] == pytest.approx(now["least"], rel=0.02)
    press(frame, "The paper’s Figure 2")
    now = norms(frame)
    assert now["cov"] < now["least"] < now["sgd"] and abs(now["product"]) < 0.6 * abs(now["valley"])
    press(frame, "Without the factor")
    now = norms(frame)
    assert now["product"] == pytest.approx(now["rest"], abs=0.02) and now["rest"] < now["valley"] - 0.03
    press(frame, "Small batches move SGD, too")
    now = norms(frame)
    assert now["sgd"] == now["sam"] == now["cov"] < 1.62, "without radius and penalty all three are SGD"


def test_every_control_of_the_valley_answers_and_its_start_is_dragged(open_page, explorable):
    frame = explorable(open_page(CHAPTER), "FactorizationValley")
    before = norms(frame)
    slide(frame, "rho", 0)
    now = norms(frame)
    assert now["sam"] == now["sgd"] == before["sgd"]
    slide(frame, "lam", 0)
    now = norms(frame)
    assert now["cov"] == now["sgd"] and now["rest"] == now["valley"]
    slide(frame, "lr", 0)
    assert norms(frame)["sgd"] != now["sgd"]
    slide(frame, "steps", 0)
    assert norms(frame)["steps"] == 100
    slide(frame, "batch", 1)
    assert norms(frame)["valley"] == before["valley"], "the data stay"
    frame.get_by_label("−0.01, as in the paper").check()
    assert norms(frame)["valley"] == pytest.approx(-0.01, abs=0.02)
    frame.get_by_role("button", name="Reset").click()
    assert norms(frame) == before
    frame.get_by_label("without it").check()
    frame.locator(".flatlab-status", has_text="COV diverged at step").wait_for(timeout=20_000)
    frame.get_by_role("button", name="Reset").click()
    before = norms(frame)["sgd"]
    frame.locator(".flatlab-layer").scroll_into_view_if_needed()
    box = frame.locator(".flatlab-layer").bounding_box()
    frame.page.mouse.move(box["x"] + 0.93 * box["width"], box["y"] + 0.485 * box["height"])
    frame.page.mouse.down()
    frame.page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.3 * box["height"], steps=4)
    frame.page.mouse.up()
    moved = norms(frame)["sgd"]
    assert moved < before - 0.5
    label = frame.locator(".flatlab-knob").get_attribute("aria-label")
    assert re.search(r"x 0\.[45]\d*, y 0\.[34]", label), label
    frame.locator(".flatlab-knob").press("Shift+ArrowRight")
    assert norms(frame)["sgd"] != moved
