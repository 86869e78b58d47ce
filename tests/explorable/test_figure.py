"""A Plotly figure of several panels on a phone: a row is stacked, and square panels stay square."""

import plotly.graph_objects as go
import pytest
from plotly.subplots import make_subplots

from flatlab.plots import StaticPage
from tests.conftest import PAGE

PANELS = """(div) => { const {_fullLayout: all} = div;
  return ["", "2"].map((k) => { const [x, y] = [all[`xaxis${k}`], all[`yaxis${k}`]];
    return {left: x._offset, top: y._offset, wide: x._length, tall: y._length, ticks: y.showticklabels}; }); }"""


@pytest.fixture
def drawn(visit, stage):
    """`drawn(figure, width)` gives a page of this width, and the figure on it."""
    folder, address = stage

    def shown(figure, width=900):
        body = StaticPage().to_mimebundle(figure.to_dict())["text/html"]
        (folder / "figure.html").write_text(PAGE.format(body=body))
        page = visit(address, "figure.html", viewport={"width": width, "height": 900})
        plot = page.locator(".js-plotly-plot")
        plot.wait_for(timeout=20_000)
        return page, plot

    return shown


@pytest.fixture
def panels(drawn):
    """`panels(figure, width)` gives the first two panels as they stand on a page of this width."""

    def shown(figure, width):
        page, plot = drawn(figure, width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        return plot.evaluate(PANELS), plot.locator(".infolayer .annotation").all()

    return shown


def pair():
    figure = make_subplots(1, 2, subplot_titles=("left", "right"), shared_yaxes=True)
    for column in (1, 2):
        figure.add_scatter(y=[1, 2, 3], row=1, col=column, showlegend=False)
    return figure


def test_a_row_stands_side_by_side_on_a_laptop_and_is_stacked_on_a_phone(panels):
    (one, other), _ = panels(pair(), 900)
    assert one["top"] == other["top"] and one["left"] + one["wide"] <= other["left"] and not other["ticks"]
    (one, other), titles = panels(pair(), 360)
    assert one["left"] == other["left"] and one["wide"] == other["wide"] > 250 and other["ticks"]
    assert other["top"] > one["top"] + one["tall"] and min(one["tall"], other["tall"]) > 100
    heights = [title.bounding_box()["y"] for title in titles]
    assert heights[1] - heights[0] == pytest.approx(other["top"] - one["top"], abs=2), "each title over its own panel"


@pytest.mark.parametrize("width", [360, 900])
def test_the_columns_of_a_scatter_matrix_stand_side_by_side(panels, width):
    figure = go.Figure(go.Splom(dimensions=[{"label": name, "values": [1, 2, 3]} for name in "abc"]))
    figure.update_layout({f"{side}axis{k}": {"nticks": 3} for side in "xy" for k in (1, 2, 3)})
    (one, other), _ = panels(figure, width)
    assert one["left"] + one["wide"] <= other["left"], "no column lies upon another"
    assert one["top"] + one["tall"] <= other["top"]


@pytest.mark.parametrize("width", [360, 900])
def test_a_map_is_as_high_as_wide(panels, width):
    figure = make_subplots(2, 2)
    for k in range(4):
        figure.add_contour(x=[-1, 0, 1], y=[-1, 0, 1], z=[[1, 2, 1], [2, 0, 2], [1, 2, 1]], row=k // 2 + 1, col=k % 2 + 1)
    figure.for_each_yaxis(lambda axis: axis.update(scaleanchor=axis.anchor, constrain="domain"))
    figure.update_xaxes(constrain="domain")
    for panel in panels(figure, width)[0]:
        assert panel["wide"] == pytest.approx(panel["tall"], rel=0.02)


def test_a_surface_is_on_paper_what_it_is_on_the_screen(drawn):
    """Its canvas alone would come out blank: the copy that is printed has the colours of the surface, and goes again."""
    figure = go.Figure(go.Surface(z=[[0, 1, 0], [1, 3, 1], [0, 1, 0]], colorscale="Viridis", showscale=False))
    page, plot = drawn(figure)
    colours = """(canvas) => { const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const found = new Set();
      for (let k = 0; k < data.length; k += 4) if (data[k + 3]) found.add(data.slice(k, k + 3).join());
      return found.size; }"""
    plot.locator(".gl-container canvas").first.wait_for(timeout=20_000)
    copy = plot.locator("canvas.flatlab-copy")
    assert copy.count() == 0
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert copy.evaluate(colours) > 50
    assert copy.bounding_box() == plot.locator("canvas:not(.flatlab-copy)").first.bounding_box()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert copy.count() == 0
