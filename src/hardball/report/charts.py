"""Charts as geometry: the numbers of a chart in, coordinates of an SVG drawing out.

The drawing is complete without a script; a script adds what is read off under the pointer.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hardball.report.blocks import Chart, Line, Table

WIDTH, HEIGHT = 440, 290
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 30, 46
"""Of the drawing and its margins, in its own units: about pixels."""

MARKED = 30
"""Lines of more points have no markers, and a band for their intervals."""

MARKERS = ("circle", "square", "triangle", "diamond")


@dataclass(frozen=True)
class Axis:
    """Numbers → places along one axis."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (
            (math.log10(v) for v in (self.low, self.high, value))
            if self.log
            else (self.low, self.high, value)
        )
        share = (value - low) / (high - low)
        return round(self.start + share * (self.end - self.start), 1)


@dataclass(frozen=True)
class Drawn:
    """A chart with places: what its template draws."""

    chart: Chart
    x: Axis
    y: Axis
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    lines: list[dict[str, Any]]
    levels: list[dict[str, Any]]
    points: list[dict[str, Any]]
    """For the pointer: at each x the place, its text, and what each line has there."""

    @property
    def box(self) -> dict[str, float]:
        return {
            "width": WIDTH,
            "height": HEIGHT,
            "left": LEFT,
            "right": WIDTH - RIGHT,
            "top": TOP,
            "bottom": HEIGHT - BOTTOM,
        }


def draw(chart: Chart) -> Drawn:
    """Places for everything in the chart. It has at least one point."""
    x, y = _x_axis(chart), _y_axis(chart)
    return Drawn(
        chart=chart,
        x=x,
        y=y,
        x_ticks=[(x(v), f"{v:g}") for v in _ticks(x.low, x.high, 6, whole=chart.whole)],
        y_ticks=[(y(v), _tick_text(chart, v)) for v in _y_ticks(chart, y)],
        lines=[_line(line, x, y) for line in chart.lines],
        levels=[
            {
                "name": level.name,
                "upright": level.upright,
                "at": (x if level.upright else y)(level.at),
            }
            for level in chart.levels
        ],
        points=_points(chart, x, y),
    )


def table_of(chart: Chart) -> Table:
    """The chart's numbers."""
    rows = []
    for position in _positions(chart.lines):
        cells = [f"{position:.4g}"]
        for line in chart.lines:
            place = _place(line, position)
            cells.append("" if place is None else _value_text(chart, line, place))
        rows.append(cells)
    return Table(
        columns=[chart.x_label, *(line.name for line in chart.lines)],
        rows=rows,
        folded=f"{chart.title}: the numbers",
    )


def description(chart: Chart) -> str:
    """The chart in words: where each line begins and ends."""
    parts = [
        f"{line.name}: {format(line.y[0], chart.y_format)} at {line.x[0]:.4g}, "
        f"{format(line.y[-1], chart.y_format)} at {line.x[-1]:.4g}"
        for line in chart.lines
        if line.x
    ]
    return f"{chart.title}. {chart.y_label} by {chart.x_label}. " + "; ".join(parts)


def _positions(lines: Iterable[Line]) -> list[float]:
    return sorted({position for line in lines for position in line.x})


def _place(line: Line, position: float) -> int | None:
    return line.x.index(position) if position in line.x else None


def _value_text(chart: Chart, line: Line, place: int) -> str:
    text = format(line.y[place], chart.y_format)
    if not line.low:
        return text
    low, high = (format(ends[place], chart.y_format) for ends in (line.low, line.high))
    return f"{text} [{low}, {high}]"


def _x_axis(chart: Chart) -> Axis:
    found = [*_positions(chart.lines), *(level.at for level in chart.levels if level.upright)]
    low, high = min(found), max(found)
    if low == high:
        low, high = low - 0.5, high + 0.5
    room = 0.03 * (high - low)
    return Axis(low - room, high + room, LEFT, WIDTH - RIGHT)


def _y_axis(chart: Chart) -> Axis:
    found = [v for line in chart.lines for v in (*line.y, *line.low, *line.high)]
    found += [level.at for level in chart.levels if not level.upright]
    low, high = min(found), max(found)
    if chart.log:
        low, high = low / 1.3, high * 1.3
    elif chart.percent:
        low, high = 0.0, 1.0
    else:
        low = min(low, 0.0) if chart.from_zero else low
        room = 0.06 * (high - low) or max(abs(high) * 0.06, 1e-6)
        low, high = (low if low == 0 else low - room), high + room
    return Axis(low, high, HEIGHT - BOTTOM, TOP, log=chart.log)


def _ticks(low: float, high: float, about: int, *, whole: bool = False) -> list[float]:
    """Round numbers between two, about so many."""
    step = 10 ** math.floor(math.log10((high - low) / about))
    step *= next(f for f in (1, 2, 5, 10) if (high - low) / (f * step) <= about)
    step = max(1.0, step) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _y_ticks(chart: Chart, axis: Axis) -> list[float]:
    if not chart.log:
        return _ticks(axis.low, axis.high, 5)
    decades = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
    factors = (1,) if len(decades) > 4 else (1, 2, 5)
    found = [f * 10.0**d for d in decades for f in factors]
    return [v for v in found if axis.low <= v <= axis.high]


def _tick_text(chart: Chart, value: float) -> str:
    return f"{value:.0%}" if chart.percent else f"{value:g}"


def _line(line: Line, x: Axis, y: Axis) -> dict[str, Any]:
    dots = [(x(a), y(b)) for a, b in zip(line.x, line.y, strict=True)]
    bars = [
        (x(a), y(low), y(high)) for a, low, high in zip(line.x, line.low, line.high, strict=False)
    ]
    few = len(dots) <= MARKED
    band = [f"{a},{high}" for a, _, high in bars] + [f"{a},{low}" for a, low, _ in reversed(bars)]
    return {
        "name": line.name,
        "look": line.look,
        "second": line.second,
        "path": "M" + "L".join(f"{a},{b}" for a, b in dots) if dots else "",
        "marks": [_marker(line.look, a, b) for a, b in dots] if few else [],
        "bars": bars if few else [],
        "band": "" if few else " ".join(band),
    }


def _marker(look: int, a: float, b: float, size: float = 4) -> str:
    """The path of a marker: colour is never the only difference between lines."""
    kind = MARKERS[look % len(MARKERS)]
    if kind == "circle":
        return (
            f"M{a - size},{b}a{size},{size} 0 1 0 {2 * size},0a{size},{size} 0 1 0 {-2 * size},0z"
        )
    if kind == "square":
        return f"M{a - size + 0.5:.1f},{b - size + 0.5:.1f}h7v7h-7z"
    if kind == "triangle":
        return f"M{a},{b - size - 1:.1f}l{size + 1},8.5h{-2 * size - 2}z"
    return f"M{a},{b - size - 1:.1f}l5,5l-5,5l-5,-5z"


def marker(look: int) -> str:
    """A marker in the middle of a legend's sample, 28 by 12."""
    return _marker(look, 14, 6)


def _points(chart: Chart, x: Axis, y: Axis) -> list[dict[str, Any]]:
    found = []
    for position in _positions(chart.lines):
        at = []
        for number, line in enumerate(chart.lines):
            place = _place(line, position)
            if place is not None:
                text = _value_text(chart, line, place)
                at.append({"line": number, "y": y(line.y[place]), "text": f"{line.name}: {text}"})
        found.append({"x": x(position), "text": f"{chart.x_label} {position:.4g}", "at": at})
    return found
