"""An explorable's own page is made of what its chapter has, once each."""

import sys
from pathlib import Path

import pytest

from flatlab.explorable import page
from toy_problems import LebesgueLens, SamSaddle

sys.path.append(str(Path(__file__).parents[2] / "book" / "_ext"))
import embed
from site_assets import share

HEAD = "<title>A chapter &#8212; Flatlab</title>"


def html(*widgets):
    return HEAD + "".join(widget._repr_mimebundle_()[0]["text/html"] for widget in widgets)


@pytest.mark.parametrize("built", [str, share], ids=["just written", "after an earlier build"])
def test_every_explorable_gets_a_page_with_the_parts_that_it_uses(tmp_path, built):
    (tmp_path / "a.html").write_text(built(html(SamSaddle(), LebesgueLens())))
    assert embed.write_embeds(tmp_path, ["a"]) == ["SamSaddle", "LebesgueLens"]
    text = (tmp_path / "embed" / "LebesgueLens.html").read_text()
    assert "lebesgue_lens." in text and "sam_saddle." not in text and 'data-title="A chapter"' in text
    assert "=> {" not in (tmp_path / "a.html").read_text(), "the chapter loads the same files"
    left = tmp_path / "embed" / "parts" / "of_a_build_before.0123abcd.js"
    left.write_text("")
    assert embed.write_embeds(tmp_path, ["a"]) == ["SamSaddle", "LebesgueLens"], "again, and nothing changes"
    assert not left.exists()
    assert text == (tmp_path / "embed" / "LebesgueLens.html").read_text()
    named = {file.name for file in (tmp_path / "embed" / "parts").iterdir()}
    assert all(f"parts/{file}" in text + (tmp_path / "embed" / "SamSaddle.html").read_text() for file in named)


def test_the_first_page_that_shows_an_explorable_gives_its_state(tmp_path):
    for name, rho in [("a", 0.2), ("b", 0.4)]:
        (tmp_path / f"{name}.html").write_text(html(SamSaddle(rho=rho)))
    embed.write_embeds(tmp_path, ["b", "a"])
    assert '"rho":0.4' in (tmp_path / "embed" / "SamSaddle.html").read_text()


def test_a_plain_figure_gets_none(tmp_path):
    figure = page("flatlab/explorable/figure.mjs", {"figure": {}}, name="figure", caption="A plot.", linkable=False)
    (tmp_path / "a.html").write_text(HEAD + figure)
    assert embed.write_embeds(tmp_path, ["a"]) == []
