from __future__ import annotations

from pumice.report.radar import Axis, Line, radar, rim

AXES = tuple(Axis(name, 0, 100, "%") for name in ("a", "b", "c", "d"))


def test_a_whole_line_is_one_shape_and_a_gap_is_not_drawn() -> None:
    whole = radar(AXES, [Line("one", (10, 20, 30, 40), 1)])
    gap = radar(AXES, [Line("one", (10, None, 30, 40), 1)])
    assert whole is not None
    assert gap is not None
    assert whole.count('<polygon points="') == 5  # four rings and the line
    assert whole.count("<circle") == 4
    # c to d and d to a: two pieces, and three dots; nothing leads to the centre
    assert (gap.count("<polyline"), gap.count("<circle"), gap.count("<polygon")) == (2, 3, 4)
    assert "320.0,235.0" not in gap.split("<polyline", 1)[1]
    assert "b" not in gap.split("one: ", 1)[1].split('"', 1)[0].replace("a 10", "")


def test_values_lie_where_their_axis_puts_them() -> None:
    drawn = radar(AXES, [Line("one", (100, 50, 0, 120), 1)])
    assert drawn is not None
    line = next(part for part in drawn.split("<polygon") if 'class="web' in part)
    # straight up at the rim, half way to the right, the centre, and beyond the rim: at the rim
    assert 'points="320.0,65.0 405.0,235.0 320.0,235.0 150.0,235.0"' in line


def test_too_few_axes_make_no_plot() -> None:
    assert radar(AXES[:2], [Line("one", (1, 2), 1)]) is None


def test_names_are_escaped() -> None:
    drawn = radar(AXES, [Line("<script>", (1, 2, 3, 4), 1)])
    assert drawn is not None
    assert "<script>" not in drawn


def test_rims_are_round() -> None:
    assert rim([61.2, 64.0], 10) == 70
    assert rim([0.0], 10) == 10
    assert rim([1510.7], 200) == 1600
