"""What pages of the built site cost a reader: files, bytes as a server compresses them, and processor time."""

import gzip
import statistics

from playwright.sync_api import sync_playwright

from tests.browser.served import SITE, browser_path, served

PAGES = ("book/index", "book/toys/sam_saddle", "book/scale/stability")
SLOWER, ROUNDS = 4, 3


def main():
    """Print, for each page with its first toy live: files, kilobytes, and the time of the renderer's main thread."""
    with served(SITE) as site, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        total = sum(file.stat().st_size for file in SITE.rglob("*") if file.is_file() and "records" not in file.parts)
        print(f"The site without its records: {total / 1e6:.1f} MB")
        print(f"Chromium {browser.version}, its processor slowed down {SLOWER} times")
        for path in PAGES:
            rounds = [visit(browser, f"{site}/{path}.html") for _ in range(ROUNDS)]
            sizes = rounds[0][0]
            late = sum(size for url, size in sizes.items() if "plotly" in url or "/mathjax/" in url)
            seconds = statistics.median(seconds for _, seconds in rounds)
            print(
                f"   {path}: {len(sizes)} files, {(sum(sizes.values()) - late) / 1e3:.0f} kB to the first paint, "
                f"{sum(sizes.values()) / 1e3:.0f} kB with its toy live; {seconds:.1f} s of the renderer's main thread"
            )
        browser.close()


def visit(browser, address):
    """Compressed size of each file, and processor time of the main thread until the toy is drawn."""
    page, sizes = browser.new_page(viewport={"width": 1280, "height": 900}), {}
    page.on("response", lambda r: sizes.update({r.url: len(gzip.compress(r.body()))}))
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    devtools.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    page.goto(address, wait_until="networkidle")
    page.locator("[data-explorable]").first.scroll_into_view_if_needed()
    page.locator("[data-explorable] .js-plotly-plot").first.wait_for(timeout=60_000)
    page.wait_for_load_state("networkidle")
    metrics = {metric["name"]: metric["value"] for metric in devtools.send("Performance.getMetrics")["metrics"]}
    page.close()
    return sizes, metrics["TaskDuration"]
