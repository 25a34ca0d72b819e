"""What rows say of their picture, in pieces that a text half reads: sentences of answers that tell something.

Legend: R rows with one picture that tell something, S pieces of all of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pumice.trust.audit.check import Row

if TYPE_CHECKING:
    from pumice.trust.audit.seen import Seen

WORDS = 3
"""Words of an answer from which it tells something of the picture and does not only name something."""
MOST = 8
"""Pieces of a row that are read, the longest."""
LONG = 40
"""Words of a piece: some more tokens than text halves take."""
_SENTENCE = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s+")


@dataclass(frozen=True, eq=False)
class Pieces:
    """Texts, [S], with the place of each one's row among ``rows``; ``picture_R`` is a place, too: among the
    pictures that were embedded."""

    rows: NDArray[np.int64]
    picture_R: NDArray[np.int64]
    texts: list[str]
    row_S: NDArray[np.int64]

    def mean(self, values_S: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean over each row's pieces, [R]."""
        size = len(self.rows)
        counts = np.bincount(self.row_S, minlength=size)
        return np.asarray(np.bincount(self.row_S, values_S, minlength=size) / np.maximum(counts, 1))


def of(seen: Seen, numbers: NDArray[np.int64]) -> Pieces:
    """The pieces of all rows with exactly one picture, where that is among ``numbers`` (rising)."""
    starts, shown = seen.material.shown()
    one = np.flatnonzero(np.diff(starts) == 1)
    place = np.searchsorted(numbers, shown[starts[one]])
    known = place < len(numbers)
    known[known] = numbers[place[known]] == shown[starts[one]][known]
    seats = dict(zip(one[known].tolist(), place[known].tolist(), strict=True))
    rows: list[int] = []
    pictures: list[int] = []
    texts: list[str] = []
    owners: list[int] = []
    for number, sample in seen.samples(sorted(seats)):
        found = said(Row(number, sample))
        if found:
            owners += [len(rows)] * len(found)
            rows.append(number)
            pictures.append(seats[number])
            texts += found
    return Pieces(np.array(rows, np.int64), np.array(pictures, np.int64), texts, np.array(owners, np.int64))


def said(row: Row) -> list[str]:
    """What a row's answers tell, sentence by sentence, the longest ``MOST``."""
    found = []
    for _, answer in row.pairs():
        for sentence in _SENTENCE.split(answer.strip()):
            words = sentence.split()
            if len(words) >= WORDS:
                found.append(" ".join(words[:LONG]))
    return sorted(dict.fromkeys(found), key=len, reverse=True)[:MOST]
