"""The explorable of Hutchinson's dice: what they say against all throws, and driven as a reader drives it."""

import itertools
import re

import numpy as np
import pytest
import torch

from tests.browser.gestures import drawn, press, tick, until
from tests.browser.readings import words
from toy_problems import HutchinsonDice

MODULE = "toy_problems/hutchinson_dice/dice.mjs"
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
    got = call(MODULE, DICE, body, {"entries": entries, "quantity": quantity})
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
    got = call(MODULE, DICE, body)
    for kind in ("Rademacher", "Gaussian"):
        v = torch.tensor(got[kind], dtype=torch.float64)
        assert v.mean(0).abs().max() < 4 / 6000**0.5
        assert (v.T @ v / 6000 - torch.eye(3)).abs().max() < 6 / 6000**0.5
    assert set(np.ravel(got["Rademacher"])) == {-1, 1}
    first = np.array(got["Gaussian"])[:500, 0]
    assert got["tally"] == pytest.approx([first.mean(), first.var(ddof=1), first.std(ddof=1) / 500**0.5, 500])


def number(text):
    return float(text.replace("−", "-").replace(",", ""))


def cell(frame, row, key):
    return frame.locator(f'tr[data-{row[0]}="{row[1]}"] td[data-value="{key}"]').inner_text()


@pytest.fixture
def still(stand):
    """The dice on a page whose reader wants no motion: a thousand throws lie there at once."""
    return stand(HutchinsonDice(), reduced_motion="reduce")


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


def test_dice_run_pause_step_and_start_over(stand):
    frame = stand(HutchinsonDice())
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


def test_dice_keep_60_frames_a_second(stand):
    frame = stand(HutchinsonDice())
    frame.locator(".flatlab-curves").first.scroll_into_view_if_needed()
    durations = lambda: frame.page.evaluate("performance.getEntriesByName('flatlab:dice').map((e) => e.duration)")  # noqa: E731
    until(frame, lambda: len(durations()) > 100)
    times = durations()
    assert sorted(times)[len(times) // 4] < 8, "the faster ones: others share the processor"


def share(frame, fate):
    said = frame.locator(f'[data-fate="{fate}"]').inner_text()
    return tuple(map(float, re.search(r"(\d+)% \(loss alone (\d+)%\)", said).groups()))
