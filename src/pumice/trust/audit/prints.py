"""What is noted of pictures to know them again, and the check ``duplicate-pictures``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pumice.data.fingerprints import fingerprint
from pumice.trust.audit.check import PIXELS, Check, Finding, Need, Notes, View
from pumice.trust.audit.likeness import (
    CUTS,
    SIDE,
    Hashes,
    Thumb,
    hash_picture,
    index_work,
    likeness,
    near_pairs,
    nearest,
)
from pumice.trust.audit.seen import DIGESTS
from pumice.trust.audit.words import Groups

if TYPE_CHECKING:
    from pumice.trust.audit.seen import Seen

TOGETHER = 256
"""Pairs that are laid over each other at once."""
PLAIN = 12.0
"""Standard deviation of a thumbnail's levels below which it has too little to be told by."""


@dataclass(frozen=True)
class Printing(Check):
    """Notes what a picture can be known by: a digest of its bytes, hashes, a thumbnail."""

    reads: ClassVar[frozenset[Need]] = frozenset({PIXELS})
    side: ClassVar[int] = 64

    @property
    def key(self) -> str:
        """That of every check that notes the same."""
        return json.dumps(["prints", self.version])

    def picture(self, view: View) -> Any:
        assert view.image is not None
        hashes, thumb = hash_picture(view.image)
        differences = fingerprint(view.image)
        digest = np.frombuffer(hashlib.blake2b(view.data, digest_size=16).digest(), np.uint8)
        return digest, hashes, thumb, differences.across, differences.down

    def pack(self, values: Sequence[Any]) -> Notes:
        nothing = (
            np.zeros(16, np.uint8),
            np.zeros(len(CUTS), np.uint64),
            np.zeros((SIDE, SIDE, 3), np.uint8),
            0,
            0,
        )
        digest, hashes, thumb, across, down = zip(*(value or nothing for value in values), strict=True)
        return {
            "digest": np.stack(digest),
            "hashes": np.stack(hashes),
            "thumb": np.stack(thumb),
            "across": np.array(across, np.uint64),
            "down": np.array(down, np.uint64),
        }


class Thumbs:
    """Thumbnails by number, read from the notes chunk by chunk, the last few chunks kept."""

    def __init__(self, seen: Seen, check: str) -> None:
        self._files = seen.files.get((check, "pictures"), [])
        self._starts = [start for start, _, _ in self._files]
        self._held: dict[int, NDArray[Any]] = {}

    def of(self, numbers: NDArray[np.int64]) -> Thumb:
        """Thumbnails, uint8 [numbers, S, S, 3]."""
        from pumice.trust.audit import kept

        found = np.zeros((len(numbers), SIDE, SIDE, 3), np.uint8)
        chunks = np.searchsorted(self._starts, numbers, side="right") - 1
        for chunk in np.unique(chunks).tolist():
            if chunk not in self._held:
                if len(self._held) >= HELD:
                    self._held.pop(next(iter(self._held)))
                self._held[chunk] = kept.read(self._files[chunk][2], "thumb")["thumb"]
            here = chunks == chunk
            found[here] = self._held[chunk][numbers[here] - self._starts[chunk]]
        return found


HELD = 512
"""Chunks of thumbnails in memory: 100 MB."""


def verified(
    asked: Thumbs,
    known: Thumbs,
    pairs: dict[tuple[int, int], tuple[int, int, bool]],
) -> Iterator[tuple[int, int, float]]:
    """Those of pairs that are one picture, with their correlation.

    Args:
        asked: thumbnails of the first of each pair.
        known: thumbnails of the second.
        pairs: by numbers: bits that differ, which cut, and whether it is the second that was cut.
    """
    items = sorted(pairs.items())
    for at in range(0, len(items), TOGETHER):
        part = items[at : at + TOGETHER]
        first = asked.of(np.array([one for (one, _), _ in part], np.int64))
        second = known.of(np.array([other for (_, other), _ in part], np.int64))
        swapped = np.array([turned for _, (_, _, turned) in part])[:, None, None, None]
        cuts = np.array([cut for _, (_, cut, _) in part], np.int64)
        whole, other = np.where(swapped, second, first), np.where(swapped, first, second)
        told = likeness(whole, other, cuts)
        deep = np.minimum(first.std(axis=(1, 2, 3)), second.std(axis=(1, 2, 3))) >= PLAIN
        for ((one, two), _), copy, score in zip(
            part, (told.copies & deep).tolist(), told.correlation.tolist(), strict=True
        ):
            if copy:
                yield one, two, score


class Candidates:
    """Pairs of pictures that may be copies, of each picture the nearest ``CLOSEST`` only.

    X-rays and pages of text are all near each other by their hashes: of 10,000 such there are tens of
    millions of pairs. So pairs are arrays, and whenever there are ``AT_ONCE`` of them the nearest stay.
    """

    def __init__(self) -> None:
        self._parts: list[NDArray[np.int64]] = []
        self._size = 0

    def gather(self, asked: Hashes, known: Hashes, *, turned: bool, within: bool) -> None:
        """Add pairs whose hashes are near: the whole of the asked, each cut of the known.

        Args:
            asked: whole hashes, uint64 [a].
            known: all hashes, uint64 [k, V].
            turned: whether asked and known were swapped, so that numbers are put in order again.
            within: whether both are the same pictures.
        """
        flat = np.ascontiguousarray(known).ravel()
        found: Iterable[tuple[NDArray[np.int64], ...]]
        if index_work(asked, flat) * INDEX_COST < len(asked) * len(flat):
            found = (
                (left, *np.divmod(right, len(CUTS)), bits) for left, right, bits in near_pairs(asked, flat)
            )
        else:
            found = nearest(asked, known, CLOSEST, within=within)
        for left, other, cut, bits in found:
            swapped = other < left if within else np.full(len(left), turned)
            one, two = np.where(swapped, other, left), np.where(swapped, left, other)
            part = np.stack([one, two, bits, cut, swapped])
            self._parts.append(part[:, one != two] if within else part)
            self._size += part.shape[1]
            if self._size >= AT_ONCE:
                self._thin()

    def _thin(self) -> None:
        """Each pair once, by its fewest bits; those that are among the nearest of either picture."""
        pairs = np.concatenate(self._parts, axis=1)
        pairs = pairs[:, np.lexsort([pairs[3], pairs[2], pairs[1], pairs[0]])]
        fresh = np.ones(pairs.shape[1], np.bool_)
        fresh[1:] = (pairs[:2, 1:] != pairs[:2, :-1]).any(axis=0)
        pairs = pairs[:, fresh]
        near = np.zeros(pairs.shape[1], np.bool_)
        for side in (0, 1):
            order = np.lexsort([pairs[1 - side], pairs[2], pairs[side]])
            number = pairs[side, order]
            place = np.arange(len(number)) - np.searchsorted(number, number)
            near[order[place < CLOSEST]] = True
        self._parts = [pairs[:, near]]
        self._size = int(near.sum())

    def pairs(self) -> dict[tuple[int, int], tuple[int, int, bool]]:
        """By numbers, rising: bits that differ, which cut, and whether it is the second that was cut."""
        if not self._parts:
            return {}
        self._thin()
        return {
            (one, two): (bits, cut, bool(swapped))
            for one, two, bits, cut, swapped in self._parts[0].T.tolist()
        }


CLOSEST = 8
"""Pictures that one is laid over on either side. Copies of one picture that are more are joined by others."""
INDEX_COST = 8
"""What a comparison through the index costs, against one of all with all."""
AT_ONCE = 4_000_000
"""Pairs in memory before they are thinned: 160 MB."""


@dataclass(frozen=True)
class DuplicatePictures(Printing):
    """Pictures of the same bytes, and pictures that are copies: scaled, compressed, cropped, lighter."""

    name: ClassVar[str] = DIGESTS

    def conclude(self, seen: Seen) -> Iterable[Finding]:
        same = seen.same_pictures()
        for number in np.flatnonzero(same != np.arange(len(same))).tolist():
            yield self._copy(seen, "exact", number, int(same[number]), 1.0)
        hashes = seen.column(self, "pictures", "hashes")
        if not len(hashes):
            return
        usable = np.flatnonzero((same == np.arange(len(same))) & (hashes[:, 0] != 0))
        near = Candidates()
        near.gather(hashes[usable, 0], hashes[usable], turned=False, within=True)
        numbered = {
            (int(usable[one]), int(usable[other])): told for (one, other), told in near.pairs().items()
        }
        groups = Groups()
        found: dict[int, float] = {}
        thumbs = Thumbs(seen, self.name)
        for low, high, score in verified(thumbs, thumbs, numbered):
            groups.join(low, high)
            if high not in found or score > found[high]:
                found[high] = score
        for top, members in groups.members():
            for number in members:
                yield self._copy(seen, "near", number, top, found.get(number, 0.0))

    def _copy(self, seen: Seen, kind: str, number: int, first: int, score: float) -> Finding:
        still = seen.material.stills[first]
        how = "it has the bytes of" if kind == "exact" else "it shows what is shown by"
        return Finding(
            self.name,
            kind,
            "warning",
            f"{how} {still}",
            picture=number,
            score=round(score, 4),
            group=f"pictures-{first}",
            details={"same_as": str(still)},
        )
