from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumice.train.seats import SEATS, chunks, owner, seat


def key(number: int) -> bytes:
    return hashlib.blake2b(str(number).encode(), digest_size=16).digest()


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 40)), unique_by=lambda pair: pair[0]))
def test_every_view_has_one_seat_which_only_it_decides(views: list[tuple[int, int]]) -> None:
    given_views = [(key(number), tiles) for number, tiles in views]
    found = chunks(given_views)
    placed = [number for chunk in found for number, _ in chunk.members]
    assert sorted(placed) == list(range(len(views)))
    for chunk in found:
        taken: set[int] = set()
        for number, place in chunk.members:
            own, tiles = given_views[number]
            assert chunk.tiles == tiles
            assert place == seat(own, tiles)
            used = set(range(chunk.start(place), chunk.start(place) + tiles))
            assert not used & taken
            assert max(used) < chunk.size
            taken |= used
        assert chunk.size == chunks([given_views[chunk.members[0][0]]])[0].size, "company changes no size"


@pytest.mark.parametrize(("tiles", "size"), [(1, 16), (3, 16), (5, 16), (6, 12), (9, 12), (16, 16), (33, 36)])
def test_sizes_follow_from_the_tiles_alone(tiles: int, size: int) -> None:
    assert chunks([(key(0), tiles)])[0].size == size


def test_many_pictures_leave_few_seats_empty() -> None:
    found = chunks([(key(number), 1) for number in range(20_000)])
    assert len(found) * SEATS < 1.1 * 20_000
    shares = [sum(owner(key(number), 8) == rank for number in range(8000)) for rank in range(8)]
    assert min(shares) > 850
