"""Charts as hand-written SVG: colours are CSS classes, so that one drawing serves light, dark and print.

Coordinates are CSS pixels of the drawing's view box; values are in the units of their data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pumice.report.html import Markup, tag

Point = tuple[float, float]

MAX_LINE_POINTS = 400
MAX_HOVER_POINTS = 48
PLOT_WIDTH = 320
QUARTERS = (0, 0.25, 0.5, 0.75, 1)


@dataclass(frozen=True)
class Series:
    """One line: ``colour`` counts from 1 in the style sheet's palette; a faint one has no legend or hover."""

    name: str
    points: tuple[Point, ...]
    colour: int = 1
    faint: bool = False
    dots: bool = False


@dataclass(frozen=True)
class _Frame:
    """The plotting area and its scales."""

    left: float
    top: float
    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, point: Point) -> Point:
        x = self.left + self.width * (point[0] - self.x[0]) / (self.x[1] - self.x[0])
        y = self.top + self.height * (1 - (point[1] - self.y[0]) / (self.y[1] - self.y[0]))
        return x, y


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    y_format: Callable[[float], str] | None = None,
    from_zero: bool = False,
    y_range: tuple[float, float] | None = None,
    size: tuple[int, int] = (480, 268),
) -> Markup | None:
    """A figure with title, legend, axes and hover titles; None when no series has a finite point.

    Args:
        title: what the y axis shows; the x axis is the step.
        series: drawn in order, so the last lies on top.
        y_format: how a tick's and a hovered point's value reads.
        from_zero: whether the y axis begins at 0.
        y_range: fixed ends of the y axis.
        size: width and height of the view box.
    """
    width, height = size
    finite = [_finite(line) for line in series]
    points = [point for line in finite for point in line.points]
    if not points:
        return None
    lost = sum(len(line.points) for line in series) - len(points)
    y_ticks = ticks(*(y_range or _extent([y for _, y in points], from_zero)))
    x_values = [x for x, _ in points]
    x_low, x_high = min(x_values), max(x_values)
    form = y_format or short
    left = 14 + 6.6 * max(len(form(tick)) for tick in y_ticks)
    frame = _Frame(
        left=left,
        top=10,
        width=width - left - 14,
        height=height - 52,
        x=(x_low, x_high if x_high > x_low else x_low + 1),
        y=(y_ticks[0], y_ticks[-1]),
    )
    shown = [line for line in finite if line.points and not line.faint]
    summary = "; ".join(f"{line.name}: {form(line.points[-1][1])} at the end" for line in shown)
    svg = tag(
        "svg",
        _axes(frame, y_ticks, form),
        [_line(frame, line) for line in finite if line.points],
        [_hovers(frame, line, form) for line in shown],
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=f"{title} by step. {summary}",
    )
    note = tag("p", f"{lost} values were not finite and are not drawn.", class_="note warn") if lost else None
    caption = tag("figcaption", tag("span", title, class_="chart-title"), _legend(shown))
    return tag("figure", caption, svg, note, class_="chart")


def interval_plot(
    value: float, low: float, high: float, marks: Sequence[tuple[str, float]], label: str
) -> Markup:
    """One row of a dot plot on 0..1: a whisker with a dot, and other values as marks by CSS class."""
    x, width, height = _share_x, PLOT_WIDTH, 26
    middle = height / 2
    grid = [
        tag("line", x1=x(share), x2=x(share), y1=0, y2=height, class_="grid" if share % 1 else "grid end")
        for share in QUARTERS
    ]
    drawn: list[Markup] = []
    for kind, share in marks:
        if kind == "floor":
            drawn.append(tag("line", x1=x(share), x2=x(share), y1=5, y2=height - 5, class_="mark-floor"))
        else:
            drawn.append(tag("circle", cx=x(share), cy=middle, r=3.6, class_=f"mark-{kind}"))
    whisker = tag("line", x1=x(low), x2=x(high), y1=middle, y2=middle, class_="whisker")
    dot = tag("circle", cx=x(value), cy=middle, r=4.6, class_="mark-main")
    return tag(
        "svg",
        tag("title", label),
        grid,
        drawn,
        whisker,
        dot,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        aria_label=label,
        class_="interval",
    )


def interval_scale() -> Markup:
    """The scale above a column of ``interval_plot``, in per cent."""
    marks = [
        tag("text", f"{100 * share:.0f}", x=_share_x(share), y=11, text_anchor="middle") for share in QUARTERS
    ]
    label = "Share of right answers, 0 to 100%"
    view = f"0 0 {PLOT_WIDTH} 13"
    return tag(
        "svg",
        marks,
        viewBox=view,
        width=PLOT_WIDTH,
        height=13,
        role="img",
        aria_label=label,
        class_="interval",
    )


def _share_x(share: float) -> float:
    return round(10 + share * (PLOT_WIDTH - 20), 1)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round values from at most ``low`` to at least ``high``, in steps of 1, 2, 2.5 or 5 times 10^k.

    >>> ticks(0.13, 0.92)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / wanted
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def short(value: float) -> str:
    """A number in few characters: 0.0025, 2e-5, 1,500."""
    if value and (abs(value) < 1e-4 or abs(value) >= 1e6):
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def running_mean(points: Sequence[Point], window: int) -> tuple[Point, ...]:
    """Each y as the mean of the ``window`` points around it (fewer at the ends), for the eye only."""
    half = window // 2
    sums = [0.0]
    for _, y in points:
        sums.append(sums[-1] + y)
    smooth: list[Point] = []
    for i, (x, _) in enumerate(points):
        start, stop = max(0, i - half), min(len(points), i + half + 1)
        smooth.append((x, (sums[stop] - sums[start]) / (stop - start)))
    return tuple(smooth)


def _finite(line: Series) -> Series:
    kept = tuple(point for point in line.points if math.isfinite(point[0]) and math.isfinite(point[1]))
    return Series(line.name, kept, line.colour, line.faint, line.dots)


def _extent(values: Sequence[float], from_zero: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (min(0.0, low) if from_zero else low), high


def _axes(frame: _Frame, y_ticks: Sequence[float], form: Callable[[float], str]) -> list[Markup]:
    bottom, right = frame.top + frame.height, frame.left + frame.width
    drawn: list[Markup] = []
    for tick in y_ticks:
        y = round(frame.at((frame.x[0], tick))[1], 1)
        drawn.append(tag("line", x1=round(frame.left, 1), x2=round(right, 1), y1=y, y2=y, class_="grid"))
        drawn.append(tag("text", form(tick), x=round(frame.left - 8, 1), y=y + 4, text_anchor="end"))
    for tick in ticks(*frame.x, wanted=6 if frame.width > 360 else 4):
        if frame.x[0] <= tick <= frame.x[1]:
            x = round(frame.at((tick, frame.y[0]))[0], 1)
            drawn.append(tag("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="axis"))
            drawn.append(tag("text", short(tick), x=x, y=bottom + 18, text_anchor="middle"))
    drawn.append(
        tag("line", x1=round(frame.left, 1), x2=round(right, 1), y1=bottom, y2=bottom, class_="axis")
    )
    drawn.append(tag("text", "step", x=round(right, 1), y=bottom + 36, text_anchor="end", class_="unit"))
    return drawn


def _line(frame: _Frame, line: Series) -> list[Markup]:
    placed = [frame.at(point) for point in _thin(line.points)]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in placed)
    drawn = [tag("path", d=path, class_=f"line s{line.colour}" + (" faint" if line.faint else ""))]
    if line.dots or len(placed) == 1:
        drawn += [
            tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3, class_=f"dot s{line.colour}") for x, y in placed
        ]
    return drawn


def _thin(points: Sequence[Point]) -> Sequence[Point]:
    """At most about MAX_LINE_POINTS, keeping each stretch's lowest and highest, so that spikes stay."""
    if len(points) <= MAX_LINE_POINTS:
        return points
    size = math.ceil(2 * len(points) / MAX_LINE_POINTS)
    kept: list[Point] = []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        kept += sorted({min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])})
    return kept


def _hovers(frame: _Frame, line: Series, form: Callable[[float], str]) -> Markup:
    every = max(1, math.ceil(len(line.points) / MAX_HOVER_POINTS))
    chosen = list(line.points[::every])
    if chosen[-1] != line.points[-1]:
        chosen.append(line.points[-1])
    spots: list[Markup] = []
    for point in chosen:
        x, y = frame.at(point)
        words = tag("title", f"{line.name}, step {point[0]:,.0f}: {form(point[1])}")
        hit = tag("circle", words, cx=f"{x:.1f}", cy=f"{y:.1f}", r=8, class_=f"hit s{line.colour}")
        spots.append(hit)
    return tag("g", spots)


def _legend(lines: Sequence[Series]) -> Markup | None:
    if len(lines) < 2 and not any(line.dots for line in lines):
        return None
    return tag(
        "span",
        [tag("span", tag("i", class_=f"key s{line.colour}"), line.name) for line in lines],
        class_="legend",
    )
