"""Hashes of words: rows that say the same, and rows that say nearly the same.

Legend: S shingles of a text, K = ``KEYS`` numbers of a signature, n rows.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

KEYS = 64
"""Minima that a signature holds: the share that two have in common tells their likeness to 0.05."""
BANDS = 16
"""Parts of a signature of which one must agree: of texts 0.8 alike 99.98% are compared, 0.9 all."""
WORDS = 3
"""Words of a shingle."""

Hashes = NDArray[np.uint64]
Signature = NDArray[np.uint32]

_WORD = re.compile(r"\w+")
_DRAW = np.random.default_rng(np.random.PCG64(20240607))
_FACTORS: Hashes = _DRAW.integers(1, 2**63, KEYS, dtype=np.uint64) | np.uint64(1)
_SHIFTS: Hashes = _DRAW.integers(0, 2**63, KEYS, dtype=np.uint64)
_PLACES: Hashes = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)


def plain(text: str) -> str:
    """A text without case, punctuation and more than one blank in a row; "" for none.

    >>> plain(" It's RED,  he said. ")
    'it s red he said'
    """
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def hash_of(text: str) -> int:
    """64 bits that stand for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def shingles(text: str) -> Hashes:
    """Hashes of all runs of ``WORDS`` words of a plain text, each once, uint64 [S], rising.

    Words of scripts without blanks are long, so where a text has few words its characters stand for them.
    """
    words: Sequence[str] = text.split(" ") if text else []
    if len(text) > 12 * max(len(words), 1):
        words = text.replace(" ", "")
    own = np.array([zlib.crc32(word.encode("utf-8", "replace")) for word in words], np.uint64)
    if not own.size:
        return np.zeros(0, np.uint64)
    own = np.pad(own, (0, max(WORDS - len(own), 0)))
    count = len(own) - WORDS + 1
    total = np.zeros(count, np.uint64)
    for place in range(WORDS):
        total = (total ^ own[place : place + count]) * _PLACES[place]
        total ^= total >> np.uint64(29)
    return np.unique(total)


def signature(own: Hashes) -> Signature:
    """The MinHash signature of shingles (Broder 1997), uint32 [K]; all ones for none."""
    if not own.size:
        return np.full(KEYS, 2**32 - 1, np.uint32)
    turned = own[:, None] * _FACTORS + _SHIFTS
    return np.asarray((turned >> np.uint64(32)).min(axis=0), np.uint32)


def jaccard(one: Hashes, other: Hashes) -> float:
    """What two sets of shingles have in common, of all that either has; 0 to 1."""
    both = len(np.intersect1d(one, other, assume_unique=True))
    every = len(one) + len(other) - both
    return both / every if every else 0.0


def alike(
    signatures: NDArray[np.uint32], apart: Hashes, least: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of rows whose signatures agree in ``least`` of their numbers, found band by band.

    A row is compared with the first and with the one before it of its bucket (the order within is by
    signature), so that buckets of thousands take no time of millions. Copies of one text are then all
    joined to it, if not each with each.

    Args:
        signatures: uint32 [n, K].
        apart: uint64 [n]; only rows of the same number are compared.
        least: 0 to 1.

    Returns:
        For each band the earlier rows and the later rows, int64.
    """
    width = KEYS // BANDS
    factors = _FACTORS[:width]
    for band in range(BANDS):
        part = signatures[:, band * width : (band + 1) * width].astype(np.uint64)
        key = (part * factors).sum(axis=1, dtype=np.uint64) ^ (apart * _PLACES[0])
        order = np.lexsort([signatures[:, (band * width + width) % KEYS], key])
        sorted_key = key[order]
        new = np.ones(len(order), np.bool_)
        new[1:] = sorted_key[1:] != sorted_key[:-1]
        first = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
        later = ~new
        for left in (first[later], order[:-1][later[1:]] if len(order) else order):
            right = order[later]
            low, high = np.minimum(left, right), np.maximum(left, right)
            same = apart[low] == apart[high]
            low, high = low[same & (low != high)], high[same & (low != high)]
            for at in range(0, len(low), 65536):
                a, b = low[at : at + 65536], high[at : at + 65536]
                agree = (signatures[a] == signatures[b]).mean(axis=1)
                yield a[agree >= least], b[agree >= least]


class Groups:
    """Numbers that belong together, joined pair by pair; the least of each group names it."""

    def __init__(self) -> None:
        self._above: dict[int, int] = {}

    def top(self, number: int) -> int:
        """The least number of its group."""
        path = []
        while (above := self._above.get(number, number)) != number:
            path.append(number)
            number = above
        for one in path:
            self._above[one] = number
        return number

    def join(self, one: int, other: int) -> None:
        """Make two groups one."""
        low, high = sorted((self.top(one), self.top(other)))
        if low != high:
            self._above[high] = low

    def members(self) -> Iterable[tuple[int, list[int]]]:
        """Each group's least number and its others, rising."""
        found: dict[int, list[int]] = {}
        for number in sorted(self._above):
            top = self.top(number)
            if top != number:
                found.setdefault(top, []).append(number)
        return sorted(found.items())
