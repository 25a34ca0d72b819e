from __future__ import annotations

import itertools

import numpy as np
import pytest

from pumice.evaluate.paired import ALPHA, POWER, detectable, exchange_p, holm, paired
from pumice.evaluate.statistics import mcnemar, mcnemar_detectable


def single(means):
    return means[:, 0]


def first(each):
    return each[:, 0]


def column(values):
    return np.asarray(values, dtype=float)[:, None]


def test_both_figures_come_from_the_same_resamples() -> None:
    """Where b is a and a little more, the difference is far surer than either figure."""
    a = np.random.default_rng(0).random(300)[:, None]
    found = paired([(a, a + 0.1)], single, first)
    assert found.difference == pytest.approx(0.1)
    assert found.interval == pytest.approx((0.1, 0.1))
    assert found.interval_a[1] - found.interval_a[0] > 0.05


def test_the_interval_is_as_wide_as_the_standard_error_says() -> None:
    generator = np.random.default_rng(1)
    a, b = generator.random(400)[:, None], generator.random(400)[:, None]
    found = paired([(a, b)], single, first)
    error = (b - a).std() / np.sqrt(400)
    assert found.interval[1] - found.interval[0] == pytest.approx(2 * 1.96 * error, rel=0.05)
    assert found.detectable == pytest.approx(2.8016 * error, rel=0.05)


def test_both_ways_to_draw_say_the_same() -> None:
    """Rows that are all distinct are drawn one by one, scores of few values by how often each comes."""
    generator = np.random.default_rng(5)
    few = (generator.random((500, 2)) < 0.6).astype(float)
    distinct = few + generator.normal(0, 1e-9, few.shape)
    a, b = (paired([(rows[:, :1], rows[:, 1:])], single, first) for rows in (few, distinct))
    assert a.interval == pytest.approx(b.interval, abs=0.01)
    assert a.detectable == pytest.approx(b.detectable, rel=0.05)
    assert a.p == pytest.approx(b.p, abs=0.05)  # ties of few values make it a little larger


def test_strata_are_resampled_each_in_itself() -> None:
    """Two strata without spread have a figure without spread, whatever lies between them."""
    low, high = column([0.0] * 10), column([1.0] * 10)
    found = paired([(low, low), (high, high)], single, lambda each: each.mean(axis=1))
    assert found.interval_a == (0.5, 0.5)


def test_exchange_is_the_test_that_tries_every_exchange() -> None:
    a = np.array([[0.2], [0.9], [0.4], [0.3], [0.6], [0.1], [0.5], [0.8]])
    b = np.array([[0.5], [0.8], [0.9], [0.7], [0.6], [0.6], [0.4], [0.9]])
    moved = (b - a)[:, 0]
    observed = abs(moved.mean())
    signs = np.array(list(itertools.product((-1, 1), repeat=8)))
    exact = float((np.abs((signs * moved).mean(axis=1)) >= observed - 1e-12).mean())
    assert exchange_p([(a, b)], single, first, permutations=40_000) == pytest.approx(exact, abs=0.01)


def test_exchange_of_right_and_wrong_is_near_to_mcnemar() -> None:
    generator = np.random.default_rng(2)
    a, b = generator.random(200) < 0.7, generator.random(200) < 0.8
    p = exchange_p([(column(a), column(b))], single, first)
    assert p == pytest.approx(mcnemar(list(a), list(b)).p, abs=0.02)


def test_exchange_of_what_is_alike() -> None:
    same = column([0, 1, 1])
    assert exchange_p([(same, same)], single, first) == 1.0


def test_p_values_are_honest_where_nothing_differs() -> None:
    """Of 200 pairs of the same model about one in twenty has p below 0.05."""
    generator = np.random.default_rng(3)
    below = 0
    for _ in range(200):
        a, b = (column(generator.random(60) < 0.6) for _ in range(2))
        below += exchange_p([(a, b)], single, first, permutations=500) < 0.05
    assert below <= 20


def test_what_is_detectable_is_detected_four_times_out_of_five() -> None:
    generator = np.random.default_rng(4)
    size, error = 400, 1 / np.sqrt(400)
    gain, told = detectable(error), 0
    for _ in range(200):
        moved = generator.normal(gain, 1.0, size)
        told += abs(moved.mean()) > 1.96 * moved.std() / np.sqrt(size)
    assert 0.72 <= told / 200 <= 0.88


@pytest.mark.parametrize(("size", "differing"), [(20, 0), (20, 6), (50, 4), (200, 16), (1000, 60)])
def test_mcnemar_tells_what_is_detectable_four_times_out_of_five(size: int, differing: int) -> None:
    gain = mcnemar_detectable(size, differing)
    assert gain is not None
    share = max(differing / size, gain)
    draws = np.random.default_rng(6).multinomial(
        size, [(share - gain) / 2, (share + gain) / 2, 1 - share], 2000
    )
    told = [mcnemar([True] * a + [False] * b, [False] * a + [True] * b).p < ALPHA for a, b, _ in draws]
    assert np.mean(told) == pytest.approx(POWER, abs=0.03)


def test_five_questions_tell_nothing() -> None:
    assert mcnemar_detectable(5, 5) is None
    assert mcnemar_detectable(6, 0) == pytest.approx(POWER ** (1 / 6), abs=0.001)  # all six must differ


def test_holm() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
