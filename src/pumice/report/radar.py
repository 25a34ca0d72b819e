"""A radar plot: several models on several tasks, each axis on its own stated range.

What is not known is a gap. It is not drawn as zero, and no line leads across it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pumice.report.html import Markup, tag

LEAST = 3
"""Axes that make a plot."""
RINGS = (0.25, 0.5, 0.75, 1.0)
RADIUS = 170
WIDTH, HEIGHT = 640, 470


@dataclass(frozen=True)
class Axis:
    """A task's figure: the centre of the plot is ``low``, the rim ``high``."""

    name: str
    low: float
    high: float
    unit: str = ""

    def share(self, value: float) -> float:
        """Where a value lies between centre and rim, 0 to 1; what lies outside is drawn at the edge."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


@dataclass(frozen=True)
class Line:
    """One model: a value for each axis, None where there is none. ``colour`` counts from 1."""

    name: str
    values: tuple[float | None, ...]
    colour: int
    strong: bool = False


def radar(axes: Sequence[Axis], lines: Sequence[Line]) -> Markup | None:
    """The plot with its legend; None with fewer than ``LEAST`` axes."""
    if len(axes) < LEAST:
        return None
    rings = [
        tag("polygon", points=_path([_at(i, len(axes), ring) for i in range(len(axes))]), class_="ring")
        for ring in RINGS
    ]
    spokes = [_spoke(i, len(axes)) for i in range(len(axes))]
    labels = [_label(axis, i, len(axes)) for i, axis in enumerate(axes)]
    # the strong ones lie on top
    drawn = [_line(axes, line) for line in sorted(lines, key=lambda line: line.strong)]
    said = "; ".join(f"{line.name}: {_said(axes, line)}" for line in lines)
    svg = tag(
        "svg",
        rings,
        spokes,
        drawn,
        labels,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"Radar plot of {len(axes)} figures. {said}",
        class_="radar",
    )
    keys = [tag("span", tag("i", class_=f"key s{line.colour}"), line.name) for line in lines]
    return tag("figure", tag("figcaption", tag("span", keys, class_="legend")), svg, class_="chart wide")


def rim(values: Sequence[float], step: float) -> float:
    """The next whole step above the largest value: where an axis ends.

    >>> rim([61.2, 64.0], 10), rim([1510.7], 200)
    (70, 1600)
    """
    most = max(values)
    return max(step, math.ceil(most / step) * step)


def _at(number: int, count: int, share: float) -> tuple[float, float]:
    angle = 2 * math.pi * number / count - math.pi / 2
    reach = RADIUS * share
    return WIDTH / 2 + reach * math.cos(angle), HEIGHT / 2 + reach * math.sin(angle)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _spoke(number: int, count: int) -> Markup:
    x, y = _at(number, count, 1)
    return tag("line", x1=WIDTH / 2, y1=HEIGHT / 2, x2=f"{x:.1f}", y2=f"{y:.1f}", class_="grid")


def _label(axis: Axis, number: int, count: int) -> Markup:
    x, y = _at(number, count, 1 + 16 / RADIUS)
    lean = x - WIDTH / 2
    anchor = "middle" if abs(lean) < 12 else "start" if lean > 0 else "end"
    # what stands behind a comma has a line of its own: beside the plot there is room for a dozen characters
    first, comma, rest = axis.name.partition(", ")
    names = [first + comma.rstrip(), *([rest] if rest else [])]
    # a label above the plot grows upwards, one below it downwards; lines go by the size of the letters
    rise = -len(names) if y < HEIGHT / 2 - RADIUS * 0.6 else 0.3
    span = f"{axis.low:g}\u2013{axis.high:g}{axis.unit}"
    lines = [(name, "axis-name") for name in names] + [(span, None)]
    spans = [
        tag("tspan", line, x=f"{x:.1f}", dy=f"{rise if i == 0 else 1.1:.1f}em", class_=kind)
        for i, (line, kind) in enumerate(lines)
    ]
    return tag("text", spans, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def _line(axes: Sequence[Axis], line: Line) -> Markup:
    count = len(axes)
    spots = [
        None if value is None else _at(i, count, axis.share(value))
        for i, (axis, value) in enumerate(zip(axes, line.values, strict=True))
    ]
    whole = [spot for spot in spots if spot is not None]
    weight = " strong" if line.strong else ""
    if len(whole) == count:
        shapes = [tag("polygon", points=_path(whole), class_=f"web{weight}")]
    else:
        shapes = [
            tag("polyline", points=_path([one, following]), class_=f"web{weight}")
            for one, following in zip(spots, [*spots[1:], spots[0]], strict=True)
            if one is not None and following is not None
        ]
    dots = [
        tag(
            "circle",
            tag("title", f"{line.name}, {axes[i].name}: {line.values[i]:g}{axes[i].unit}"),
            cx=f"{spot[0]:.1f}",
            cy=f"{spot[1]:.1f}",
            r=4.2 if line.strong else 3,
            class_="dot",
        )
        for i, spot in enumerate(spots)
        if spot is not None
    ]
    return tag("g", shapes, dots, class_=f"s{line.colour}")


def _said(axes: Sequence[Axis], line: Line) -> str:
    known = [
        f"{axis.name} {value:g}" for axis, value in zip(axes, line.values, strict=True) if value is not None
    ]
    return ", ".join(known) or "nothing"
