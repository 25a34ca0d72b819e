"""Who runs: admission in the order of arrival, parts of prompts between decode steps, preemption.

waiting --admit--> running --retire--> (kept for prompts that begin alike)
   ^                  |
   +----preempt-------+    when places run out; the newest goes first and comes back first
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from pumice.infer.engine.arena import Arena, Extent
from pumice.infer.engine.prefix import WORTH, PrefixCache, telling
from pumice.infer.engine.requests import Limits
from pumice.infer.engine.runner import Work
from pumice.infer.engine.sequence import Sequence

ROOM = 64
"""Places that a stretch gets beyond what it needs now: it grows this much at a time."""
ALONE = 2
"""A step that keeps no answer waiting may have so many times the prompt tokens. A prompt with one picture is
then read at once; products of the few rows that a cut leaves are slow for their number."""


class Scheduler:
    """The waiting and the running sequences, and the places of the arena among them.

    Args:
        arena: places for keys and values.
        limits: how many may run, how many prompt tokens a step may have.
    """

    def __init__(self, arena: Arena, limits: Limits) -> None:
        self.arena = arena
        self.limits = limits
        self.prefixes = PrefixCache(arena)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.preemptions = 0

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.waiting and not self.running

    def admit(self) -> Iterator[Sequence]:
        """Start waiting sequences while there is room, in their order; gives those that start the first time.

        One whose beginning another sequence is computing right now waits for it and lets others pass.
        """
        for sequence in list(self.waiting):
            if len(self.running) >= self.limits.running:
                return
            if self._follows(sequence):
                continue
            source, length = self._source(sequence)
            if self._waits(sequence, length):
                continue
            if not self._place(sequence, source, length):
                return
            self.waiting.remove(sequence)
            self.running.append(sequence)
            if sequence.cached is None:
                sequence.cached = sequence.computed
                yield sequence

    def plan(self) -> list[Work]:
        """What the next step computes: a token of each answer, and parts of prompts in their order.

        A prompt's part ends before a picture whose embeddings are not at hand.
        """
        work: list[Work] = []
        budget = self.limits.chunk
        if all(one.left > 1 for one in self.running):  # no answer waits for this step
            budget *= ALONE
        for sequence in list(self.running):
            if sequence not in self.running:
                continue  # preempted for one before it
            count = 1
            if sequence.left > 1:
                count = _ready(sequence, min(budget, sequence.left))
            elif _ready(sequence, 1) == 0:
                count = 0
            if count and self._grow(sequence, sequence.computed + count):
                work.append(Work(sequence, count))
                budget -= count if sequence.left > 1 else 0
        return [one for one in work if one.sequence in self.running]

    def retire(self, sequence: Sequence, *, keep: bool = True) -> None:
        """Take a sequence out, wherever it is; its keys and values are kept for others, or given back."""
        if sequence in self.running:
            self.running.remove(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
        extent, sequence.extent = sequence.extent, None
        if extent is None:
            return
        if keep:
            self.prefixes.keep(extent, sequence.keys()[: extent.filled])
        else:
            self.arena.give(extent)

    def _follows(self, sequence: Sequence) -> bool:
        """Whether the one it waits for has not come far enough."""
        leader = sequence.leader
        if leader is not None and leader in self.running and leader.computed < sequence.awaited:
            return True
        sequence.leader = None
        return False

    def _waits(self, sequence: Sequence, have: int) -> bool:
        """Whether it waits for another one's prompt, given how much of its beginning lies computed."""
        keys = sequence.keys()
        place = telling(keys)
        wanted = keys.size - 1  # the last token is computed anew: the next one is drawn from it
        for other in self.running:
            if other.left <= 1:
                continue
            shared = min(other.shared(keys, place), wanted)
            if shared - have >= WORTH and other.computed < shared:
                sequence.leader, sequence.awaited = other, shared
                return True
        return False

    def _source(self, sequence: Sequence) -> tuple[Extent | None, int]:
        """Where most of its beginning lies computed, and how much of it."""
        keys = sequence.keys()
        place = telling(keys)
        best, length = self.prefixes.best(keys)
        for other in self.running:
            if other.extent is None:
                continue
            shared = min(other.shared(keys, place), other.computed)
            if shared > length:
                best, length = other.extent, shared
        return best, min(length, keys.size - 1)

    def _place(self, sequence: Sequence, source: Extent | None, length: int) -> bool:
        """Give a sequence its stretch, with what ``source`` has of its beginning; False without room."""
        known = len(sequence.ids)
        places = min(known + ROOM, max(known, sequence.longest))
        extent = self.arena.take(places, moves=False)
        if extent is None and self.prefixes.make_gap(places, spared=source):
            extent = self.arena.take(places)
        extent = extent or self.arena.take(places)
        while extent is None and self.prefixes.evict(spared=source):
            extent = self.arena.take(places)
        if extent is None and self.arena.extend(places):
            extent = self.arena.take(places)
        if extent is None and not self.running:  # the source is all that is left to give
            self.prefixes.clear()
            source, extent = None, self.arena.take(places)
            if extent is None and self.arena.extend(places, alone=True):
                extent = self.arena.take(places)
        if extent is None:
            return False
        if source is not None and length:
            self.arena.copy(source, extent, length)
            self.prefixes.touch(source)
        sequence.extent = extent
        return True

    def _grow(self, sequence: Sequence, places: int) -> bool:
        """Give a running sequence room; others are preempted, the newest first, at last itself (False)."""
        assert sequence.extent is not None
        if places <= sequence.extent.capacity:
            return True
        wanted = min(places + ROOM, max(places, sequence.longest))
        while not self.arena.grow(sequence.extent, wanted):
            if self.prefixes.evict():
                continue
            if self.arena.extend(wanted - sequence.extent.capacity, alone=self.running == [sequence]):
                continue
            if wanted > places:
                wanted = places
                continue
            newest = self.running[-1]
            self.preempt(newest)
            if newest is sequence:
                return False
        return True

    def preempt(self, sequence: Sequence) -> None:
        """Send a running sequence back to the front of the queue; what it wrote stays, its places do not."""
        self.retire(sequence, keep=False)
        self.waiting.appendleft(sequence)
        self.preemptions += 1


def _ready(sequence: Sequence, count: int) -> int:
    """How many of the next ``count`` tokens can be computed with the embeddings at hand."""
    start = sequence.computed
    for picture in sequence.pictures(start, start + count):
        if picture.digest not in sequence.features:
            return max(0, picture.start - start)
    return count
