"""Places are handed out, moved and put together without a value being lost."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pumice.infer.engine.arena import Arena, Extent
from pumice.model.ragged import Ragged, Stretch

PLACES = 40


@pytest.fixture(scope="module")
def arena(tiny: Any) -> Arena:
    return Arena(tiny.model, PLACES)


def write(arena: Arena, extent: Extent, count: int, mark: float) -> None:
    """Fill the next places of an extent with one number."""
    arena.ragged = Ragged((Stretch(0, count, extent.start, extent.filled + count),), torch.device("cpu"))
    with torch.inference_mode():
        for layer in arena._layers:
            heads, _, width = layer.keys.shape
            layer.update(
                torch.full((1, heads, count, width), mark), torch.full((1, heads, count, width), -mark)
            )
    extent.filled += count


def marks(arena: Arena, extent: Extent) -> list[float]:
    span = slice(extent.start, extent.start + extent.filled)
    for layer in arena._layers:
        assert torch.equal(layer.keys[:, span], -layer.values[:, span])
    return arena._layers[-1].keys[0, span, 0].tolist()


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["take", "give", "grow", "fill", "shrink", "copy"]),
            st.integers(0, 7),
            st.integers(1, 25),
        ),
        max_size=40,
    )
)
def test_no_value_is_ever_lost(arena: Arena, moves: list[tuple[str, int, int]]) -> None:
    live: list[tuple[Extent, list[float]]] = []
    mark = 0.0
    for what, which, size in moves:
        free = arena.free
        if what == "take":
            extent = arena.take(size)
            assert (extent is not None) == (size <= free)
            if extent is not None:
                live.append((extent, []))
            continue
        if not live:
            continue
        extent, expected = live[which % len(live)]
        if what == "give":
            arena.give(extent)
            live.remove((extent, expected))
        elif what == "grow":
            fits = size - extent.capacity <= free
            assert arena.grow(extent, size) == fits
        elif what == "fill" and extent.filled < extent.capacity:
            mark += 1
            count = min(size, extent.capacity - extent.filled)
            write(arena, extent, count, mark)
            expected += [mark] * count
        elif what == "shrink" and extent.filled:
            arena.shrink(extent)
        elif what == "copy":
            target = arena.take(size)
            if target is not None:
                count = min(size, extent.filled)
                arena.copy(extent, target, count)
                live.append((target, expected[:count]))
        spans = sorted((one.start, one.end) for one, _ in live)
        assert all(a[1] <= b[0] for a, b in pairwise(spans))
        assert not spans or spans[-1][1] <= PLACES
        for one, values in live:
            assert marks(arena, one) == values
    for extent, _ in live:
        arena.give(extent)
    assert arena.free == PLACES


def test_a_token_takes_what_the_layers_keep(tiny: Any, arena: Arena) -> None:
    config = tiny.model.lm.config
    width = config.hidden_size // config.num_attention_heads
    assert arena.token_bytes == 2 * config.num_hidden_layers * config.num_key_value_heads * width * 4


def test_an_arena_that_grows_keeps_what_it_has(tiny: Any) -> None:
    arena = Arena(tiny.model, 2, most_bytes=20 * Arena(tiny.model, 2).token_bytes)
    assert arena.take(6) is None
    assert arena.extend(6)
    first = arena.take(6)
    assert first is not None
    write(arena, first, 5, 3.0)
    assert arena.extend(9)
    second = arena.take(9)
    assert second is not None
    write(arena, second, 9, 4.0)
    assert marks(arena, first) == [3.0] * 5
    assert (arena.places, arena.free) == (15, 0)
    assert not arena.extend(6), "beyond the budget, and another one runs"
    assert arena.places == 15
    assert arena.extend(30, alone=True)
    assert arena.grow(second, 39)
    assert (marks(arena, first), marks(arena, second)) == ([3.0] * 5, [4.0] * 9)
    assert not Arena(tiny.model, 4).extend(5, alone=True), "one that was reserved stays as it is"
