"""The scatter matrix of minima on the built page: a box in one panel selects in all, and a button rescales the layers."""

import pytest

SECTION = "section:has(> #rf-matrix)"
CHAPTER = "book/toys/relative_flatness_minima.html"
MATRIX = "[...document.querySelectorAll('.js-plotly-plot')].find((plot) => plot.data[0].type === 'splom')"
SELECTED = f"() => {MATRIX}.data.map((trace) => trace.selectedpoints?.length ?? -1)"
VALUES = f"() => {MATRIX}.data[0].dimensions.map((of) => of.values[0])"


@pytest.fixture(scope="module")
def page(site, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{site}/{CHAPTER}")
    place = page.locator(f"{SECTION} [data-explorable=figure]").first
    place.scroll_into_view_if_needed()
    page.wait_for_function(f"() => {MATRIX}?._fullLayout", timeout=20_000)
    yield page
    page.close()


def panel(page, row, column):
    """The middle and the size of a panel, in pixels of the window."""
    return page.evaluate(
        f"""([row, column]) => {{
          const plot = {MATRIX}, {{x: left, y: top}} = plot.getBoundingClientRect();
          const axis = (letter, k) => plot._fullLayout[`${{letter}}axis${{k > 1 ? k : ""}}`];
          const x = axis("x", column), y = axis("y", row);
          return [left + x._offset + x._length / 2, top + y._offset + y._length / 2, x._length, y._length];
        }}""",
        [row, column],
    )


def test_a_box_in_one_panel_selects_the_same_minima_in_all(page):
    assert set(page.evaluate(SELECTED)) == {-1}
    x, y, width, height = panel(page, 6, 1)
    page.mouse.move(x - 0.49 * width, y - 0.49 * height)
    page.mouse.down()
    page.mouse.move(x, y + 0.49 * height, steps=4)
    page.mouse.up()
    page.wait_for_function(f"() => {MATRIX}.data.some((trace) => trace.selectedpoints)")
    chosen = page.evaluate(SELECTED)
    inside = page.evaluate(
        f"""() => {{
          const plot = {MATRIX}, [low, high] = plot._fullLayout.xaxis.range, middle = 10 ** ((low + high) / 2);
          return plot.data.map((trace) => trace.dimensions[0].values.filter((v) => v < middle).length);
        }}"""
    )
    assert chosen == inside, "the left half of a panel of kappa: the minima with the smaller kappa"


def test_the_button_shows_what_rescaling_changes(page):
    before = page.evaluate(VALUES)
    page.locator(f"{SECTION} .updatemenu-button").nth(1).click()
    page.wait_for_function(f"(was) => {MATRIX}.data[0].dimensions[1].values[0] !== was", arg=before[1])
    after = page.evaluate(VALUES)
    for k, changes in enumerate((False, True, True, False, True, False)):  # kappa, trace, PAC-Bayes, Fisher-Rao, norm, gap
        assert (abs(after[k] / before[k] - 1) > 1e-3) == changes, k
    page.locator(f"{SECTION} .updatemenu-button").nth(0).click()
    page.wait_for_function(f"(was) => {MATRIX}.data[0].dimensions[1].values[0] === was", arg=before[1])
    assert page.evaluate(VALUES) == before
