"""How soon the explorable of Lucchi's saddle answers in headless Chromium, from the input event to the drawing."""

import statistics

from playwright.sync_api import sync_playwright

from tests.browser.served import SITE, browser_path, served

MEASURES = "performance.getEntriesByName(name).map((entry) => entry.duration)"


def main():
    """Print medians and worst cases over 40 moves of a slider and 40 drags, for each method."""
    with served(SITE) as site, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{site}/book/toys/sam_saddle.html")
        frame = page.locator('[data-explorable="SamSaddle"]')
        frame.locator(".flatlab-toolbar").wait_for(timeout=20_000)
        print(f"Explorable of the saddle, Chromium {browser.version}, 256 x 256 starts, 300 steps")
        for method in ("GD", "SAM", "StableSAM"):
            frame.get_by_label(method, exact=True).check()
            page.wait_for_timeout(1500)  # the engine compiles the loop the first time a method is asked for
            page.evaluate("performance.clearMeasures()")
            for k in range(40):
                frame.locator('input[data-name="lr"]').evaluate(
                    "(input, k) => { input.value = 240 + 3 * k; input.dispatchEvent(new Event('input')); }", k
                )
                page.wait_for_timeout(120)
            report(page, f"basin map of {method}", "flatlab:basin")
        page.evaluate("performance.clearMeasures()")
        for k in range(40):
            frame.locator(".flatlab-knob").press("ArrowLeft" if k % 2 else "ArrowDown")
            page.wait_for_timeout(50)
        report(page, "three trajectories and their curves", "flatlab:runs")
        browser.close()


def report(page, what, name):
    """One line: median and worst of a measure."""
    times = page.evaluate(f"(name) => {MEASURES}", name)
    print(f"   {what}: median {statistics.median(times):.1f} ms, worst {max(times):.1f} ms of {len(times)}")
