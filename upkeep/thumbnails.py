"""The pictures on the home page's cards and in the README, drawn by the explorables: `python -m upkeep.thumbnails`, after
`make book`."""

import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser.served import SITE, browser_path, served

PAGES = {
    "SamSaddle": "sam_saddle",
    "EscapeSwarm": "nonuniform_minima",
    "LebesgueLens": "local_average",
    "PenalizedRavines": "hessian_penalty",
    "Reparameterize": "relative_flatness",
}
"""An explorable, and the chapter that begins with it."""
OUT = Path(__file__).parents[1] / "book" / "_static" / "thumbnails"
WIDTH, HEIGHT = 640, 320
WHOLE = OUT.parent / "sam_saddle.png"
"""The README's picture, which a shared page without one of its own shows, too: the first explorable uncut."""


def main() -> None:
    """Take them at the width of a chapter, cut to one shape."""
    with served(SITE) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        for name, chapter in PAGES.items():
            page = browser.new_page(
                viewport={"width": 1280, "height": 1000}, reduced_motion="reduce", device_scale_factor=1.5
            )
            page.goto(f"{address}/book/toys/{chapter}.html")
            frame = page.locator(f'[data-explorable="{name}"]').first
            frame.locator(".flatlab-toolbar").wait_for(state="attached")
            page.wait_for_function("!document.querySelector('[aria-busy=true]')")
            picture = Image.open(
                io.BytesIO(frame.locator(".flatlab-panels, .flatlab-curves, .flatlab-plot").first.screenshot())
            )
            if name == "SamSaddle":
                # A drawing has few colours: with a palette it is a third as large.
                picture.convert("RGB").quantize(dither=Image.Dither.NONE).save(WHOLE, optimize=True)
            cut = picture.crop((0, 0, picture.width, min(picture.height, picture.width * HEIGHT // WIDTH)))
            cut.convert("RGB").resize((WIDTH, HEIGHT)).save(OUT / f"{name}.webp", quality=80)
        browser.close()


if __name__ == "__main__":
    main()
