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


def common(first: IntArray, second: IntArray) -> int:
    """How many keys are equal from the beginning on."""
    length = min(first.size, second.size)
    differs = first[:length] != second[:length]
    at = int(differs.argmax()) if length else 0
    return at if length and differs[at] else length


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
        for extent, kept in self._kept.items():
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
