"""Which plotly.js a page loads: the build for plots on axes, and that with WebGL only for a surface or a scatter matrix."""

import plotly.graph_objects as go
import pytest

from flatlab.explorable.face import KINDS, build
from flatlab.plots import StaticPage
from tests.conftest import PAGE
from upkeep.plotly import installed, version

FETCHED = "performance.getEntriesByType('resource').map(({name}) => name.split('/').pop()).filter((n) => /plotly/.test(n))"
TRACES = "Object.keys((await flatlabPlotly[name]).PlotSchema.get().traces)"
DRAWN = f"Object.keys(flatlabPlotly).map(async (name) => [name, {TRACES}])"


@pytest.mark.parametrize("name", KINDS)
def test_a_kept_build_is_of_the_version_that_is_installed_and_names_its_licence(name):
    assert version(build(name).read_bytes()) == installed(), "run python -m upkeep.plotly"
    assert "MIT License" in build(name).with_name("LICENSE").read_text()


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


MATRIX = go.Figure(go.Splom(dimensions=[{"values": [1, 2, 3]}, {"values": [2, 1, 3]}]))


def test_two_plots_on_axes_fetch_one_build_once(figures):
    page = figures(LINE, go.Figure(go.Contour(z=[[1, 2], [2, 1]])))
    assert page.evaluate(FETCHED) == [build("axes").name]


def test_a_surface_and_a_matrix_fetch_the_other_and_a_line_beside_them_still_draws(figures):
    page = figures(LINE, SURFACE, MATRIX, LINE)
    assert sorted(page.evaluate(FETCHED)) == sorted(build(name).name for name in KINDS)
    assert page.locator(".gl-container canvas").count() > 0 and page.locator(".scatterlayer .trace").count() == 2
    there = dict(page.evaluate(f"Promise.all({DRAWN})"))
    assert {name: sorted(there[name]) for name in KINDS} == {name: sorted(KINDS[name]) for name in KINDS}


def test_a_kind_that_no_build_has_is_refused_where_the_figure_is_made():
    with pytest.raises(ValueError, match=r"a figure of pie fits no build .*axes: scatter"):
        StaticPage().to_mimebundle(go.Figure(go.Pie(values=[1])).to_dict())
