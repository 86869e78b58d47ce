"""The explorables of the chapter on the Hessian penalty: JavaScript against Python, and driven as a reader drives them."""

import itertools
import re

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from tests.browser.gestures import drawn, mapped, press, slide, tick, until
from toy_problems import Ravines

CHAPTER = "book/toys/hessian_penalty.html"
F = Ravines()


# ---- parity ----------------------------------------------------------------------------------------------------------


def test_the_ravines_agree_to_1e_12_on_random_points(call):
    w = 4 * torch.rand(300, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 2
    w[:2] = F.middles
    got = call(
        "ravines",
        ["look", "eigenvalues", "penalized"],
        """return argument.map(([x, y]) => {
      const a = module.look(x, y);
      const first = [a.loss, a.gx, a.gy, a.xx, a.xy, a.yy, a.curvature, a.cx, a.cy];
      return [...first, ...module.eigenvalues(a), module.penalized(x, y, 0.3)];
    });""",
        w.tolist(),
    )
    H = F.hessian(w)
    expected = torch.cat(
        [
            F.loss(w)[:, None],
            F.grad(w),
            torch.stack([H[:, 0, 0], H[:, 0, 1], H[:, 1, 1]], 1),
            F.hessian_frobenius(w)[:, None],
            F.hessian_frobenius_grad(w),
            torch.linalg.eigvalsh(H),
            F.penalized(w, 0.3)[:, None],
        ],
        1,
    )
    scale = expected.abs().amax(0).clamp_min(1)
    np.testing.assert_allclose(np.array(got) / scale.numpy(), expected / scale, rtol=0, atol=1e-12)


@pytest.mark.parametrize("weight", [0.0, 2e-4, 1e-3, 0.05])
def test_descent_on_the_page_ends_where_scipy_ends(call, weight):
    starts = [[-1.1, 0.3], [-0.7, -0.4], [1.2, 0.5], [0.4, -0.2]]
    body = "return argument.starts.map(([x, y]) => module.descend(x, y, argument.weight));"
    for end in call("ravines", ["descend"], body, {"starts": starts, "weight": weight}):
        w = torch.tensor([end["x"], end["y"]], dtype=torch.float64)
        found = minimize(
            lambda v: F.penalized(torch.from_numpy(v), weight).item(),
            w.numpy(),
            method="BFGS",
            jac=lambda v: F.penalized_grad(torch.from_numpy(v), weight).numpy(),
        )
        assert np.linalg.norm(found.x - w.numpy()) < 2e-4, "it is a minimum"


@pytest.mark.parametrize("weight", [0.0, 1e-4, 1e-3, 0.01, 0.1])
def test_the_minima_of_the_section_are_those_of_a_fine_grid(call, weight):
    got = call("ravines", ["axisMinima"], "return module.axisMinima(argument);", weight)
    x = torch.linspace(-2, 2, 40_001, dtype=torch.float64)
    height = F.penalized(torch.stack([x, torch.zeros_like(x)], -1), weight)
    inner = (height[1:-1] < height[:-2]) & (height[1:-1] < height[2:])
    np.testing.assert_allclose(got, x[1:-1][inner], atol=2e-4)


def test_the_basin_map_is_that_of_longer_descents(call):
    body = """const fates = module.basins(argument);
      const at = (k) => ((k + 0.5) / module.CELLS) * 4 - 2;
      const wrong = [];
      for (let row = 0; row < module.CELLS; row += 5) for (let column = 0; column < module.CELLS; column += 3) {
        const long = module.fate(module.descend(at(column), at(row), argument, {steps: 20000}));
        if (long !== fates[row * module.CELLS + column]) wrong.push([column, row]);
      }
      return [wrong.length, fates.length, [0, 1, 2].map((f) => fates.filter((v) => v === f).length)];"""
    for weight, sharp, outside in ((0.0, 0.40, 0.0), (3e-4, 0.40, 0.0), (0.5, 0.06, 0.6)):
        wrong, size, counts = call("ravines", ["basins", "descend", "fate", "CELLS"], body, weight)
        assert wrong <= 3 and size == sum(counts) == 64 * 64
        assert (counts[0] / size, counts[2] / size) == pytest.approx((sharp, outside), abs=0.02)


MATRICES = [(3, 0, 0, 1, 0, -2), (1, 3, 0, 1, 0, 1), (1, 2, 0, -1, 0, 2), (0.5, -1.5, 2, 3, 0.25, -1)]
DICE = ["full", "form", "variance", "trace", "faces", "reading", "cup", "Tally", "KINDS"]


def dense(entries):
    xx, xy, xz, yy, yz, zz = entries
    return torch.tensor([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]], dtype=torch.float64)


@pytest.mark.parametrize("entries", MATRICES)
@pytest.mark.parametrize("quantity", ["square", "trace"])
def test_the_variance_of_signs_is_that_over_all_of_them(call, entries, quantity):
    """All eight sign vectors, one by one; and for Gaussian ones twice the squared Frobenius norm."""
    body = """const m = module.full(argument.entries);
      const a = module.form(m, argument.quantity);
      const variances = module.KINDS.map((kind) => module.variance(a, kind));
      return {trace: module.trace(a), faces: module.faces(m, argument.quantity), variances};"""
    got = call("dice", DICE, body, {"entries": entries, "quantity": quantity})
    H = dense(entries)
    A = H if quantity == "trace" else H @ H
    values = torch.stack([v @ A @ v for v in torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3))).double()])
    assert values.mean().item() == pytest.approx(torch.trace(A).item()) == got["trace"]
    assert got["variances"] == pytest.approx([values.var(correction=0).item(), 2 * (A * A).sum().item()], abs=1e-9)
    assert got["faces"] == pytest.approx(sorted(set(values.round(decimals=9).tolist())))


def test_both_dice_have_mean_zero_and_unit_covariance_and_the_tally_is_right(call):
    body = """const out = {};
      for (const kind of module.KINDS) {
        const cup = module.cup(kind, 7);
        out[kind] = Array.from({length: 6000}, () => cup());
      }
      const tally = new module.Tally([0, 10]);
      for (const v of out.Gaussian.slice(0, 500)) tally.add(v[0]);
      return {...out, tally: [tally.mean, tally.variance, tally.stderr, tally.bins.reduce((a, b) => a + b)]};"""
    got = call("dice", DICE, body)
    for kind in ("Rademacher", "Gaussian"):
        v = torch.tensor(got[kind], dtype=torch.float64)
        assert v.mean(0).abs().max() < 4 / 6000**0.5
        assert (v.T @ v / 6000 - torch.eye(3)).abs().max() < 6 / 6000**0.5
    assert set(np.ravel(got["Rademacher"])) == {-1, 1}
    first = np.array(got["Gaussian"])[:500, 0]
    assert got["tally"] == pytest.approx([first.mean(), first.var(ddof=1), first.std(ddof=1) / 500**0.5, 500])


# ---- on the page -----------------------------------------------------------------------------------------------------


def words(frame):
    return frame.locator(".flatlab-status").inner_text()


def number(text):
    return float(text.replace("−", "-").replace(",", ""))


def shown(frame, name):
    return number(frame.locator(f'.flatlab-control:has(input[data-name="{name}"]) output').inner_text())


def cell(frame, row, key):
    return frame.locator(f'tr[data-{row[0]}="{row[1]}"] td[data-value="{key}"]').inner_text()


@pytest.fixture
def still(open_page, explorable):
    """The dice on a page whose reader wants no motion: a thousand throws lie there at once."""
    return explorable(open_page(CHAPTER, reduced_motion="reduce"), "HutchinsonDice")


def test_dice_agree_with_the_formula_and_presets_show_what_they_name(still):
    press(still, "Diagonal")
    assert "Every throw of signs says it exactly: H² is diagonal" in words(still)
    assert cell(still, ("kind", "Rademacher"), "measured") == cell(still, ("kind", "Rademacher"), "formula") == "0"
    assert number(cell(still, ("kind", "Gaussian"), "formula")) == 2 * (81 + 1 + 16)
    press(still, "Only H² is diagonal")
    assert "H² is diagonal" in words(still) and number(cell(still, ("kind", "Gaussian"), "formula")) == 2 * (25 + 25 + 16)
    tick(still, "tr(H), by vᵀHv")
    assert number(cell(still, ("kind", "Rademacher"), "formula")) == 16, "for tr(H) its off-diagonal counts"
    press(still, "Nothing on the diagonal")
    assert "Signs gain nothing here" in words(still)
    assert cell(still, ("kind", "Rademacher"), "formula") == cell(still, ("kind", "Gaussian"), "formula")
    press(still, "Throw 1,000")
    assert words(still).startswith("2,000 throws")
    for kind in ("Rademacher", "Gaussian"):
        mean, error = map(number, cell(still, ("kind", kind), "mean").split(" ± "))
        assert abs(mean) < 4 * error
        measured, formula = (number(cell(still, ("kind", kind), key)) for key in ("measured", "formula"))
        assert measured == pytest.approx(formula, rel=0.2)


def test_a_typed_entry_changes_the_matrix_on_both_sides(still):
    press(still, "Diagonal")
    still.get_by_label("H, row 1, column 3").fill("2")
    drawn(still)
    assert still.get_by_label("H, row 3, column 1").input_value() == "2"
    H = dense((3, 0, 2, 1, 0, -2))
    squared = [number(t) for t in still.locator(".flatlab-matrix output").all_inner_texts()]
    assert squared == (H @ H).ravel().tolist()
    assert f"tr(H²) = {int(torch.trace(H @ H))}." in words(still)
    still.get_by_label("H, row 1, column 3").fill("99")
    still.get_by_label("H, row 1, column 3").blur()
    assert still.get_by_label("H, row 3, column 1").input_value() == "4", "brought into the range"


def test_dice_run_pause_step_and_start_over(open_page, explorable):
    frame = explorable(open_page(CHAPTER), "HutchinsonDice")
    frame.locator(".flatlab-curves").first.scroll_into_view_if_needed()
    frame.get_by_role("button", name="Pause").wait_for(timeout=20_000)
    count = lambda: int(re.match(r"([\d,]+) throw", words(frame))[1].replace(",", ""))  # noqa: E731
    until(frame, lambda: count() > 3)
    press(frame, "Pause")
    paused = count()
    frame.page.wait_for_timeout(300)
    assert count() == paused
    press(frame, "Throw once")
    assert count() == paused + 1
    said = re.search(r"v = \(([^)]*)\), Hv = \(([^)]*)\), ‖Hv‖² = (.+)\.", frame.locator(".flatlab-throw").inner_text())
    v = torch.tensor([number(t) for t in said[1].split(", ")], dtype=torch.float64)
    H = dense((1, 3, 0, 1, 0, 1))
    assert [number(t) for t in said[2].split(", ")] == (H @ v).tolist() and number(said[3]) == (H @ v).square().sum()
    press(frame, "Throw 1,000")
    assert count() == paused + 1001
    press(frame, "Start over")
    press(frame, "Pause")
    assert count() < paused + 1001


def test_dice_keep_60_frames_a_second(open_page, explorable):
    frame = explorable(open_page(CHAPTER), "HutchinsonDice")
    frame.locator(".flatlab-curves").first.scroll_into_view_if_needed()
    durations = lambda: frame.page.evaluate("performance.getEntriesByName('flatlab:dice').map((e) => e.duration)")  # noqa: E731
    until(frame, lambda: len(durations()) > 100)
    times = durations()
    assert sorted(times)[len(times) // 4] < 8, "the faster ones: others share the processor"


def share(frame, fate):
    said = frame.locator(f'[data-fate="{fate}"]').inner_text()
    return tuple(map(float, re.search(r"(\d+)% \(loss alone (\d+)%\)", said).groups()))


def test_ravines_presets_show_what_they_name(open_page, explorable):
    frame = explorable(open_page(CHAPTER), "PenalizedRavines")
    mapped(frame)
    press(frame, "The flat valley becomes the lower one")
    assert "both runs end in the sharp valley" in words(frame) and "lowest in the flat valley" in words(frame)
    press(frame, "The sharp minimum splits in two")
    mapped(frame)
    assert "The minimum of the sharp valley has split in two" in words(frame) and "no minimum of the loss" in words(frame)
    now, alone = share(frame, "sharp")
    assert abs(now - alone) <= 2, "the basins hardly move"
    press(frame, "The flat one, too")
    assert "the sharp valley and that of the flat valley has split" in words(frame)
    press(frame, "Flat, and no minimum at all")
    mapped(frame)
    assert "the penalty to neither valley" in words(frame) and "bends down one way" in words(frame)
    assert share(frame, "outside")[0] > 50 and share(frame, "outside")[1] == 0


def test_ravines_numbers_are_the_toys(open_page, explorable):
    frame = explorable(open_page(f"{CHAPTER}?PenalizedRavines.lam=0.2&PenalizedRavines.batch=100"), "PenalizedRavines")
    assert (shown(frame, "lam"), shown(frame, "batch")) == (0.2, 100)
    for method in ("GD", "FA"):
        x, y = (number(t) for t in cell(frame, ("method", method), "end").strip("()").split(", "))
        found = minimize(lambda v, m=method: F.penalized(torch.from_numpy(v), 0.002 * (m == "FA")).item(), [x, y])
        w = torch.from_numpy(found.x)
        assert found.x == pytest.approx([x, y], abs=0.006)
        assert number(cell(frame, ("method", method), "loss")) == pytest.approx(F.loss(w).item(), abs=0.02)
        curvature = number(cell(frame, ("method", method), "curvature"))
        assert curvature == pytest.approx(F.hessian_frobenius(w).item(), rel=0.02, abs=0.6)
        values = [number(t) for t in cell(frame, ("method", method), "eigenvalues").split(", ")]
        assert values == pytest.approx(torch.linalg.eigvalsh(F.hessian(w)).tolist(), rel=0.02, abs=0.05)


def test_ravines_start_is_dragged_and_sliders_answer(open_page, explorable):
    page = open_page(CHAPTER)
    frame = explorable(page, "PenalizedRavines")
    box, knob = frame.locator(".flatlab-layer").bounding_box(), frame.locator(".flatlab-knob").bounding_box()
    page.mouse.move(knob["x"] + knob["width"] / 2, knob["y"] + knob["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.6 * box["height"], steps=4)
    page.mouse.up()
    drawn(frame)
    assert "both runs end in the flat valley" in words(frame)
    slide(frame, "lam", 1.0)
    slide(frame, "batch", 0.0)
    assert (shown(frame, "lam"), shown(frame, "batch")) == (10, 1) and "Weight λ/B = 10" in words(frame)
    away = cell(frame, ("method", "FA"), "end")
    slide(frame, "batch", 1.0)
    assert shown(frame, "batch") == 256
    assert cell(frame, ("method", "FA"), "end") != away, "the batch size alone moves the minimum"


def test_ravines_answer_within_two_frames(open_page, explorable):
    frame = explorable(open_page(CHAPTER), "PenalizedRavines")
    mapped(frame)
    for k in range(24):  # the first ones are not compiled yet
        slide(frame, "lam", 0.4 + 0.02 * k)
    times = frame.page.evaluate("performance.getEntriesByName('flatlab:ravines').map((e) => e.duration)")
    assert min(times[5:]) < 33, "the fastest: others share the processor"


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_of_the_penalty_is_wider_than_the_page(open_page, explorable, width):
    page = open_page(CHAPTER, viewport={"width": width, "height": 800})
    for name in ("PenalizedRavines", "HutchinsonDice"):
        box = explorable(page, name).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
