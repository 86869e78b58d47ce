"""What every explorable owes its reader, tested in a real browser on each that stands in a room.

It draws without a script error and asks no other host; all of it is reached by keyboard, and named; every slider goes from
end to end of the range that Python states; no control is dead; its state travels by the address, and a bad address is put
right; and it fits a narrow screen.
"""

from itertools import cycle
from urllib.parse import parse_qs, urlsplit

import pytest
import traitlets

from flatlab.runs import records
from flatlab.widgets import PairedRuns, RunCurves
from tests.browser.gestures import drawn, until
from tests.rooms import ROOT, explorables
from tests.widgets import test_paired_runs, test_run_curves
from toy_problems import LebesgueLens, SuccessRates

EVERY = pytest.mark.parametrize("cls", explorables(), ids=lambda cls: cls.__name__)
STILL = {"reduced_motion": "reduce"}
"""An animation would change the page by itself, and no control could be told dead."""
CHOSEN = """(frame) => [...frame.querySelectorAll('input, select, .flatlab-knob')].map((control) =>
  control.type === 'radio' || control.type === 'checkbox' ? control.checked :
    control.ariaValueText || control.value || control.ariaLabel)"""
LOOKS = """(frame) => {
  const rest = frame.cloneNode(true);
  for (const own of rest.querySelectorAll('label, output, script, style, select, button, .flatlab-toolbar')) own.remove();
  const shapes = [...rest.querySelectorAll('svg')].map((svg) => svg.innerHTML.replace(/clip[\\w-]+/g, ''));
  const canvases = [...frame.querySelectorAll('canvas')].map((canvas) => canvas.toDataURL());
  return [rest.textContent, ...shapes, ...canvases].join('|');
}"""
TABBED = """(frame) => {
  const all = [...frame.querySelectorAll('input, select, button')];
  const labelled = (x) => [...(x.labels ?? [])].some((label) => label.textContent.trim());
  const named = (x) => Boolean(x.ariaLabel || x.textContent.trim() || labelled(x));
  return all.map((x, k) => {
    x.dataset.stop = k;
    const group = x.type === 'radio' && all.some((y) => y.type === 'radio' && y.name === x.name && y.checked);
    const reached = x.checkVisibility() && !x.disabled && !(group && !x.checked);
    return {stop: String(k), named: named(x), reached};
  });
}"""


def frozen(experiment):
    return records.find(ROOT / "book" / "results", experiment)[0]


FROM_RECORDS = {
    LebesgueLens: lambda: LebesgueLens.of(frozen("network_slice")),
    SuccessRates: lambda: SuccessRates.of(frozen("lucchi_success_rate")),
    RunCurves: lambda: RunCurves.of(test_run_curves.records()),
    PairedRuns: lambda: PairedRuns.of(
        test_paired_runs.records(), test_paired_runs.reported(), problem=test_paired_runs.CIFAR100
    ),
}
"""Those that draw records, with some to draw."""


def made(cls):
    return FROM_RECORDS.get(cls, cls)()


def looks(frame):
    """What stands there besides the controls: text and drawings."""
    return frame.evaluate(LOOKS)


def rest(frame):
    """Wait until nothing moves: what a worker still computes is on its way."""
    drawn(frame)
    before = None
    while before != (now := looks(frame)) or frame.locator('[aria-busy="true"]').count():
        before = now
        frame.page.wait_for_timeout(80)
    return now


def state(frame, widget):
    """The state as the address has it; what it leaves out is as it was."""
    name = type(widget).__name__
    query = parse_qs(urlsplit(frame.page.url).query)
    told = {key.partition(".")[2]: values[0] for key, values in query.items() if key.startswith(f"{name}.")}
    return {key: type(getattr(widget, key))(told.get(key, getattr(widget, key))) for key in widget.ranges()}


def put(control, share):
    control.evaluate(
        """(input, share) => {
          const [low, high] = [Number(input.min), Number(input.max)];
          input.value = input.type === 'range' ? Math.round(low + share * (high - low)) : low + share * (high - low);
          for (const kind of ['input', 'change']) input.dispatchEvent(new Event(kind, {bubbles: true}));
        }""",
        share,
    )


def reset(frame):
    frame.get_by_role("button", name="Reset", exact=True).click()
    return rest(frame)


def situations(frame):
    """Ways to begin, as functions: as it stands, and with one of its buttons; some controls answer in one of them only."""
    yield lambda: reset(frame)
    for k in range(frame.locator(".flatlab-presets button").count()):
        button = frame.locator(".flatlab-presets button").nth(k)
        if button.is_visible() and button.is_enabled():
            yield lambda button=button: (reset(frame), button.click(), rest(frame))


def changes(frame, act):
    """Whether the page looks another way after it."""
    before = rest(frame)
    act()
    return rest(frame) != before


@EVERY
def test_all_of_it_is_reached_by_keyboard_and_named(cls, stand):
    frame = stand(made(cls), **STILL)
    rest(frame)
    stops = frame.evaluate(TABBED)
    assert all(stop["named"] for stop in stops if stop["reached"]), "a control without a name"
    wanted, seen = {stop["stop"] for stop in stops if stop["reached"]}, set()
    frame.page.locator("body").focus()
    for _ in range(len(stops) + 5):
        frame.page.keyboard.press("Tab")
        seen.add(frame.page.evaluate("document.activeElement.dataset.stop"))
    assert wanted and wanted <= seen
    for knob in frame.locator(".flatlab-knob").all():
        before = knob.get_attribute("aria-label")
        assert changes(frame, lambda knob=knob: knob.press("Shift+ArrowLeft"))
        assert knob.get_attribute("aria-label") != before


@EVERY
def test_sliders_go_from_end_to_end_of_their_range_in_python(cls, stand):
    widget = made(cls)
    frame = stand(widget, **STILL)
    rest(frame)
    for name, allowed in widget.ranges().items():
        for control in frame.locator(f'input[type="range"][data-name="{name}"]').all():
            for share, end in ((0, allowed["min"]), (1, allowed["max"])):
                put(control, share)
                until(
                    frame, lambda name=name, end=end: state(frame, widget)[name] == pytest.approx(end, rel=5e-3, abs=1e-12)
                )
            frame.get_by_role("button", name="Reset", exact=True).click()


@EVERY
def test_no_control_is_dead(cls, stand):
    frame = stand(made(cls), **STILL)
    rest(frame)
    names = set(frame.evaluate("(frame) => [...frame.querySelectorAll('[data-name]')].map((x) => x.dataset.name)"))
    silent = {*names, *(f"button {k}" for k in range(frame.locator(".flatlab-presets button").count()))}
    for begin in situations(frame):
        for name in sorted(silent):
            begin()
            if name in names and answers(frame, name):
                silent.discard(name)
            if name not in names:
                button = frame.locator(".flatlab-presets button").nth(int(name.split()[1]))
                if button.is_enabled() and changes(frame, button.click):
                    silent.discard(name)
        if not silent:
            break
    assert not silent


def answers(frame, name):
    """Whether anything changes between the values that the control of this name can take."""
    controls = frame.locator(f'[data-name="{name}"]')
    first = controls.first
    if not first.is_visible():
        return False
    if first.evaluate("(x) => x.tagName") == "SELECT":
        values = first.locator("option").evaluate_all("(all) => all.map((x) => x.value)")
        return any(changes(frame, lambda v=v: first.select_option(v)) for v in [*values[1:], values[0]])
    if first.get_attribute("type") == "checkbox":
        return changes(frame, first.click)
    if first.get_attribute("type") == "radio":
        several = [k for k in range(controls.count()) if not controls.nth(k).is_checked()]
        return any(changes(frame, controls.nth(k).click) for k in several)
    put(first, 0)
    return any(changes(frame, lambda share=share: put(first, share)) for share in (1, 0.6))  # 180 degrees are 0 degrees


@EVERY
def test_the_state_travels_by_the_address(cls, stand):
    widget = made(cls)
    frame = stand(widget, **STILL)
    rest(frame)
    begun = frame.evaluate(CHOSEN)
    for control in frame.locator('input[type="range"], input[type="number"]').all():
        put(control, 0.7)
    for group in {x.get_attribute("name") for x in frame.locator('input[type="radio"]').all()}:
        frame.locator(f'input[name="{group}"]').last.click()
    for knob in frame.locator(".flatlab-knob").all():
        knob.press("Shift+ArrowLeft")
    rest(frame)
    frame.get_by_role("button", name="Copy link to this state").click()
    chosen = frame.evaluate(CHOSEN)
    assert chosen != begun
    frame.page.wait_for_timeout(300)  # the address follows once the reader's hand rests
    until(frame, lambda: urlsplit(frame.page.url).query)
    address = frame.page.url
    again = stand(widget, urlsplit(address).query, **STILL)
    rest(again)
    assert again.evaluate(CHOSEN) == chosen
    reset(again)
    assert again.evaluate(CHOSEN) == begun
    until(again, lambda: not urlsplit(again.page.url).query)


@EVERY
def test_a_bad_address_is_put_right(cls, stand):
    """Of the numbers every third is too large, too small, or none."""
    simple = [n for n in cls.public_state() if not isinstance(cls.class_traits()[n], traitlets.Dict)]
    bad = zip(simple, cycle(["1e99", "-1e99", "nonsense"]))
    frame = stand(made(cls), "&".join(f"{cls.__name__}.{name}={value}" for name, value in bad), **STILL)
    rest(frame)
    assert frame.locator(".flatlab-toolbar").is_visible()
    for control in frame.locator('input[type="range"]').all():
        low, now, high = map(float, control.evaluate("(x) => [x.min, x.value, x.max]"))
        assert low <= now <= high


@EVERY
def test_it_fits_a_narrow_screen(cls, stand):
    frame = stand(made(cls), viewport={"width": 320, "height": 700}, color_scheme="dark", **STILL)
    rest(frame)
    ends = "(el) => [...el.querySelectorAll('input, button, select')].map((x) => x.getBoundingClientRect().right)"
    assert max(frame.evaluate(ends)) <= 320
    assert frame.page.evaluate("document.documentElement.scrollWidth") <= 320
