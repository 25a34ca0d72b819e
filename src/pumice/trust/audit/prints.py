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
from pumice.trust.audit.likeness import CUTS, SIDE, Hashes, Thumb, hash_picture, likeness, near_pairs
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


def gather(
    pairs: dict[tuple[int, int], tuple[int, int, bool]],
    asked: Hashes,
    known: Hashes,
    *,
    turned: bool,
    within: bool,
) -> None:
    """Add pairs whose hashes are near: the whole of the asked, each cut of the known.

    Args:
        pairs: by numbers of asked and known; the fewest bits of each stay.
        asked: whole hashes, uint64 [a].
        known: all hashes, uint64 [k, V].
        turned: whether asked and known were swapped, so that numbers are put in order again.
        within: whether both are the same pictures.
    """
    for left, right, bits in near_pairs(asked, np.ascontiguousarray(known).ravel()):
        others, cuts = np.divmod(right, len(CUTS))
        for one, other, cut, differ in zip(
            left.tolist(), others.tolist(), cuts.tolist(), bits.tolist(), strict=True
        ):
            key, swapped = (
                ((other, one), True) if turned or (within and other < one) else ((one, other), False)
            )
            if (not within or one != other) and (key not in pairs or differ < pairs[key][0]):
                pairs[key] = differ, cut, swapped


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
        pairs: dict[tuple[int, int], tuple[int, int, bool]] = {}
        gather(pairs, hashes[usable, 0], hashes[usable], turned=False, within=True)
        numbered = {
            (int(usable[one]), int(usable[other])): (bits, cut, turned)
            for (one, other), (bits, cut, turned) in pairs.items()
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
