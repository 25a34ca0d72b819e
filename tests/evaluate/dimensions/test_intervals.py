"""Figures over pictures: means, drops and slopes against NumPy, intervals against what they must hold."""

from __future__ import annotations

import numpy as np
import pytest

from pumice.evaluate.dimensions.intervals import drop, group, share, slope, sums
from pumice.score.result import wilson


def test_sums_are_of_each_picture_in_order() -> None:
    assert sums(["b", "a", "b"], [[1, 1], [0, 1], [1, 1]]).tolist() == [[2, 2], [0, 1]]


def test_share_and_its_interval() -> None:
    value, (low, high) = share(range(100), [True] * 80 + [False] * 20)
    assert value == 80
    assert low == pytest.approx(72, abs=2)
    assert high == pytest.approx(88, abs=2)


@pytest.mark.parametrize("right", [True, False])
def test_figures_that_are_all_alike_are_not_certain(right: bool) -> None:
    keys = [0, 0, 1, 1, 2, 2]
    value, (low, high) = share(keys, [right] * 6)
    least = 100 * wilson(3, 3)[0]
    assert (value, low, high) == (100, least, 100) if right else (0, 0, 100 - least)
    value, (low, high) = drop(keys, [right] * 6, [right] * 6)
    assert (value, low, high) == (0, pytest.approx(least - 100), pytest.approx(100 - least))
    value, (low, high) = drop(keys, [right] * 6, [not right] * 6)
    assert (low, high) == pytest.approx((least, 100) if right else (-100, -least))
    assert value == (100 if right else -100)


def test_questions_about_one_picture_stand_together() -> None:
    scores = [True] * 50 + [False] * 50
    _, alone = share(range(100), scores)
    _, together = share([number // 10 for number in range(100)], scores)
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_pictures_that_are_all_alike_claim_no_certainty() -> None:
    wide = 100 * wilson(0, 6)[1]
    assert share(range(6), [True] * 6) == (100, (pytest.approx(100 - wide), 100))
    assert share(range(6), [False] * 6) == (0, (0, pytest.approx(wide)))
    assert drop(range(6), [True] * 6, [True] * 6) == (0, (pytest.approx(-wide), pytest.approx(wide)))
    value, (low, high) = share(["one picture"] * 7, [True] * 4 + [False] * 3)
    assert low <= 0 < value < 100 <= high, "of one picture nothing is known of others"


def test_slope_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(1, 7, 300).astype(float)
    y = rng.random(300) < 1 - 0.1 * x
    value, (low, high) = slope(range(300), x.tolist(), y.tolist())
    assert value == pytest.approx(100 * np.polyfit(x, y.astype(float), 1)[0])
    assert low < -10 < high
    assert slope(range(3), [2, 2, 2], [True, False, True])[0] == 0


def test_a_drop_of_the_same_questions_is_surer_than_two_shares() -> None:
    rng = np.random.default_rng(1)
    before = (rng.random(400) < 0.5).tolist()
    after = [value and place % 20 != 0 for place, value in enumerate(before)]
    value, (low, high) = drop(range(400), before, after)
    assert value == pytest.approx(100 * (np.mean(before) - np.mean(after)))
    _, alone = share(range(400), before)
    assert low > 0
    assert high - low < 0.6 * (alone[1] - alone[0])


def test_a_group_as_result_files_have_it() -> None:
    assert group(3, {"accuracy": 2 / 3}, (0.0, 1.0)) == {
        "accuracy": 0.666667,
        "n": 3,
        "interval": [0.0, 1.0],
    }
