"""Which plotly.js a page loads: the smaller build for plots on axes, the whole one only for what that cannot draw."""

import re

import plotly.graph_objects as go
import pytest

from flatlab.explorable.bundle import located
from flatlab.explorable.face import PLOTLY
from flatlab.plots import StaticPage
from tests.conftest import PAGE
from upkeep.plotly import installed, version

FETCHED = "performance.getEntriesByType('resource').map(({name}) => name.split('/').pop()).filter((n) => /plotly/.test(n))"


def test_the_kept_build_is_of_the_version_that_is_installed_and_names_its_licence():
    assert version(PLOTLY.read_bytes()) == installed(), "run python -m upkeep.plotly"
    assert "MIT License" in PLOTLY.with_name("LICENSE").read_text()


@pytest.fixture
def figures(visit, stage):
    """`figures(*figures)` gives a page with these, drawn."""
    folder, address = stage

    def shown(*drawn):
        bodies = [StaticPage().to_mimebundle(figure.to_dict())["text/html"] for figure in drawn]
        (folder / "page.html").write_text(PAGE.format(body="".join(bodies)))
        page = visit(address, "page.html", viewport={"width": 800, "height": 4000})
        for k in range(len(drawn)):
            page.locator(".js-plotly-plot").nth(k).wait_for(timeout=20_000)
        return page

    return shown


LINE = go.Figure(go.Scatter(y=[1, 2]))
SURFACE = go.Figure(go.Surface(z=[[1, 2], [2, 1]]))


def test_two_plots_on_axes_fetch_the_smaller_build_once(figures):
    page = figures(LINE, go.Figure(go.Contour(z=[[1, 2], [2, 1]])))
    assert page.evaluate(FETCHED) == [PLOTLY.name]
    there = set(page.evaluate("Object.keys(Plotly.PlotSchema.get().traces)"))
    source = located("flatlab/explorable/plotly.mjs").read_text()
    named = re.search(r"CARTESIAN = (.*?);", source, re.S)[1]
    assert set(re.findall(r'"(\w+)"', named)) == there, "what the explorables take it to draw"


def test_a_surface_fetches_the_whole_and_a_line_beside_it_still_draws(figures):
    page = figures(LINE, SURFACE, LINE)
    assert sorted(page.evaluate(FETCHED)) == [PLOTLY.name, "plotly.min.js"]
    assert page.locator(".gl-container canvas").count() > 0 and page.locator(".scatterlayer .trace").count() == 2
