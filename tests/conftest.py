"""A real browser, cut off from every other host: on the built site, or on a page that holds one explorable."""

import gc
import shutil
import subprocess
import sys

import pytest

from flatlab.explorable.face import CODES, KINDS, build
from tests.browser.served import SITE, browser_path, served

CHAPTER = "book/toys/sam_saddle.html"
IMPORT = """async ([source, body, argument]) => {
  const module = await import(URL.createObjectURL(new Blob([source], {type: "text/javascript"})));
  return new Function("module", "argument", body)(module, argument);
}"""
REMEDY = (
    "the browser tests need Chromium or Chrome: install one (Debian and Ubuntu: apt-get install chromium), "
    "or let Playwright fetch its own: .venv/bin/playwright install chromium"
)
PAGE = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>An explorable</title><link rel="icon" href="data:,">
<style>
  body {{ margin: 8px; }}
  @media (prefers-color-scheme: dark) {{ body {{ background: #141414; color: #eee; }} }}
</style>
{body}<p style="height: 100vh"></p>"""


def pytest_collection_modifyitems(items):
    """A quick check leaves out what needs a browser or the built site."""
    for item in items:
        reads = hasattr(getattr(item, "module", None), "SITE")
        if reads or {"browser", "site"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.site)


@pytest.fixture(scope="module", autouse=True)
def settled():
    """What is imported stays: neither the collector nor an optimizer in search of modules walks through it in each test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def site():
    if not (SITE / CHAPTER).exists():
        pytest.fail(f"{SITE / CHAPTER} is not there: run 'make book' first", pytrace=False)
    with served(SITE) as address:
        yield address


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import Error, sync_playwright  # only these tests need it

    with sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        except Error:
            subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], capture_output=True)
            try:
                started = playwright.chromium.launch(args=["--no-sandbox"])
            except Error as error:
                pytest.fail(f"{REMEDY}\n{error}", pytrace=False)
        yield started
        started.close()


@pytest.fixture(scope="session")
def call(browser):
    """`call(modules, names, body, argument)` runs `body` in the browser, with these names of the modules as `module`."""
    from flatlab.explorable.bundle import bundle

    page = browser.new_page()
    page.goto("about:blank")

    def called(modules, names, body, argument=None):
        modules = (modules,) if isinstance(modules, str) else modules
        source = bundle(*modules, exports=False) + "".join(f"\nexport {{ {name} }};" for name in names)
        return page.evaluate(IMPORT, [source, body, argument])

    yield called
    page.close()


@pytest.fixture
def visit(browser):
    """`visit(base, path, **context)` gives a page; the test fails on a script error or a request to another host.

    Equations stay as they are written unless `equations` is asked for: setting them is half of a page's loading time.
    `script` runs before the page's own; `allowed` are further hosts.
    """
    contexts, troubles = [], []

    def opened(base, path, offline=False, equations=False, script="", allowed=(), **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        context.set_offline(offline)
        context.add_init_script(script)

        def guard(route):
            if "/_static/mathjax/" in route.request.url and not equations:
                route.fulfill(content_type="text/javascript", body="")
            elif route.request.url.startswith((base, *allowed, "file:", "blob:", "data:")):
                route.continue_()
            else:
                troubles.append(f"asked for {route.request.url}")
                route.abort()

        if not offline:
            context.route("**/*", guard)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(f"script error: {error}"))
        unasked = ("net::ERR_ABORTED", "csp")  # the page was left before all of it had come, or it runs no scripts
        page.on("requestfailed", lambda r: r.failure in unasked or troubles.append(f"failed: {r.url}, {r.failure}"))
        page.on("response", lambda r: r.status >= 400 and troubles.append(f"{r.status}: {r.url}"))
        page.on("console", lambda m: m.type == "error" and troubles.append(f"console: {m.text}"))
        page.goto(f"{base}/{path}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not troubles, "\n".join(troubles)


@pytest.fixture
def open_page(visit, site):
    """`open_page(path, **context)` gives a page of the built site, as `visit` does."""

    def opened(path=CHAPTER, base=None, **options):
        return visit(base or site, path, **options)

    return opened


@pytest.fixture
def explorable():
    """`explorable(page, name)` scrolls to an explorable and waits until it is drawn."""

    def shown(page, name):
        frame = page.locator(f'[data-explorable="{name}"]').first
        frame.scroll_into_view_if_needed()
        frame.locator(".flatlab-toolbar, .js-plotly-plot").first.wait_for(state="attached", timeout=20_000)
        page.wait_for_timeout(100)
        return frame

    return shown


@pytest.fixture(scope="session")
def stage(tmp_path_factory):
    """A folder that is served, with what explorables fetch where pages have it: its path and its address."""
    folder = tmp_path_factory.mktemp("stage")
    (folder / "_static").mkdir()
    for file in (*map(build, KINDS), CODES):
        shutil.copy(file, folder / "_static")
    with served(folder) as address:
        yield folder, address


@pytest.fixture
def stand(visit, explorable, stage):
    """`stand(widget, query, **context)` shows an explorable on a page of its own and gives it, drawn. It needs no site.

    `copies` of it stand there; `query` is what the address says after the question mark.
    """
    folder, address = stage

    def shown(widget, query="", copies=1, **options):
        name = type(widget).__name__
        bodies = [widget._repr_mimebundle_()[0]["text/html"] for _ in range(copies)]
        (folder / "page.html").write_text(PAGE.format(body="".join(bodies)))
        return explorable(visit(address, f"page.html?{query}", **options), name)

    return shown
