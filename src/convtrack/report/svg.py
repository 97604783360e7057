"""Charts as SVG inside a page: their colours follow its theme, their text is text, and they need no script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

MOST_DOTS = 60  # dots would hide a line that has more points
WIDTH, LEFT, RIGHT, TOP, BELOW = 440, 48, 432, 30, 36  # in units of the drawing, BELOW from the lower edge

Numbers = Sequence[float] | np.ndarray
Show = Callable[[float], str]


@dataclass(frozen=True)
class Line:
    """`y` over `x`, interrupted where it is NaN; `colour` is a class of the page's style."""

    label: str
    x: Numbers
    y: Numbers
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Bar:
    """A bar of height `y` from `low` to `high` on the x-axis; `label` appears when the mouse is over it."""

    low: float
    high: float
    y: float
    label: str


def in_percent(value: float) -> str:
    """A number from 0 to 1, in percent."""
    return f"{100 * value:.4g} %"


def plain(value: float) -> str:
    """A number with four digits or fewer, or with commas between its thousands."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


@dataclass(frozen=True)
class _Axis:
    """Values from `low` to `high` on the drawing from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low or 1
        return round(float(self.start + (value - self.low) / span * (self.end - self.start)), 1)

    def ticks(self, values: list[float], show: Show) -> list[dict[str, Any]]:
        return [{"at": self(value), "label": show(value)} for value in values]


def chart(
    title: str,
    description: str,
    x_label: str,
    lines: Sequence[Line] = (),
    bars: Sequence[Bar] = (),
    *,
    marks: Sequence[tuple[float, str]] = (),
    y_limits: tuple[float, float] | None = None,
    shaded: bool = False,
    show_x: Show = plain,
    show_y: Show = plain,
    whole: bool = False,
    height: int = 250,
) -> dict[str, Any]:
    """What templates/chart.html draws, in units of the drawing.

    `description` is for those who cannot see it. `marks` are vertical lines: x and label. `y_limits` are widened to
    round numbers; by default they are the lowest and the highest value. `shaded`: the area between the first two lines.
    `whole`: only whole numbers at the x-axis.
    """
    xs = [float(x) for line in lines for x in line.x] + [end for bar in bars for end in (bar.low, bar.high)]
    ys = [float(y) for line in lines for y in line.y if np.isfinite(y)] + [bar.y for bar in bars]
    y_numbers = _round_numbers(*(y_limits or (min(ys, default=0), max(ys, default=1))), 5)
    x_axis = _Axis(min(xs), max(xs), LEFT, RIGHT)
    y_axis = _Axis(y_numbers[0], y_numbers[-1], height - BELOW, TOP)
    x_numbers = [x for x in _round_numbers(x_axis.low, x_axis.high, 7, whole=whole) if x_axis.low <= x <= x_axis.high]

    def words(x: float, y: float) -> str:
        return f"{show_y(y)} at {x_label} {show_x(x)}"

    return {
        "title": title,
        "description": description,
        "x_label": x_label,
        "size": {"width": WIDTH, "height": height, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": height - BELOW},
        "x_ticks": x_axis.ticks(x_numbers, show_x),
        "y_ticks": y_axis.ticks(y_numbers, show_y),
        "area": _area(lines[0], lines[1], x_axis, y_axis) if shaded else "",
        "bars": [
            {
                "x": x_axis(bar.low) + 0.5,
                "y": y_axis(bar.y),
                "width": round(x_axis(bar.high) - x_axis(bar.low) - 1, 1),
                "height": round(y_axis(y_axis.low) - y_axis(bar.y), 1),
                "label": bar.label,
            }
            for bar in bars
        ],
        "marks": [
            # every other label stands higher, because marks may be close
            {"at": x_axis(x), "label": label, "anchor": _anchor(x_axis(x)), "label_y": TOP - 4 - 12 * (number % 2)}
            for number, (x, label) in enumerate(marks)
        ],
        "lines": [_line(line, x_axis, y_axis, words) for line in lines],
    }


def _line(line: Line, x_axis: _Axis, y_axis: _Axis, words: Callable[[float, float], str]) -> dict[str, Any]:
    points = [(float(x), float(y)) for x, y in zip(line.x, line.y, strict=True)]
    path, pen = "", "M"
    for x, y in points:
        finite = bool(np.isfinite(y))
        path += f"{pen}{x_axis(x)} {y_axis(y)}" if finite else ""
        pen = "L" if finite else "M"
    shown = [(x, y) for x, y in points if np.isfinite(y)] if len(points) <= MOST_DOTS else []
    dots = [{"x": x_axis(x), "y": y_axis(y), "label": f"{line.label}: {words(x, y)}"} for x, y in shown]
    return {"label": line.label, "colour": line.colour, "dashed": line.dashed, "path": path, "dots": dots}


def _area(above: Line, below: Line, x_axis: _Axis, y_axis: _Axis) -> str:
    """The outline of what is between two lines over the same x, left out where one of them is NaN."""
    rows = [row for row in zip(above.x, above.y, below.y, strict=True) if np.isfinite(row).all()]
    there = [f"{x_axis(x)} {y_axis(y)}" for x, y, _ in rows]
    back = [f"{x_axis(x)} {y_axis(y)}" for x, _, y in reversed(rows)]
    return f"M{'L'.join(there + back)}Z" if rows else ""


def _anchor(at: float) -> str:
    """How a label stands at its mark, so that it stays in the drawing."""
    return "start" if at < LEFT + 60 else "end" if at > RIGHT - 60 else "middle"


def _round_numbers(low: float, high: float, most: int, *, whole: bool = False) -> list[float]:
    """Up to about `most` round numbers from `low` or just below it to `high` or just above it."""
    locator = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10], integer=whole, min_n_ticks=2)
    return [round(float(value), 12) for value in locator.tick_values(low, high)]
