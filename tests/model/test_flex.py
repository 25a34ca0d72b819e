"""FlexAttention of packed rows against dense attention under the mask of the same rows (forward alone)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pumice.model.attention import plain_attention, visibility_mask, windowed
from pumice.model.flex import block_mask, flex_packed
from pumice.model.packing import packing_of

from .test_block_attention import ROWS, Run, rows_of

DEEP: list[list[Run]] = [[(1, 0, 70), (1, 1, 90), (1, 2, 100), (2, 0, 60)], [(1, 0, 200), (2, 0, 40)]]
"""Longer than a block of 128, with edges inside blocks."""


def compare(
    rows: list[list[Run]],
    heads: tuple[int, int] = (4, 2),
    *,
    window: int | None = None,
    softcap: float | None = None,
    scaling: float | None = None,
) -> None:
    segments, branches = rows_of(rows)
    size, tokens = segments.shape
    torch.manual_seed(0)
    query, key, value = (torch.randn(size, n, tokens, 8) for n in (heads[0], heads[1], heads[1]))
    mask = block_mask(packing_of(segments, branches), window)
    with torch.no_grad():
        found = flex_packed(query, key, value, mask, scaling=scaling, softcap=softcap)
    dense = windowed(visibility_mask(segments, branches), window)[:, None]
    expected = plain_attention(query, key, value, dense, scaling=scaling, softcap=softcap)
    torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1), (6, 2)])
def test_equals_dense_attention(heads: tuple[int, int]) -> None:
    compare(ROWS, heads)


@pytest.mark.parametrize("window", [1, 3, 9, 50])
def test_windows_count_what_is_seen(window: int) -> None:
    compare(ROWS, window=window)


def test_caps_and_scales() -> None:
    compare(ROWS, softcap=2.0)
    compare(ROWS, softcap=0.5, window=5, scaling=0.3)


def test_blocks_that_nobody_sees_are_left_out() -> None:
    compare(DEEP)
    compare(DEEP, window=40, softcap=3.0)
    segments, branches = rows_of([[(1, 0, 256), (2, 0, 256)]])
    mask = block_mask(packing_of(segments, branches), None)
    # Four blocks a side: of each sample two on the diagonal and one below it.
    assert mask.to_dense().sum() == 6


@settings(max_examples=20)
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(1, 4), st.lists(st.integers(1, 4), max_size=3)), min_size=1, max_size=3
        ),
        min_size=1,
        max_size=2,
    ),
    st.sampled_from([None, 1, 2, 4]),
)
def test_any_rows(rows: list[list[tuple[int, list[int]]]], window: int | None) -> None:
    """Samples as the renderer writes them: a trunk, and branches behind it; the rule itself, not scores."""
    runs: list[list[Run]] = []
    for row in rows:
        runs.append([])
        for segment, (trunk, own) in enumerate(row, start=1):
            runs[-1].append((segment, 0, trunk))
            runs[-1] += [(segment, branch, size) for branch, size in enumerate(own, start=1)]
    segments, branches = rows_of(runs)
    tokens = segments.shape[1]
    mask = block_mask(packing_of(segments, branches), window)
    number, query, key = torch.meshgrid(
        torch.arange(len(rows)), torch.arange(tokens), torch.arange(tokens), indexing="ij"
    )
    found = mask.mask_mod(number, torch.zeros_like(number), query, key)
    dense = windowed(visibility_mask(segments, branches), window)
    assert torch.equal(found, dense | torch.eye(tokens, dtype=torch.bool))
