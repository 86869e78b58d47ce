"""A curve that a reader draws before seeing it: what the page needs of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from flatlab.palette import PALETTE

__all__ = ["Axis", "Line", "Sketch"]


@dataclass(frozen=True)
class Axis:
    """A linear axis: what stands beside it, its ends, how a value on it is called in a sentence, and its unit."""

    label: str
    low: float
    high: float
    symbol: str = ""
    unit: str = ""

    def told(self, value: float) -> str:
        """The value as a reader sees it, to a hundredth of the axis.

        >>> Axis("share", 0, 100, unit="%").told(14.2)
        '14%'
        """
        digits = max(0, -_exponent((self.high - self.low) / 100))
        return f"{round(value, digits):.{digits}f}{self.unit}"


@dataclass(frozen=True)
class Line:
    """A curve through points, in the colour of a method if `name` is one."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Sketch:
    """A question that is answered by drawing: two axes, the true curve, and perhaps one that is `given`.

    The reader moves one point over every `every`-th point of the truth, the first and the last among them. Raises
    `ValueError` where that cannot be, or where a curve leaves the axes.

    >>> Sketch(Axis("x", 0, 2), Axis("y", 0, 4), Line("square", [0, 1, 2], [0, 1, 4])).places
    [0, 1, 2]
    """

    x: Axis
    y: Axis
    truth: Line
    given: Line | None = None
    every: int = 1

    def __post_init__(self):
        if self.every < 1 or (len(self.truth.x) - 1) % self.every or len(self.truth.x) <= self.every:
            raise ValueError(f"points {self.every} apart do not end at the last of {len(self.truth.x)}")
        for line in filter(None, (self.truth, self.given)):
            for axis, values in ((self.x, line.x), (self.y, line.y)):
                if not axis.low <= min(values) <= max(values) <= axis.high:
                    raise ValueError(f"{line.name}: {axis.label} must lie between {axis.low} and {axis.high}")

    @property
    def places(self) -> list[float]:
        """Where the reader's points are."""
        return list(self.truth.x[:: self.every])

    @property
    def answers(self) -> list[float]:
        """The truth there."""
        return list(self.truth.y[:: self.every])

    def data(self) -> str:
        """All of it for `sketch.mjs`, as JSON, with the colours of the curves."""
        told = asdict(self) | {"places": self.places, "answers": self.answers}
        for line in filter(None, (told["truth"], told["given"])):
            line["colour"] = PALETTE["methods"].get(line["name"])
        return json.dumps(told)

    def table(self) -> str:
        """The truth at the reader's points in HTML, for who does not see the plot."""
        cells = lambda tag, told: "".join(f"<{tag}>{one}</{tag}>" for one in told)  # noqa: E731
        head = cells("th", [self.x.symbol or self.x.label, *(f"{place:g}" for place in self.places)])
        body = "<th>it is</th>" + cells("td", map(self.y.told, self.answers))
        drawn = f"<thead><tr>{head}</tr></thead><tbody><tr>{body}</tr></tbody>"
        return f'<div class="flatlab-scrolls" style="overflow-x: auto"><table class="table">{drawn}</table></div>'


def _exponent(value: float) -> int:
    """Of the power of ten at or below a positive value.

    >>> _exponent(0.005), _exponent(1), _exponent(30)
    (-3, 0, 1)
    """
    return int(f"{value:e}".split("e")[1])
