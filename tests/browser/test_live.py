"""The same explorable as a live widget: in JupyterLab, with its state in sync with Python both ways."""

import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import nbformat
import pytest

CELLS = [
    "from toy_problems import SamSaddle\nwidget = SamSaddle(lr=0.2, x=-0.6)\nwidget",
    "print('Python sees', widget.x, widget.y, widget.method)",
    "widget.rho = 0.4",
]


@pytest.fixture
def lab(tmp_path):
    """JupyterLab on a port of this machine, with one notebook."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text) for text in CELLS], metadata={"kernelspec": kernel}
    )
    nbformat.write(notebook, tmp_path / "live.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "ServerApp.root_dir": tmp_path,
        "ServerApp.port": port,
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "IdentityProvider.token": "",
        "LabApp.news_url": "None",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    words = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in settings.items())]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api").close()
            break
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, "JupyterLab has ended"
            time.sleep(0.25)
    yield f"http://127.0.0.1:{port}/lab/tree/live.ipynb"
    server.terminate()
    server.wait()


def test_state_is_in_sync_both_ways_in_jupyterlab(browser, lab):
    page = browser.new_page(viewport={"width": 1400, "height": 1100})
    page.set_default_timeout(0)  # a loaded machine takes minutes to start a kernel
    page.goto(lab)
    cells = page.locator(".jp-CodeCell .cm-content")
    cells.nth(2).wait_for()

    def run(k):
        """Run a cell, again until it has run: JupyterLab drops a key press while it still sets itself up."""
        prompt = page.locator(".jp-CodeCell .jp-InputPrompt").nth(k)
        while not re.search(r"\[\d+\]", text := prompt.inner_text()):
            if "*" not in text:
                cells.nth(k).click()
                page.keyboard.press("Shift+Enter")
            page.wait_for_timeout(500)

    run(0)
    knob = page.locator(".flatlab-knob")
    knob.wait_for()
    page.locator(".flatlab-census li[data-fate]").first.wait_for()
    assert "GD reached (1, 1)" in page.locator(".flatlab-status").inner_text()
    knob.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.locator("input[value=StableSAM]").check()
    page.wait_for_timeout(500)
    run(1)
    page.get_by_text("Python sees -0.5 1.6 StableSAM").wait_for()
    run(2)
    shown = page.locator(".flatlab-control:has(input[data-name=rho]) input[type=number]")
    page.wait_for_function("(el) => el.value === '0.4'", arg=shown.element_handle())
    page.close()
