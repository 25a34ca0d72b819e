"""cli/progress.py: how fast something goes, told once there is enough to go by."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pumice.cli.progress import Pace, counting


def test_one_answer_foretells_nothing() -> None:
    pace = Pace()
    pace.add(0, 0.0)
    for number in range(1, 9):
        pace.add(number, 2.0 * number)
        assert pace.rate is None, "eight answers, the last of which may be the first of a burst"
    pace.add(9, 18.0)
    assert pace.rate == pytest.approx(0.5)
    assert pace.left(9, 29) == pytest.approx(40)


def test_batches_are_counted_whole() -> None:
    pace = Pace()
    pace.add(100, 0.0)  # answered before: no merit of this sitting
    for batch in (1, 2):
        for number in range(64):
            pace.add(100 + 64 * (batch - 1) + number + 1, 10.0 * batch + 0.001 * number)
            if batch == 1:
                assert pace.rate is None, "a batch that has begun to come"
    assert pace.rate == pytest.approx(6.4), "64 in ten seconds, whatever of the second batch is there"


def test_the_pace_is_that_of_the_last_minutes_and_begins_again() -> None:
    pace = Pace()
    moment, done = 0.0, 0
    for step in (0.5, 5.0):
        for _ in range(100):
            pace.add(done, moment)
            moment, done = moment + step, done + 1
    assert pace.rate == pytest.approx(0.2)
    pace.add(3, moment)
    assert pace.rate is None


def test_lines_of_a_log_tell_what_is_left() -> None:
    text, now = io.StringIO(), [0.0]
    with counting(Console(file=text, width=200), lambda: now[0]) as count:
        for number in range(61):
            now[0] = 2.0 * number
            count("pope", number, 60)
    lines = text.getvalue().splitlines()
    assert lines[0] == "pope: 11 of 60  minutes left: 1.63"
    assert lines[-1] == "pope: 60 of 60"
