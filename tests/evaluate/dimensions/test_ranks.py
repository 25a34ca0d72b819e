"""Retrieval: hits by hand, chance by drawing."""

from __future__ import annotations

import numpy as np
import pytest

from pumice.evaluate.dimensions.ranks import by_chance, hits, relevant, standard


def test_hits_of_a_small_table() -> None:
    likeness = np.array([[0.9, 0.1, 0.0], [0.8, 0.7, 0.6], [0.3, 0.2, 0.1]])
    true = np.eye(3, dtype=bool)
    assert hits(likeness, true, 1).tolist() == [True, False, False]
    assert hits(likeness, true, 2).tolist() == [True, True, False]
    assert hits(likeness, true, 3).tolist() == [True, True, True]


def test_a_table_of_one_value_finds_nothing() -> None:
    assert not hits(np.zeros((4, 4)), np.eye(4, dtype=bool), 1).any()


def test_captions_of_the_same_words_are_right_for_both_pictures() -> None:
    found = relevant(["a star.", "A ring.", "a ring."], [0, 0, 1], 2)
    assert found.tolist() == [[True, True, True], [False, True, True]]


@pytest.mark.parametrize("k", [1, 5])
def test_chance_is_k_of_n_with_one_right(k: int) -> None:
    assert by_chance(np.eye(20, dtype=bool), k) == pytest.approx(k / 20)


def test_chance_with_several_right_is_what_random_orders_give() -> None:
    true = np.zeros((6, 30), dtype=bool)
    for row in range(6):
        true[row, row * 5 : row * 5 + 5] = True
    rng = np.random.default_rng(0)
    drawn = np.mean([hits(rng.random((6, 30)), true, 5).mean() for _ in range(4000)])
    assert by_chance(true, 5) == pytest.approx(drawn, abs=0.01)
    assert by_chance(np.ones((2, 3), dtype=bool), 2) == 1


def test_standard_takes_hubs_away() -> None:
    rng = np.random.default_rng(2)
    likeness = np.eye(8) + 0.1 * rng.random((8, 8))
    likeness[:, 3] += 5  # near everybody
    true = np.eye(8, dtype=bool)
    assert hits(likeness, true, 1).sum() == 1
    assert hits(standard(likeness), true, 1).all()
    assert np.isfinite(standard(np.ones((3, 2)))).all()
