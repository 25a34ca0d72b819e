from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumice.evaluate.statistics import chance, f1_interval, guess_floor, mcnemar, mode_floor, wilson
from pumice.score.pope import PopeScore


def test_wilson_of_published_examples() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    for successes, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_stays_in_bounds(case: tuple[int, int]) -> None:
    successes, n = case
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    mirrored = wilson(n - successes, n)
    assert (1 - high, 1 - low) == pytest.approx(mirrored)


def test_f1_interval_is_seeded_holds_f1_and_narrows() -> None:
    small, large = PopeScore(40, 5, 5, 50), PopeScore(4000, 500, 500, 5000)
    assert f1_interval(small, seed=3) == f1_interval(small, seed=3)
    assert f1_interval(small, seed=3) != f1_interval(small, seed=4)
    low, high = f1_interval(small)
    narrow_low, narrow_high = f1_interval(large)
    assert low < narrow_low < small.f1 < narrow_high < high
    # a second opinion on the width: the jackknife
    cells = [large.true_positives, large.false_positives, large.false_negatives, large.true_negatives]

    def without(cell: int) -> float:
        counts = [count - (cell == i) for i, count in enumerate(cells)]
        return PopeScore(*counts).f1

    n = large.n
    mean = sum(count * without(i) for i, count in enumerate(cells)) / n
    spread = math.sqrt((n - 1) / n * sum(count * (without(i) - mean) ** 2 for i, count in enumerate(cells)))
    assert narrow_high - narrow_low == pytest.approx(2 * 1.96 * spread, rel=0.05)


def test_f1_interval_of_nothing_says_nothing() -> None:
    assert f1_interval(PopeScore(0, 0, 0, 0)) == (0.0, 1.0)
    assert f1_interval(PopeScore(0, 0, 0, 9)) == (0.0, 0.0)
    low, high = f1_interval(PopeScore(20, 0, 0, 20))
    assert 0.85 < low < 0.98, "all right is not certain"
    assert high == 1


def test_mcnemar_by_hand() -> None:
    a = [True] * 6 + [False] * 1 + [True] * 3 + [False] * 2
    b = [False] * 6 + [True] * 1 + [True] * 3 + [False] * 2
    test = mcnemar(a, b)
    assert (test.n, test.only_a, test.only_b) == (12, 6, 1)
    assert test.difference == pytest.approx(5 / 12)
    assert test.p == pytest.approx(2 * (1 + 7) / 2**7)
    assert mcnemar(b, a).p == pytest.approx(test.p)


def test_mcnemar_without_a_difference_and_with_many() -> None:
    assert mcnemar([True, False], [True, False]).p == 1.0
    assert mcnemar([True, False], [False, True]).p == 1.0
    assert 0 < mcnemar([True] * 300 + [False], [False] * 300 + [True]).p < 1e-80
    assert mcnemar([True] * 60_000, [False] * 60_000).p == 0.0


def test_floors_among_what_is_present() -> None:
    assert guess_floor(["red", "Red", "blue", "green"], "red") == pytest.approx(1 / 3)
    assert guess_floor(["red"], "blue") == 0
    assert mode_floor(["red", "Red", "blue", "green"], "red") == 1
    assert mode_floor(["red", "red", "blue"], "blue") == 0
    assert mode_floor(["red", "blue", "green"], "blue") == pytest.approx(1 / 3)


def test_chance_is_the_commonest_answer() -> None:
    assert chance(["yes", "Yes", "no"]) == pytest.approx(2 / 3)
    assert chance([]) == 0
