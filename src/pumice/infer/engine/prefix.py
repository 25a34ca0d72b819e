"""Keys and values of what was computed before, for prompts that begin alike.

Sources are the answers that run and those that are done: an answer's places stay as they are when it ends,
until somebody needs them. What two prompts share is found by comparing keys (``prompt.Prompt.keys``), token
by token, so neither a hash nor a block decides. A match is copied when it is found. So nothing refers to a
kept stretch for longer than a copy takes, and any of them can go at any time.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from pumice.infer.engine.arena import Arena, Extent
from pumice.types import IntArray

WORTH = 16
"""A beginning of fewer tokens is as quickly computed as looked for."""


def common(first: IntArray, second: IntArray) -> int:
    """How many keys are equal from the beginning on."""
    length = min(first.size, second.size)
    differs = first[:length] != second[:length]
    at = int(differs.argmax()) if length else 0
    return at if length and differs[at] else length


def telling(keys: IntArray) -> int:
    """The place that tells most prompts apart: of the first picture, where hardly anything stands before it.

    Prompts with other keys there have nothing in common that is worth having. Looking at one place takes a
    tenth of comparing all, and an engine with hundreds of answers compares all the time.
    """
    pictures = keys[:WORTH] < 0
    if pictures.any():
        return int(pictures.argmax())
    return WORTH - 1 if keys.size >= WORTH else 0


def alike(first: IntArray, second: IntArray, place: int) -> bool:
    """Whether two prompts may have a beginning in common; ``place`` is the ``telling`` one of either."""
    return place < first.size and place < second.size and bool(first[place] == second[place])


class PrefixCache:
    """Stretches of the arena that no answer uses any more, by their keys; used longest ago goes first."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._kept: OrderedDict[Extent, IntArray] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def places(self) -> int:
        """Places that kept stretches take."""
        return sum(extent.capacity for extent in self._kept)

    def best(self, keys: IntArray) -> tuple[Extent | None, int]:
        """The stretch that has most of the beginning of ``keys``, and how much of it."""
        best: Extent | None = None
        length = 0
        place = telling(keys)
        for extent, kept in self._kept.items():
            if not alike(kept, keys, place):
                continue
            shared = common(kept, keys)
            if shared > length:
                best, length = extent, shared
        return best, length

    def touch(self, extent: Extent) -> None:
        """Make a stretch the last to go, if it is one of these."""
        if extent in self._kept:
            self._kept.move_to_end(extent)

    def keep(self, extent: Extent, keys: IntArray) -> None:
        """Take over a stretch whose filled places hold ``keys``; what others have of it already goes."""
        self._arena.shrink(extent)
        if not extent.capacity:
            return
        for other, kept in list(self._kept.items()):
            shared = common(kept, keys)
            if shared == keys.size:  # another has all of this
                self._arena.give(extent)
                self.touch(other)
                return
            if shared == kept.size:  # this has all of the other
                self._drop(other)
        self._kept[extent] = keys

    def evict(self, spared: Extent | None = None) -> bool:
        """Give the places of the stretch used longest ago back; False where there is none but ``spared``."""
        for extent in self._kept:
            if extent is not spared:
                self._drop(extent)
                return True
        return False

    def make_gap(self, places: int, spared: Extent | None = None) -> bool:
        """Give stretches back that lie beside each other, so that so many free places do, too.

        Of all ways the one whose youngest stretch was used longest ago; nothing that is in use is moved.
        False where running answers lie between all of them, and where ``spared`` does.
        """
        age = {extent: number for number, extent in enumerate(self._kept) if extent is not spared}
        best: tuple[int, list[Extent]] | None = None
        window: list[Extent] = []
        begin = 0
        for extent in self._arena.taken:
            if extent in age:
                window.append(extent)
                continue
            best = _older(best, window, begin, extent.start, places, age)
            window, begin = [], extent.end
        best = _older(best, window, begin, self._arena.places, places, age)
        for extent in [] if best is None else best[1]:
            self._drop(extent)
        return best is not None

    def clear(self) -> None:
        """Give all places back."""
        while self.evict():
            pass

    def _drop(self, extent: Extent) -> None:
        del self._kept[extent]
        self._arena.give(extent)


def as_keys(prompt: IntArray, ids: list[int]) -> IntArray:
    """The keys of a prompt and what was generated behind it."""
    return np.concatenate([prompt, np.array(ids, dtype=np.int64)])


def _older(
    best: tuple[int, list[Extent]] | None,
    run: list[Extent],
    begin: int,
    end: int,
    places: int,
    age: dict[Extent, int],
) -> tuple[int, list[Extent]] | None:
    """The best window among those known and those of one run of kept stretches, free from begin to end."""
    edges = [begin, *(extent.end for extent in run)]
    for first in range(len(run)):
        newest, last = age[run[first]], first
        while True:
            stop = run[last + 1].start if last + 1 < len(run) else end
            if stop - edges[first] >= places:
                window = run[first : last + 1]
                if best is None or (newest, len(window)) < (best[0], len(best[1])):
                    best = newest, window
                break
            last += 1
            if last == len(run):
                break
            newest = max(newest, age[run[last]])
    return best
