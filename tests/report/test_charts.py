from __future__ import annotations

import itertools
import math
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumice.report.charts import Series, interval_plot, interval_scale, line_chart, running_mean, short, ticks


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_hold_the_range_and_are_few_and_even(low: float, spread: float) -> None:
    high = low + spread
    marks = ticks(low, high)
    assert 2 <= len(marks) <= 8
    tolerance = 1e-6 * (abs(low) + spread)
    assert marks[0] <= low + tolerance
    assert marks[-1] >= high - tolerance
    steps = [b - a for a, b in itertools.pairwise(marks)]
    assert max(steps) - min(steps) <= 1e-6 * (max(steps) + abs(low))


def test_ticks_of_a_flat_line() -> None:
    assert ticks(0, 0)[0] <= 0 < ticks(0, 0)[-1]
    assert ticks(3, 3)[0] <= 3 <= ticks(3, 3)[-1]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.002, "0.002"), (0.0005, "0.0005"), (2e-5, "2e-5"), (1500, "1,500"), (0, "0"), (2e6, "2e6")],
)
def test_short_numbers(value: float, text: str) -> None:
    assert short(value) == text


def test_running_mean_is_the_mean_of_its_window() -> None:
    values = [(float(i), float(i * i)) for i in range(7)]
    smooth = running_mean(values, 3)
    assert [x for x, _ in smooth] == [x for x, _ in values]
    assert smooth[0][1] == pytest.approx((0 + 1) / 2)
    assert smooth[3][1] == pytest.approx((4 + 9 + 16) / 3)
    assert running_mean([], 3) == ()


def test_a_chart_is_well_formed_and_stays_in_its_box() -> None:
    line = Series("a<b", tuple((float(x), math.sin(x) * 5) for x in range(2000)))
    markup = line_chart("Loss & more", [line, Series("v", ((0.0, 1.0), (1999.0, 2.0)), 2, dots=True)])
    assert markup is not None
    figure = ElementTree.fromstring(markup)
    svg = figure.find("svg")
    assert svg is not None
    width, height = (float(x) for x in svg.attrib["viewBox"].split()[2:])
    paths = [path.attrib["d"] for path in svg.findall("path")]
    assert len(paths) == 2
    numbers = [[float(n) for n in re.findall(r"-?[\d.]+", path)] for path in paths]
    assert all(0 <= x <= width for path in numbers for x in path[::2])
    assert all(0 <= y <= height for path in numbers for y in path[1::2])
    assert len(numbers[0]) <= 2 * 410, "a long line is thinned"
    assert "a<b, step 0: 0" in [title.text for title in svg.iter("title")]
    assert svg.attrib["role"] == "img"
    assert "Loss & more" in svg.attrib["aria-label"]


def test_thinning_keeps_a_spike() -> None:
    flat = [(float(x), 1.0) for x in range(5000)]
    flat[3333] = (3333.0, 9.0)
    markup = line_chart("Loss", [Series("train", tuple(flat))], y_range=(0, 10))
    assert markup is not None
    (path,) = re.findall(r'<path d="([^"]+)"', markup)
    ys = [float(y) for y in re.findall(r" ([\d.]+)", path)]
    assert min(ys) < 0.3 * max(ys)


def test_values_that_are_not_finite_are_counted_not_drawn() -> None:
    markup = line_chart("Loss", [Series("train", ((1.0, 2.0), (2.0, math.nan), (3.0, math.inf), (4.0, 1.0)))])
    assert markup is not None
    assert "2 values were not finite" in markup
    assert "nan" not in markup
    assert line_chart("Loss", [Series("train", ((1.0, math.nan),))]) is None
    assert line_chart("Loss", []) is None


def test_one_point_is_a_dot() -> None:
    markup = line_chart("Loss", [Series("train", ((5.0, 2.0),))])
    assert markup is not None
    assert 'class="dot s1"' in markup


def test_an_interval_stands_at_its_value() -> None:
    svg = ElementTree.fromstring(interval_plot(0.5, 0.25, 0.75, [("floor", 0.0), ("blind", 1.0)], "half"))
    width = float(svg.attrib["width"])
    found = {element.attrib.get("class"): element for element in svg.iter()}
    assert float(found["mark-main"].attrib["cx"]) == width / 2
    whisker = found["whisker"]
    assert float(whisker.attrib["x1"]) + float(whisker.attrib["x2"]) == pytest.approx(width)
    assert float(found["mark-floor"].attrib["x1"]) < float(whisker.attrib["x1"])
    assert svg.findtext("title") == "half"
    assert [text.text for text in ElementTree.fromstring(interval_scale()).iter("text")] == [
        "0",
        "25",
        "50",
        "75",
        "100",
    ]
