"""The explorable of paired runs, on a page of its own with records of known numbers, and the network off."""

import statistics
from urllib.parse import quote

import pytest

from flatlab.stats.comparison import seeds_needed
from flatlab.stats.intervals import student
from flatlab.widgets import PairedRuns
from tests.browser.gestures import drawn, tick

SEEDS = (1, 42, 123)
CIFAR10, CIFAR100 = "CIFAR-10, fast_cifar, 12 epochs", "CIFAR-100, ResNet-20, 30 epochs"
MNIST = "MNIST, perceptron 128-64, 20 epochs"
# Accuracies in percent by problem, method and epochs, a seed each; ASAM has one, SAM on MNIST two.
RUNS = {
    ("cifar10", "fast_cifar", "plain", 12): (93.0, 93.2, 93.1),
    ("cifar10", "fast_cifar", "plain", 24): (94.0, 94.3, 94.2),
    ("cifar10", "fast_cifar", "SAM", 12): (93.9, 93.8, 93.9),
    ("cifar10", "fast_cifar", "LSAM", 12): (93.1, 93.1, 93.2),
    ("cifar10", "fast_cifar", "ASAM", 12): (93.5,),
    ("cifar10", "fast_cifar", "CSAM", 12): (91.9, 92.2, 92.2),
    ("cifar100", "resnet20", "plain", 30): (67.0, 67.4, 67.1),
    ("cifar100", "resnet20", "LSAM", 30): (67.2, 67.3, 67.3),
    ("mnist", "fcn3", "plain", 20): (98.0, 98.2, 98.1),
    ("mnist", "fcn3", "SAM", 20): (98.3, 98.4),
}
PASSES = {"plain": 1, "SAM": 2, "LSAM": 1, "ASAM": 2, "CSAM": 3}
RHO = {"SAM": 0.1, "LSAM": 0.05, "ASAM": 0.5, "CSAM": 0.1}
REPORTED = [
    ("LSAM", "cifar100", "resnet20", "SGD", 69.11, 0.11),
    ("LSAM", "cifar100", "resnet20", "LSAM", 80.18, 0.08),
    ("LSAM", "cifar100", "wrn28_10", "SGD", 80.42, 0.06),
    ("LSAM", "cifar100", "wrn28_10", "LSAM", 82.65, 0.09),
    ("LSAM", "cifar100", "pyramidnet110", "SGD", 81.39, 0.31),
    ("LSAM", "cifar100", "pyramidnet110", "GASAM", 45.59, 3.03),
    ("StableSAM", "cifar100", "resnet20", "SGD", 69.71, 0.27),
    ("StableSAM", "cifar100", "resnet20", "StableSAM", 71.42, 0.23),
    ("Nonuniformity", "cifar10", "resnet20", "SAM", 93.57, 0.16),
    ("Nonuniformity", "cifar10", "resnet20", "CSAM", 94.13, 0.12),
]


def records():
    for (data, network, method, epochs), accuracies in RUNS.items():
        for seed, accuracy in zip(SEEDS, accuracies, strict=False):
            config = {"data": data, "network": network, "method": method, "base": "SGD", "epochs": epochs, "seed": seed}
            own = {"rho": RHO[method]} if method in RHO else {}
            steps = 390 * epochs
            result = {"evaluated_on": "test", "steps": steps, "gradients": PASSES[method] * steps}
            result["final"] = {"accuracy": accuracy / 100}
            yield {"experiment": "train", "key": "", "config": config | own, "result": result}


def fallen():
    """The same, but CSAM has two seeds, of which one ends at 50%."""
    for record in records():
        which = record["config"]["method"], record["config"]["seed"]
        if which == ("CSAM", 123):
            record["result"]["final"] = {"accuracy": 0.5}
        if which != ("CSAM", 1):
            yield record


def reported():
    keys = ("paper", "data", "network", "method", "accuracy", "deviation")
    return [dict(zip(keys, row, strict=True)) for row in REPORTED]


@pytest.fixture
def shown(stand):
    """`shown(query, **context)` gives the page and the explorable on it; `name` is what it holds."""
    made = {
        "pairs": lambda: PairedRuns.of(records(), reported()),
        "bare": lambda: PairedRuns.of(records()),
        "nothing": lambda: PairedRuns.of([]),
        "fallen": lambda: PairedRuns.of(fallen()),
    }

    def opened(query="", name="pairs", **context):
        frame = stand(made[name](), query, **context)
        frame.locator("details").evaluate_all("(all) => all.forEach((one) => (one.open = true))")
        return frame.page, frame

    return opened


def cell(frame, row, name):
    return frame.locator(f'tr[data-row="{row}"] [data-cell="{name}"]').inner_text().split("\n")[0]


def labels(frame):
    return [row.get_attribute("data-row") for row in frame.locator("tr[data-row]").all()]


def said(ours, theirs):
    mean, half = student([a - b for a, b in zip(RUNS[ours], RUNS[theirs], strict=True)])
    return f"{mean:+.2f} ± {half:.2f}".replace("-", "−")


def fast(method, epochs=12):
    return ("cifar10", "fast_cifar", method, epochs)


def drawings(frame, row, what):
    return frame.locator(f'svg g[data-row="{row}"] .flatlab-{what}')


def spread(*pairs):
    """The pooled standard deviation of the differences."""
    differences = [[a - b for a, b in zip(RUNS[ours], RUNS[theirs], strict=True)] for ours, theirs in pairs]
    return statistics.fmean(statistics.variance(d) for d in differences) ** 0.5


def turn_to(frame, problem):
    frame.get_by_label("problem", exact=True).select_option(problem)
    drawn(frame)


def slide_to(frame, value):
    slider = frame.locator("input[data-name=resolve]")
    stop = frame.locator("output")
    slider.focus()
    slider.press("Home")
    while stop.inner_text() != value:
        slider.press("ArrowRight")
    drawn(frame)


def test_table_and_plot_say_the_differences_seed_by_seed(shown):
    _, frame = shown()
    assert cell(frame, "SAM", "difference") == said(fast("SAM"), fast("plain")) == "+0.77 ± 0.38"
    assert cell(frame, "SAM", "accuracy") == "93.87 ± 0.06" and cell(frame, "SAM", "seeds") == "3"
    assert cell(frame, "SAM", "setting") == "ρ 0.1" and cell(frame, "SAM", "passes") == "2"
    assert frame.locator('svg g[data-row="SAM"] .flatlab-number').text_content() == "+0.77 ± 0.38"
    assert drawings(frame, "SAM", "pair").count() == 3 and drawings(frame, "SAM", "interval").count() == 1
    assert frame.locator("svg .flatlab-run").count() == 3 + 3 + 3 + 1 + 3
    sentence = "Better than SGD by more than the noise: SAM. Worse: CSAM. The interval contains zero: LSAM."
    sentence += " Holm’s correction for 3 comparisons leaves all of them."
    assert frame.locator("p[role=status]").first.inner_text() == f"{CIFAR10}, at equal epochs. {sentence}"


def test_places_in_the_plot_are_the_numbers(shown):
    _, frame = shown()
    at = lambda row, what, k=0: float(drawings(frame, row, what).nth(k).get_attribute("cx"))  # noqa: E731
    dots = [at("SAM", "pair", k) for k in range(3)]  # 0.9, 0.6, 0.8 points
    assert (dots[0] - dots[1]) / (dots[0] - dots[2]) == pytest.approx(3, rel=1e-3)
    band = frame.locator("svg .flatlab-band")
    unit = (dots[0] - dots[1]) / 0.3
    assert float(band.get_attribute("width")) == pytest.approx(0.4 * unit, rel=1e-3)
    zero = float(band.get_attribute("x")) + 0.2 * unit
    mean, half = student([0.9, 0.6, 0.8])
    bar = drawings(frame, "SAM", "interval")
    assert float(bar.get_attribute("x")) == pytest.approx(zero + (mean - half) * unit, rel=1e-3)
    assert float(bar.get_attribute("width")) == pytest.approx(2 * half * unit, rel=1e-3)


def test_an_interval_that_leaves_zero_out_is_solid_and_one_seed_has_none(shown):
    _, frame = shown()
    opacity = lambda row: float(drawings(frame, row, "interval").get_attribute("fill-opacity"))  # noqa: E731
    assert opacity("SAM") == opacity("CSAM") > 0.8 > 0.3 > opacity("LSAM")
    assert drawings(frame, "ASAM", "interval").count() == 0 and drawings(frame, "ASAM", "pair").count() == 1
    assert "one seed, no interval" in frame.locator('svg g[data-row="ASAM"]').text_content()
    assert cell(frame, "ASAM", "difference") == "+0.50, one seed, no interval"


def test_two_seeds_have_no_interval_and_the_words_say_so(shown):
    """Student's interval of two values is 12.7 standard errors wide: it would draw a precision that is not there."""
    _, frame = shown()
    turn_to(frame, MNIST)
    assert drawings(frame, "SAM", "interval").count() == 0 and drawings(frame, "SAM", "pair").count() == 2
    assert "two seeds, no interval" in frame.locator('svg g[data-row="SAM"]').text_content()
    assert cell(frame, "SAM", "difference") == "+0.25, two seeds, no interval"
    assert "No method has three pairs of runs with SGD yet" in frame.locator("p[role=status]").first.inner_text()
    assert "three pairs of one method are needed" in frame.locator(".flatlab-power").inner_text()


def test_the_base_can_be_sam(shown):
    _, frame = shown()
    tick(frame, "SAM")
    assert cell(frame, "SGD", "difference") == said(fast("plain"), fast("SAM"))
    assert cell(frame, "SAM", "difference") == "–"
    assert "minus SAM, same seeds" in frame.locator("thead").inner_text()
    assert "minus SAM’s" in frame.locator("svg").text_content()


def test_equal_gradients_take_sgd_at_twice_the_epochs_or_say_what_has_to_be_run(shown):
    _, frame = shown()
    tick(frame, "equal gradients")
    assert labels(frame) == ["SGD", "SGD, 24 epochs", "SAM", "ASAM", "LSAM", "CSAM"]
    expected = said(fast("SAM"), fast("plain", 24))
    assert cell(frame, "SAM", "difference") == f"{expected} (SGD: 24 epochs)"
    assert cell(frame, "LSAM", "difference") == said(fast("LSAM"), fast("plain"))
    assert cell(frame, "CSAM", "difference") == "not run yet: SGD at 36 epochs"
    assert drawings(frame, "CSAM", "pair").count() == 0
    assert "base of SAM; ASAM" in frame.locator('svg g[data-row="SGD, 24 epochs"]').text_content()
    tick(frame, "SAM")
    assert cell(frame, "SGD, 24 epochs", "difference") == said(fast("plain", 24), fast("SAM"))
    assert cell(frame, "LSAM", "difference") == "not run yet at 24 epochs"


def test_the_papers_differences_are_laid_over_ours(shown):
    _, frame = shown()
    turn_to(frame, CIFAR100)
    assert labels(frame) == ["SGD", "StableSAM", "LSAM", "GASAM"]
    lacking = [cell(frame, row, "difference") for row in ("StableSAM", "GASAM")]
    assert lacking == ["not run yet", "not in this library"]
    assert frame.locator("svg .flatlab-claim").count() == 0
    tick(frame, "show what the papers claim")
    assert drawings(frame, "LSAM", "claim").count() == 2
    assert frame.locator("svg .flatlab-claim[data-paper=StableSAM]").count() == 1
    assert drawings(frame, "GASAM", "beyond").count() == 1, "36 points less lie far beyond the plot"
    claims = frame.locator('tr[data-row="LSAM"] [data-cell=claims]').inner_text()
    assert claims == "papers: +2.23 to +11.07; ResNet-20: +11.07 LSAM"
    text = frame.inner_text()
    assert "○ LSAM, 200 epochs; ◇ StableSAM, 200 epochs" in text and "The Nonuniformity paper has no SGD." in text
    assert "ResNet-20, WRN-28-10, PyramidNet-110" in text and "4 of 4 are filled" in text
    tick(frame, "equal gradients")
    assert "The papers compare at equal epochs." in frame.inner_text()
    turn_to(frame, CIFAR10)
    assert not frame.get_by_label("show what the papers claim").is_visible(), "no paper here has SGD on CIFAR-10"
    tick(frame, "SAM")
    assert frame.locator("svg .flatlab-claim[data-paper=Nonuniformity]").count() == 1


def test_a_mark_is_read_where_the_hand_points(shown):
    page, frame = shown(f"PairedRuns.problem={quote(CIFAR100)}&PairedRuns.claims=shown")
    drawings(frame, "LSAM", "claim").first.hover(force=True)
    reading = frame.locator("[data-read]")
    assert reading.inner_text().startswith("LSAM paper, LSAM on ResNet-20, 200 epochs: 80.18 − 69.11 = +11.07 ± ")
    drawings(frame, "LSAM", "pair").first.hover(force=True)
    assert reading.inner_text() == "LSAM, seed 1: 67.20 − 67.00 = +0.20 points"
    frame.locator("svg .flatlab-run").first.hover(force=True)
    assert reading.inner_text() == "SGD, seed 1: 67.00% after 30 epochs"


def test_a_pair_far_beyond_the_edge_is_drawn_there_and_read(shown):
    """A loss that leaves the picture counts as much as a gain that stays in it."""
    _, frame = shown(name="fallen")
    assert drawings(frame, "CSAM", "pair").count() == 1 and drawings(frame, "CSAM", "beyond").count() == 1
    drawings(frame, "CSAM", "beyond").hover(force=True)
    assert frame.locator("[data-read]").inner_text() == "CSAM, seed 123: 50.00 − 93.10 = −43.10 points, beyond the edge"


def test_seeds_that_a_difference_takes_are_those_of_our_pairs(shown):
    _, frame = shown()
    ours = spread(*((fast(method), fast("plain")) for method in ("SAM", "LSAM", "CSAM")))
    power = frame.locator(".flatlab-power")
    takes = f"takes {seeds_needed(0.2, ours)} seeds a method"
    assert f"at our pairs’ spread of {ours:.2f} points, {takes}" in power.inner_text()
    band = frame.locator("svg .flatlab-band")
    wide = float(band.get_attribute("width"))
    slide_to(frame, "0.1")
    assert "a difference of 0.1 points in four of five cases" in power.inner_text()
    assert power.locator("[data-needed]").inner_text() == f"{seeds_needed(0.1, ours)} seeds a method"
    assert float(band.get_attribute("width")) == pytest.approx(wide / 2)
    slide_to(frame, "3")
    assert power.locator("[data-needed]").inner_text() == "2 seeds a method"
    turn_to(frame, CIFAR100)
    one = spread((("cifar100", "resnet20", "LSAM", 30), ("cifar100", "resnet20", "plain", 30)))
    slide_to(frame, "0.05")
    assert power.locator("[data-needed]").inner_text() == f"{seeds_needed(0.05, one)} seeds a method"


def test_spans_and_ticks(call):
    body = "return module.{}(...argument)"
    names = ["spanOfDifferences", "spanOfAccuracies", "ticks", "side"]
    ask = lambda name, *argument: call("flatlab/widgets/paired_plot.mjs", names, body.format(name), argument)  # noqa: E731
    assert ask("ticks", [-0.42, 0.9], 5) == [0, 0.5]
    assert ask("ticks", [-0.42, 0.9], 7) == [-0.4, -0.2, 0, 0.2, 0.4, 0.6, 0.8]
    assert ask("ticks", [91.93, 94.02], 3) == [92, 93, 94]
    row = lambda mean, half, *d: {"mean": mean, "half": half, "pairs": [[k, v, 0] for k, v in enumerate(d)], "told": []}  # noqa: E731
    low, high = ask("spanOfDifferences", [row(0.5, 0.4, 0.4, 0.5, 0.6)])
    assert -0.4 < low < -0.3 and 0.9 < high < 1.0
    low, _ = ask("spanOfDifferences", [row(0.5, 0.4, 0.4, 0.5, 0.6), row(0.2, 0.4, 0.1, 0.2, 0.3), row(-9, 1, -8, -9, -10)])
    assert low > -1, "a run that fell apart does not press the others together"
    _, high = ask("spanOfDifferences", [row(0.5, None, 0.5) | {"told": [{"difference": 11.07}]}])
    assert high > 11.07, "a gain is always in sight"
    low, high = ask("spanOfAccuracies", [{"runs": [[1, 93], [2, 93.5], [3, 94], [4, 10]]}])
    assert low > 90 and high > 94
    assert [ask("side", {"mean": m, "half": h}) for m, h in ((1, 0.5), (-1, 0.5), (1, 1.5), (1, None))] == [1, -1, 0, 0]


def test_the_words_say_which_rows_are_left_after_the_correction(call):
    row = lambda label, mean, p: {"label": label, "mean": mean, "half": 0.5, "p": p}  # noqa: E731
    body = "return module.verdict(...argument)"
    ask = lambda *rows: call("flatlab/widgets/paired_runs.mjs", ["verdict"], body, [rows, "SGD"])  # noqa: E731
    sam, worse, within = row("SAM", 0.9, 0.03), row("CSAM", -0.6, 0.08), row("LSAM", 0.2, 0.5)
    assert ask(sam, worse, within).endswith("Holm’s correction for 3 comparisons leaves SAM.")
    assert ask(worse, within).endswith("zero: LSAM. Holm’s correction for 2 comparisons leaves none.")
    assert "Holm" not in ask(within, within | {"label": "USAM"}) + ask(sam), "of one there is nothing to correct"


def test_without_reported_numbers_no_box_offers_them_and_without_runs_it_says_so(shown):
    _, frame = shown(name="bare")
    assert not frame.get_by_label("show what the papers claim").is_visible()
    assert labels(frame) == ["SGD", "SAM", "ASAM", "LSAM", "CSAM"]
    _, frame = shown(name="nothing")
    assert frame.get_by_text("No two methods have been run on one problem yet.").is_visible()
    assert not frame.locator("table").is_visible() and not frame.locator("input").first.is_visible()


def test_every_control_works_by_keyboard(shown):
    page, frame = shown()
    for name, answer in (("problem", CIFAR100), ("base", "minus SAM"), ("budget", "at equal gradients")):
        before = frame.inner_text()
        assert answer not in before
        frame.locator(f"select[data-name={name}], input[data-name={name}]:checked").focus()
        page.keyboard.press("ArrowRight")
        drawn(frame)
        assert answer in frame.inner_text(), name
        if name == "problem":
            assert page.evaluate("document.activeElement.dataset.name") == "problem", "the focus stays"
            page.keyboard.press("ArrowLeft")
            drawn(frame)
    frame.locator("input[data-name=claims]").focus()
    page.keyboard.press("Space")
    drawn(frame)
    assert frame.locator("svg .flatlab-claim").count() > 0
    unnamed = "(inputs) => inputs.filter((el) => !el.labels?.length).length"
    assert frame.locator("input, select").evaluate_all(unnamed) == 0


def test_the_state_goes_to_the_address_and_comes_back(shown):
    page, frame = shown()
    tick(frame, "SAM")
    tick(frame, "show what the papers claim")
    slide_to(frame, "0.5")
    page.wait_for_function("location.search.includes('resolve=0.5')")
    query = page.evaluate("location.search.slice(1)")
    _, again = shown(query)
    assert again.locator("output").inner_text() == "0.5" and again.locator("svg .flatlab-claim").count() == 1
    assert cell(again, "SGD", "difference") == said(fast("plain"), fast("SAM"))
    again.get_by_role("button", name="Reset").click()
    drawn(again)
    assert again.locator("output").inner_text() == "0.2" and cell(again, "SAM", "difference") == "+0.77 ± 0.38"


@pytest.mark.parametrize(
    "query",
    [
        "PairedRuns.problem=x&PairedRuns.base=Adam&PairedRuns.budget=hours",
        "PairedRuns.claims=perhaps&PairedRuns.resolve=0.21",
        "PairedRuns.resolve=nonsense",
    ],
)
def test_a_state_that_does_not_exist_gives_way_to_one_that_does(shown, query):
    _, frame = shown(query)
    assert cell(frame, "SAM", "difference") == "+0.77 ± 0.38" and frame.locator("svg .flatlab-claim").count() == 0
    assert frame.locator("output").inner_text() in ("0.2", "0.05")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_narrow_screen_in_light_and_in_dark(shown, scheme):
    page, frame = shown(viewport={"width": 320, "height": 700}, color_scheme=scheme)
    turn_to(frame, CIFAR100)
    tick(frame, "show what the papers claim")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    sides = "(texts) => texts.map((text) => text.getBoundingClientRect()).flatMap((box) => [box.left, box.right])"
    ends = frame.locator("svg text").evaluate_all(sides)
    assert min(ends) >= 0 and max(ends) <= 320
    wrapper = frame.locator("table").evaluate("(table) => [table.scrollWidth, table.parentElement.clientWidth]")
    assert wrapper[0] <= wrapper[1], "the table needs no scrolling"
    ink = frame.locator("svg text").first.evaluate("(el) => getComputedStyle(el).fill")
    assert ink == ("rgb(0, 0, 0)" if scheme == "light" else "rgb(238, 238, 238)")
    accuracies = frame.locator("svg .flatlab-run").first.bounding_box()["y"]
    assert accuracies > drawings(frame, "LSAM", "pair").first.bounding_box()["y"], "the panels are stacked"


def test_an_update_takes_less_than_a_frame(shown):
    page, frame = shown()
    for k in range(12):
        frame.locator("input[data-name=resolve]").press("ArrowRight" if k % 2 else "ArrowLeft")
        drawn(frame)
    page.evaluate("performance.clearMeasures()")
    for k in range(20):
        frame.locator("input[data-name=resolve]").press("ArrowRight" if k % 2 else "ArrowLeft")
        drawn(frame)
    times = page.evaluate("performance.getEntriesByName('flatlab:pairs').map((entry) => entry.duration)")
    assert len(times) == 20 and statistics.median(times) < 16, times
