from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pumice.model import tiles
from pumice.model.attention import plain_attention, visibility_mask, windowed
from pumice.model.block_attention import block_attention
from pumice.model.packing import Block, packing_of
from pumice.model.tiles import groups_of

Run = tuple[int, int, int]
"""Segment, branch, tokens."""


def rows_of(rows: list[list[Run]]) -> tuple[Tensor, Tensor]:
    """Segment and branch ids [B, T] of rows given as runs; shorter rows end in padding."""
    tokens = max(sum(length for _, _, length in row) for row in rows)
    segments, branches = torch.zeros(2, len(rows), tokens, dtype=torch.int64).unbind()
    for number, row in enumerate(rows):
        at = 0
        for segment, branch, length in row:
            segments[number, at : at + length] = segment
            branches[number, at : at + length] = branch
            at += length
    return segments, branches


ROWS = [
    [(1, 0, 7), (1, 1, 3), (1, 2, 9), (2, 0, 5)],
    [(1, 0, 20)],
    [(1, 0, 1), (2, 0, 2), (3, 0, 4), (3, 1, 2), (3, 1, 1)],
]


def compare(
    rows: list[list[Run]],
    heads: tuple[int, int] = (4, 2),
    *,
    window: int | None = None,
    softcap: float | None = None,
    dtype: torch.dtype = torch.float32,
    tolerance: float = 2e-6,
) -> None:
    """Outputs and gradients against dense attention under the mask of the same rows."""
    segments, branches = rows_of(rows)
    shape = (segments.shape[0], segments.shape[1], 8)
    torch.manual_seed(0)
    given = [torch.randn(shape[0], n, *shape[1:], dtype=dtype) for n in (heads[0], heads[1], heads[1])]
    real = (segments > 0)[:, :, None, None]
    weight = torch.randn(shape[0], shape[1], heads[0], 8) * real

    def run(packed: bool) -> list[Tensor]:
        query, key, value = (x.clone().requires_grad_() for x in given)
        if packed:
            groups = groups_of(packing_of(segments, branches), window)
            found = block_attention(query, key, value, groups, softcap=softcap)
        else:
            mask = windowed(visibility_mask(segments, branches), window)[:, None]
            query, key, value = (x.detach().float().requires_grad_() for x in (query, key, value))
            found = plain_attention(query, key, value, mask, softcap=softcap)
        (found.float() * weight).sum().backward()
        grads = [x.grad for x in (query, key, value) if x.grad is not None]
        assert len(grads) == 3
        return [found.float() * real, *(grad.float() for grad in grads)]

    for own, dense in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(own, dense, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
def test_equals_dense_attention(heads: tuple[int, int]) -> None:
    compare(ROWS, heads)


@pytest.mark.parametrize("window", [1, 3, 9, 50])
def test_windows(window: int) -> None:
    compare(ROWS, window=window)


def test_softcap() -> None:
    compare(ROWS, softcap=2.0)


@pytest.mark.parametrize("window", [None, 5])
def test_long_blocks_go_in_stretches(monkeypatch: pytest.MonkeyPatch, window: int | None) -> None:
    monkeypatch.setattr(tiles, "CALL_COST", 8)
    monkeypatch.setattr(tiles, "MULTIPLE", 2)
    compare(ROWS, window=window)


def test_bfloat16_is_close() -> None:
    compare(ROWS, dtype=torch.bfloat16, tolerance=0.05)


@pytest.mark.parametrize("sharp", [1.0, 4.0, 8.0])
@pytest.mark.parametrize("stretch", [4, 128])
def test_autocast_is_as_exact_as_sdpa(monkeypatch: pytest.MonkeyPatch, sharp: float, stretch: int) -> None:
    """Queries and keys come in float32 and values in bfloat16, as after rotations under autocast; with sharp
    attention a rounded score is a wrong weight, and many stretches add up into each key."""
    monkeypatch.setattr(tiles, "CALL_COST", stretch**2 // 2)
    torch.manual_seed(0)
    segments = torch.ones(1, 200, dtype=torch.int64)
    groups = groups_of(packing_of(segments, torch.zeros_like(segments)), None)
    query, key = torch.randn(2, 1, 4, 200, 32).mul(sharp).bfloat16().float().unbind()
    value, weight = torch.randn(1, 4, 200, 32).bfloat16(), torch.randn(1, 200, 4, 32)

    def run(how: str) -> list[Tensor]:
        given = [x.clone().requires_grad_() for x in (query, key, value)]
        if how == "exact":
            q, k, v = (x.float() for x in given)
        else:
            q, k, v = given
        with torch.autocast("cpu", torch.bfloat16, enabled=how != "exact"):
            if how == "blocks":
                found = block_attention(q, k, v, groups)
            else:
                found = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        (found.float() * weight).sum().backward()
        assert all(x.grad is not None for x in given)
        return [found.float(), *(x.grad.float() for x in given if x.grad is not None)]

    exact, blocks_, sdpa = run("exact"), run("blocks"), run("sdpa")
    for own, theirs, right in zip(blocks_, sdpa, exact, strict=True):
        error, allowed = (float(((x - right).norm() / right.norm()).detach()) for x in (own, theirs))
        assert error < 3 * allowed + 0.002


runs = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(1, 4)), min_size=1, max_size=5)


@settings(max_examples=30)
@given(st.lists(runs, min_size=1, max_size=3), st.sampled_from([None, 1, 2, 4]))
def test_any_rows(rows: list[list[Run]], window: int | None) -> None:
    segments, branches = rows_of(rows)
    packing = packing_of(segments, branches)
    seen = torch.zeros(*segments.shape, segments.shape[1], dtype=torch.bool)
    for block in packing.blocks:
        for query in range(block.start, block.stop):
            for start, stop in (*block.before, (block.start, query + 1)):
                seen[block.row, query, start:stop] = True
    real = (segments > 0)[:, :, None]
    assert torch.equal(seen, visibility_mask(segments, branches) & real)
    if bool(real.any()):
        compare(rows, window=window)


def test_blocks_by_hand() -> None:
    packing = packing_of(*rows_of([[(1, 0, 2), (1, 1, 1), (1, 2, 3), (2, 0, 4)], [(1, 0, 3)]]))
    assert packing.shape == (2, 10)
    assert packing.blocks == (
        Block(0, 0, 2),
        Block(0, 2, 3, ((0, 2),)),
        Block(0, 3, 6, ((0, 2),)),
        Block(0, 6, 10),
        Block(1, 0, 3),
    )
    assert not packing.plain


def test_edges_of_flat_rows() -> None:
    packing = packing_of(*rows_of([[(1, 0, 2), (2, 0, 3)], [(1, 0, 3)]]))
    assert packing.plain
    assert packing.edges() == ([0, 2, 5, 8, 10], 3)


def test_memory_grows_with_tokens_alone() -> None:
    """What is kept for the backward pass holds no weights of queries and keys."""
    segments, branches = rows_of([[(1, 0, 300)]])
    query = torch.randn(1, 2, 300, 8, requires_grad=True)
    kept = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        block_attention(query, query, query, groups_of(packing_of(segments, branches), None)).sum()
    assert max(kept) <= query.numel() + 2 * 8  # one empty place
