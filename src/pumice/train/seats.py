"""Where a picture stands when a frozen tower reads it for the folder that runs share.

A matrix product may round differently for other sizes of a chunk, and for another place in it (docs/LOG.md).
What is kept for other runs must not depend on the pictures that one run happened to read together. So size
and place follow from the picture itself: chunks have one size, and a picture's seat is drawn from its key.
The other seats, taken or empty, do not change its bits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pumice.train.pictures import MULTIPLE

SEATS = 16
"""Tiles that go through a tower together. More would be no faster on a CPU, and with more seats there are
more empty ones: the fullest seat decides how many chunks there are."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Views that are read together: each one's number in the list it came from, and its seat.

    Attributes:
        tiles: of each of them.
        members: pairs of a view's number and its seat.
    """

    tiles: int
    members: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """Tiles of the whole chunk, empty seats among them."""
        return -(-seats_of(self.tiles) * self.tiles // MULTIPLE) * MULTIPLE

    def start(self, seat: int) -> int:
        """The first tile of a seat."""
        return seat * self.tiles


def seats_of(tiles: int) -> int:
    """How many views of so many tiles share a chunk; of more than ``SEATS`` tiles each is alone."""
    return max(1, SEATS // tiles)


def seat(key: bytes, tiles: int) -> int:
    """The seat of a view by its key (16 bytes that are as good as random)."""
    return int.from_bytes(key[8:12], "big") % seats_of(tiles)


def owner(key: bytes, world: int) -> int:
    """Which of so many ranks reads a view that nobody has read yet."""
    return int.from_bytes(key[:8], "big") % world


def chunks(views: Sequence[tuple[bytes, int]]) -> list[Chunk]:
    """Views, given by key and number of tiles, in as few chunks as their seats allow.

    Of equal seats each stands in the next chunk; chunks come in the order of their first view.
    """
    found: list[dict[int, int]] = []
    sizes: list[int] = []
    at: dict[int, list[int]] = defaultdict(list)  # the chunks of views of so many tiles
    filled: dict[tuple[int, int], int] = defaultdict(int)  # how many views had this seat so far
    for number, (key, tiles) in enumerate(views):
        place = seat(key, tiles)
        turn = filled[tiles, place]
        filled[tiles, place] += 1
        if turn == len(at[tiles]):
            at[tiles].append(len(found))
            found.append({})
            sizes.append(tiles)
        found[at[tiles][turn]][place] = number
    return [
        Chunk(tiles, tuple((number, place) for place, number in sorted(members.items())))
        for tiles, members in zip(sizes, found, strict=True)
    ]
