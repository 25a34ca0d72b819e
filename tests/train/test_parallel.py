from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pumice.train.parallel import flat_shares


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=40),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 5),
)
def test_flat_shares_hold_every_sample_once(lengths: list[int], parts: int, world: int, width: int) -> None:
    step = [tuple(range(at, min(at + width, len(lengths)))) for at in range(0, len(lengths), width)]
    found = flat_shares(step, np.array(lengths), parts, world)
    assert 1 <= len(found) <= parts
    assert all(len(part) == world for part in found)
    rows = [row for part in found for place in part for row in place]
    assert all(len(place) <= 1 for part in found for place in part)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(any(place for place in part) for part in found), "no part is empty on all ranks"
    loads = [sum(lengths[index] for row in place for index in row) for part in found for place in part]
    assert max(loads) - min(loads) <= max(lengths), "shares are even but for a sample"
