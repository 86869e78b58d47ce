"""What pages of the built site cost a reader: files, bytes as a server compresses them, and processor time."""

import gzip
import statistics

from playwright.sync_api import sync_playwright

from tests.browser.served import SITE, browser_path, served

PAGES = ("book/index", "book/toys/sam_saddle", "book/scale/stability")
SLOWER, ROUNDS = 4, 3


def main():
    """Print, for each page with its first toy live: files, kilobytes, and what its processor has to do."""
    with served(SITE) as site, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        total = sum(file.stat().st_size for file in SITE.rglob("*") if file.is_file() and "records" not in file.parts)
        print(f"The site without its records: {total / 1e6:.1f} MB")
        print(f"Chromium {browser.version}, its processor slowed down {SLOWER} times")
        for path in PAGES:
            rounds = [visit(browser, f"{site}/{path}.html") for _ in range(ROUNDS)]
            sizes = rounds[0][0]
            late = sum(size for url, size in sizes.items() if any(name in url for name in ("plotly", "/mathjax/", "uqr")))
            drawn, quiet = (statistics.median(seconds[k] for _, seconds in rounds) for k in (0, 1))
            print(
                f"   {path}: {len(sizes)} files, {(sum(sizes.values()) - late) / 1e3:.0f} kB to the first paint, "
                f"{sum(sizes.values()) / 1e3:.0f} kB with its toy live; the renderer's main thread takes {drawn:.1f} s "
                f"until the toy answers, {quiet:.1f} s until the page is quiet"
            )
        browser.close()


def visit(browser, address):
    """Compressed size of each file, and processor time of the main thread until the toy is drawn and until all is done."""
    page, answers = browser.new_page(viewport={"width": 1280, "height": 900}), []
    page.on("response", lambda answer: answers.append(answer))
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    devtools.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})

    def spent():
        return {m["name"]: m["value"] for m in devtools.send("Performance.getMetrics")["metrics"]}["TaskDuration"]

    page.goto(address, wait_until="commit")
    toy = page.locator("[data-explorable]").first
    toy.scroll_into_view_if_needed(timeout=60_000)
    toy.locator(".flatlab-toolbar").wait_for(state="attached", timeout=60_000)
    drawn = spent()
    page.wait_for_load_state("networkidle")
    quiet = spent()
    sizes = {answer.url: len(gzip.compress(answer.body())) for answer in list(answers)}
    page.close()
    return sizes, (drawn, quiet)
