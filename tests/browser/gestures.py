"""What a reader's hand does, and the wait until the page has answered: a fixed pause is too short on a busy machine."""

from time import monotonic


def drawn(frame):
    """Wait until the explorables have drawn what was changed: they do so in the next animation frame."""
    frame.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def set_equations(page):
    """Have all equations of a page set, also those that no reader has come near."""
    page.evaluate("window.flatlabFormulas?.().then(() => MathJax.startup.document.lazyTypesetAll()).then(() => null)")


def mapped(frame):
    """Wait until the basin map answers the controls: a worker computes it."""
    drawn(frame)
    frame.locator('.flatlab-map[aria-busy="false"]').wait_for(timeout=20_000)


def until(frame, true, seconds=20):
    """Wait until `true()` is."""
    end = monotonic() + seconds
    while not true():
        assert monotonic() < end, f"not so within {seconds} seconds"
        frame.page.wait_for_timeout(50)


def press(frame, name):
    frame.get_by_role("button", name=name, exact=True).click()
    drawn(frame)


def tick(frame, label):
    """Choose a radio button or tick a box by its label."""
    frame.get_by_label(label, exact=True).check()
    drawn(frame)


def slide(frame, name, share):
    """Move a slider to a share of its way, as a reader's drag does."""
    frame.locator(f'input[type="range"][data-name="{name}"]').evaluate(
        "(input, share) => { input.value = Math.round(share * input.max); input.dispatchEvent(new Event('input')); }", share
    )
    drawn(frame)


def shown(frame, name):
    """The number beside a slider, as the reader sees it."""
    beside = ':is(output, input[type="number"])'
    return float(frame.locator(f'.flatlab-control:has([data-name="{name}"]) {beside}').evaluate("(x) => x.value"))
