"""What is left out of the built site changes nothing that a reader sees."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parents[2] / "book" / "_ext"))
import site_assets

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 4), dtype=np.uint8)
OPAQUE = np.dstack([PIXELS[..., :3], np.full((40, 60), 255, np.uint8)])
FEW = OPAQUE[:2, :3].repeat(20, 0).repeat(20, 1)


@pytest.mark.parametrize("pixels", [PIXELS, OPAQUE, FEW], ids=["translucent", "opaque", "six colours"])
def test_a_packed_picture_has_the_same_pixels_in_no_more_bytes(tmp_path, pixels):
    file = tmp_path / "_images" / "a.png"
    file.parent.mkdir()
    Image.fromarray(pixels).save(file)
    before = file.stat().st_size
    site_assets.pack_pictures(tmp_path)
    assert file.stat().st_size <= before
    np.testing.assert_array_equal(np.array(Image.open(file).convert("RGBA")), pixels)


def test_a_page_keeps_the_first_of_what_its_explorables_share():
    part = '<script type="module" data-flatlab="{}">\n{}\n</script>\n'
    a, b, own = part.format("a#1", "first"), part.format("b#2", "second"), '<script type="module">\nmount\n</script>'
    assert site_assets.share(a + b + own + a + own + b + own) == a + b + own + own + own


def test_scripts_with_an_address_wait_but_for_the_options_that_the_page_itself_needs(tmp_path):
    head = '<script src="_static/documentation_options.js"></script><script src="_static/doctools.js?v=1"></script>'
    search = '<script src="searchindex.js"></script>'
    for name in ("page.html", "search.html"):
        (tmp_path / name).write_text(f"<head>{head}{search}<script>inline</script></head><p>")
    site_assets.load_late(tmp_path)
    late = head.replace('<script src="_static/doctools', '<script defer src="_static/doctools')
    assert (tmp_path / "page.html").read_text() == f"<head>{late}<script>inline</script></head><p>"
    assert '<script defer src="searchindex.js"></script>' in (tmp_path / "search.html").read_text()


def test_the_theme_leaves_the_sizes_of_blocks_alone_and_a_theme_that_is_another_is_told(tmp_path):
    script = tmp_path / "_static" / "scripts" / "pydata-sphinx-theme.js"
    script.parent.mkdir(parents=True)
    script.write_text(f"function I(){{const t=1;{site_assets.MEASURING}}}")
    for _ in range(2):  # a second build finds what the first has left
        site_assets.measure_once(tmp_path)
        assert script.read_text() == f"function I(){{const t=1;{site_assets.MEASURED}}}"
    script.write_text("another")
    with pytest.raises(ValueError, match="no longer measures blocks"):
        site_assets.measure_once(tmp_path)
