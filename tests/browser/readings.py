"""What a reader's eye finds on an explorable: its words, what a slider says, the numbers of its table."""

from tests.browser.gestures import drawn


def words(frame):
    return frame.locator(".flatlab-status").inner_text()


def cells(frame, row):
    texts = frame.locator(f'tr[data-row="{row}"] td').all_inner_texts()
    return [float(t.replace("−", "-")) for t in texts if t not in ("", "–")]


def row(frame, name, column=0):
    return frame.locator(f'tr[data-row="{name}"] td').nth(column).inner_text()


def number(frame, name, column=0):
    return float(row(frame, name, column).replace("−", "-").split("; ")[-1])


def said_after(frame, preset):
    frame.get_by_role("button", name=preset).click()
    drawn(frame)
    return words(frame)
