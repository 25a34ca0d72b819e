"""Intervals, groups, and the JSON object."""

from __future__ import annotations

import numpy as np
import pytest

from pumice.score.result import CELLS, Item, mean_interval, means, percent, resample, stratified


def test_the_interval_of_a_mean_is_that_of_its_normal_limit() -> None:
    scores = [True] * 700 + [False] * 300
    low, high = mean_interval(scores)
    half = 100 * 1.96 * np.sqrt(0.7 * 0.3 / 1000)
    assert (low, high) == pytest.approx((70 - half, 70 + half), abs=0.25)
    assert mean_interval(scores) == (low, high)
    assert mean_interval(scores[::-1]) == (low, high)  # the order of questions has no say


def test_all_right_and_all_wrong_are_not_certain() -> None:
    """The bootstrap has no spread there: Wilson's interval stands in."""
    assert mean_interval([1.0] * 9) == pytest.approx((70.085, 100), abs=0.01)
    assert mean_interval([0.0] * 9) == pytest.approx((0, 29.915), abs=0.01)
    assert mean_interval([0.5] * 9) == (50, 50)  # no proportion: what else there could be is not known


def test_resamples_by_counts_are_resamples_of_rows() -> None:
    generator = np.random.default_rng(3)
    values_NK = np.stack([generator.integers(0, 3, 400), generator.random(400)], axis=1)
    found = resample(values_NK)
    direct = np.stack([values_NK[generator.integers(0, 400, 400)].mean(axis=0) for _ in range(2000)])
    assert found.mean(axis=0) == pytest.approx(values_NK.mean(axis=0), abs=0.01)
    assert np.cov(found.T) == pytest.approx(np.cov(direct.T), rel=0.2, abs=1e-4)


def test_many_distinct_values_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((50, 1))
    whole = resample(values)
    monkeypatch.setattr("pumice.score.result.CELLS", 50 * 700)
    parts = resample(values)
    assert len(parts) == len(whole) == 2000
    assert CELLS > 50 * 2000
    assert np.array_equal(parts, whole)


def test_strata_are_resampled_in_themselves() -> None:
    strata = [np.ones((5, 1)), np.zeros((50, 1))]
    ends = stratified(strata, lambda means: 100 * means[:, 0], lambda each: each.mean(axis=1))
    assert ends == (50, 50)


def test_groups_and_json() -> None:
    items = [Item("1", "a", 1.0, ("x", "y")), Item("2", "b", 0.0, ("x",))]
    result = means("seed", items, counts={"unparsed": 1}, notes=["so"])
    shown = result.as_json()
    assert shown["accuracy"] == 50
    assert shown["n"] == 2
    assert shown["groups"]["y"] == {"accuracy": 100, "n": 1, "interval": [20.6549, 100]}
    assert shown["interval"]["accuracy"] == [0, 100]
    assert (shown["task"], shown["counts"], shown["notes"]) == ("seed", {"unparsed": 1}, ["so"])
    assert percent([]) == 0
