from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumice.data import pack
from pumice.errors import DataError


@given(st.lists(st.integers(1, 64), max_size=200), st.integers(64, 100))
def test_every_sample_once_and_no_row_over_capacity(lengths: list[int], capacity: int) -> None:
    rows = pack(lengths, capacity)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    sums = [sum(lengths[index] for index in row) for row in rows]
    assert all(0 < total <= capacity for total in sums)
    assert all(row == sorted(row) for row in rows)
    # No two rows could be one: best fit opens a row only when nothing else has room.
    assert len(sums) < 2 or sum(sorted(sums)[:2]) > capacity
    assert rows == pack(np.array(lengths, np.int64), capacity)


def naive(lengths: list[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing as its definition says: scan all rows, the most recently used of equal ones."""
    rows: list[list[int]] = []
    free: list[int] = []
    used: list[int] = []
    for tick, index in enumerate(sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))):
        fitting = [r for r in range(len(rows)) if free[r] >= lengths[index]]
        if fitting:
            row = min(fitting, key=lambda r: (free[r], -used[r]))
        else:
            row = len(rows)
            rows.append([])
            free.append(capacity)
            used.append(0)
        rows[row].append(index)
        free[row] -= lengths[index]
        used[row] = tick
    return [sorted(row) for row in rows]


@given(st.lists(st.integers(1, 20), max_size=60))
def test_it_is_best_fit_decreasing(lengths: list[int]) -> None:
    assert pack(lengths, 20) == naive(lengths, 20)


def test_a_worked_example() -> None:
    assert pack([3, 7, 5, 5, 10], 10) == [[4], [0, 1], [2, 3]]
    assert pack([], 10) == []


def test_samples_that_fit_no_row_are_named() -> None:
    with pytest.raises(DataError) as caught:
        pack([5, 11, 40, 3], 10, name=lambda index: f"rows.json, row {index + 100}")
    assert (
        "sample 1 has 11 tokens, a row holds 1 to 10 (1 more do not fit either; the longest has 40)"
        in str(caught.value)
    )
    assert caught.value.where == "rows.json, row 101"
    assert "raise the row length to 40" in (caught.value.remedy or "")
    with pytest.raises(DataError, match="sample 0 has 0 tokens"):
        pack([0], 10)
    with pytest.raises(DataError, match="holds nothing"):
        pack([1], 0)


def test_a_hundred_thousand_samples_pack_full() -> None:
    lengths = np.clip(np.random.default_rng(0).lognormal(5.5, 0.8, 100_000), 8, 2048).astype(np.int64)
    rows = pack(lengths, 2048)
    assert lengths.sum() / (2048 * len(rows)) > 0.999
