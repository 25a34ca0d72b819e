from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pumice.infer.engine.arena import Arena, Extent
from pumice.infer.engine.prefix import PrefixCache, alike, common, telling
from pumice.types import IntArray


@pytest.fixture
def arena(tiny: Any) -> Arena:
    return Arena(tiny.model, 30)


def keys(*values: int) -> IntArray:
    return np.array(values, dtype=np.int64)


def filled(arena: Arena, count: int) -> Extent:
    extent = arena.take(count + 2)
    assert extent is not None
    extent.filled = count
    return extent


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ((), (), 0),
        ((1,), (), 0),
        ((1, 2), (1, 2, 3), 2),
        ((1, 2), (1, 3), 1),
        ((2,), (1,), 0),
        ((1,), (1,), 1),
    ],
)
def test_common(first: tuple[int, ...], second: tuple[int, ...], shared: int) -> None:
    assert common(keys(*first), keys(*second)) == shared == common(keys(*second), keys(*first))


def test_the_longest_beginning_is_found(arena: Arena) -> None:
    cache = PrefixCache(arena)
    short, long = filled(arena, 3), filled(arena, 4)
    cache.keep(short, keys(1, 2, 3))
    cache.keep(long, keys(1, 2, 4, 5))
    assert cache.best(keys(1, 2, 4, 9)) == (long, 3)
    assert cache.best(keys(1, 2, 3, 4)) == (short, 3)
    assert cache.best(keys(7)) == (None, 0)
    assert cache.places == 7  # what was not filled is given back


def test_what_another_has_is_not_kept_twice(arena: Arena) -> None:
    cache = PrefixCache(arena)
    cache.keep(filled(arena, 2), keys(1, 2))
    longer = filled(arena, 3)
    cache.keep(longer, keys(1, 2, 3))
    assert (len(cache), cache.places) == (1, 3)
    cache.keep(filled(arena, 2), keys(1, 2))
    assert cache.best(keys(1, 2, 3)) == (longer, 3)
    assert arena.free == 27


def test_the_one_used_longest_ago_goes_first(arena: Arena) -> None:
    cache = PrefixCache(arena)
    extents = [filled(arena, 1) for _ in range(3)]
    for number, extent in enumerate(extents):
        cache.keep(extent, keys(number))
    cache.touch(extents[0])
    assert cache.evict()
    assert cache.best(keys(1)) == (None, 0)
    assert cache.evict(spared=extents[2])
    assert cache.best(keys(0)) == (None, 0)
    assert not cache.evict(spared=extents[2])
    cache.clear()
    assert arena.free == 30


def test_nothing_filled_is_nothing_kept(arena: Arena) -> None:
    cache = PrefixCache(arena)
    cache.keep(filled(arena, 0), keys())
    assert (len(cache), arena.free) == (0, 30)


def test_a_gap_is_made_of_the_oldest_neighbours(arena: Arena) -> None:
    """Places 0 to 30: kept 0-6, running 6-12, kept 12-18, kept 18-24, free 24-30."""
    cache = PrefixCache(arena)
    extents = [arena.take(6) for _ in range(4)]
    for number, extent in enumerate(extents):
        assert extent is not None
        extent.filled = 6
        if number != 1:
            cache.keep(extent, keys(*range(10 * number, 10 * number + 6)))
    old, running, middle, _ = extents
    assert not cache.make_gap(25), "what runs is in the way"
    assert not cache.make_gap(18, spared=middle)
    cache.touch(old)
    assert cache.make_gap(7)
    assert cache.best(keys(*range(30, 36))) == (None, 0), "with the free places behind it, the last is enough"
    assert cache.best(keys(*range(20, 26))) == (middle, 6)
    assert cache.make_gap(18)
    assert arena.take(18, moves=False) is not None
    assert cache.best(keys(*range(6))) == (old, 6)
    assert running in arena.taken


def test_prompts_whose_picture_differs_are_told_apart_at_once() -> None:
    text = keys(5, 6, 7)
    assert telling(text) == 0
    assert telling(keys()) == 0
    first, second = keys(5, 6, -3, -4, 7), keys(5, 6, -90, -91, 7)
    place = telling(first)
    assert place == 2
    assert not alike(first, second, place)
    assert alike(first, keys(5, 6, -3, 1), place)
    assert not alike(first, keys(5, 6), place)
    assert telling(np.concatenate([np.arange(40), first])) == 15, "a long beginning may be shared"
