from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pumice.model import tiles
from pumice.model.attention import visibility_mask, windowed
from pumice.model.block_attention import KEPT, block_attention
from pumice.model.packing import packing_of
from pumice.model.tiles import groups_of, tiles_of

from .test_block_attention import Run, rows_of

runs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(1, 9)), min_size=1, max_size=6)


@settings(max_examples=60)
@given(st.lists(runs, min_size=1, max_size=3), st.sampled_from([None, 1, 3]), st.sampled_from([1, 20, 2048]))
def test_groups_show_what_the_mask_shows(rows: list[list[Run]], window: int | None, cost: int) -> None:
    segments, branches = rows_of(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "CALL_COST", cost)
        groups = groups_of(packing_of(segments, branches), window)
    count, tokens = segments.numel(), segments.shape[1]
    seen = torch.zeros(count + 1, count + 1, dtype=torch.bool)
    times = torch.zeros(count + 1, dtype=torch.int64)
    for group in groups:
        keys, last = group.key_GK.shape[1], group.hidden_GQk.shape[2]
        hidden = torch.zeros(*group.query_GQ.shape, keys, dtype=torch.bool)
        hidden[:, :, keys - last :] = group.hidden_GQk
        for tile in range(len(group.ranges)):
            for query, hides in zip(group.query_GQ[tile], hidden[tile], strict=True):
                times[query] += 1
                seen[query, group.key_GK[tile][~hides]] = True
    real = segments.flatten() > 0
    assert torch.equal(times[:-1], real.long()), "every token is a query once, padding never"
    wanted = torch.zeros(count, count, dtype=torch.bool)
    dense = windowed(visibility_mask(segments, branches), window)
    for row in range(len(rows)):
        place = slice(row * tokens, (row + 1) * tokens)
        wanted[place, place] = dense[row]
    assert torch.equal(seen[:-1, :-1][real], wanted[real])


def test_short_blocks_share_a_tile_and_long_ones_are_cut() -> None:
    short = [(1, 0, 60), *((1, branch, 10) for branch in range(1, 6)), (2, 0, 40)]
    found = tiles_of(packing_of(*rows_of([short])), None)
    assert len(found) < 4
    assert found[0].start == 0
    assert found[-1].stop == 150
    long = tiles_of(packing_of(*rows_of([[(1, 0, 1000)]])), None)
    sizes = {tile.queries for tile in long}
    assert max(sizes) - min(sizes) <= 1, "cut evenly"
    assert max(sizes) <= tiles.MOST_QUERIES


def test_masks_of_a_long_sample_grow_with_its_tokens() -> None:
    def cells(tokens: int) -> int:
        groups = groups_of(packing_of(*rows_of([[(1, 0, tokens)]])), None)
        return sum(group.hidden_GQk.numel() for group in groups)

    assert cells(8192) < 2.2 * cells(4096)


@pytest.mark.parametrize(("tokens", "kept"), [(16, True), (400, False)])
def test_weights_are_kept_where_they_are_few(tokens: int, kept: bool) -> None:
    shape = (1, 2, 16 * tokens, 8)
    segments = torch.arange(1, 17).repeat_interleave(tokens)[None]
    query = torch.randn(shape, requires_grad=True)
    sizes = []

    def keep(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "CALL_COST", 128)  # a tile for each sample
        groups = groups_of(packing_of(segments, torch.zeros_like(segments)), None)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        block_attention(query, query, query, groups).sum()
    assert (len(sizes) > 3) is kept
    assert sum(sizes) <= (3 + KEPT) * (query.numel() + 2 * 8)
