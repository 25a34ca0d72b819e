"""What a data file holds, in numbers: rows, pictures, turns, words; in all and per data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pumice.data.table import SampleTable
from pumice.types import IntArray


@dataclass(frozen=True, slots=True)
class Count:
    """Numbers of some rows. ``shown`` counts a picture or video as often as a row shows it; ``pairs`` are
    questions with their answers, ``question_words`` and ``answer_words`` the words of all of them."""

    name: str
    rows: int
    shown: int
    pairs: int
    question_words: int
    answer_words: int

    @property
    def words(self) -> int:
        """Words of questions and answers."""
        return self.question_words + self.answer_words


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many rows have how many words: row i counts those from ``edges[i]`` up to ``edges[i + 1]``, the
    last those from there on."""

    edges: tuple[int, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Statistics:
    """A data file in numbers; ``groups`` are its data sets, the largest first."""

    total: Count
    pictures: int
    videos: int
    text_only: int
    groups: tuple[Count, ...]
    histogram: Histogram
    longest: str


def describe(table: SampleTable) -> Statistics:
    """Count a table; nothing is read."""
    columns = table.columns
    shown = np.diff(columns.use_start)
    words = (columns.question_words + columns.answer_words).astype(np.int64)
    groups = [
        _count(table, name, columns.group == number, shown) for number, name in enumerate(table.head.groups)
    ]
    return Statistics(
        total=_count(table, table.source, np.ones(len(table), np.bool_), shown),
        pictures=table.pictures - table.videos,
        videos=table.videos,
        text_only=int((shown == 0).sum()),
        groups=tuple(sorted(groups, key=lambda group: (-group.rows, group.name))),
        histogram=_histogram(words),
        longest=f"{table.origin(int(words.argmax()))}: {int(words.max()):,} words",
    )


def _count(
    table: SampleTable, name: str, chosen: np.ndarray[tuple[int], np.dtype[np.bool_]], shown: IntArray
) -> Count:
    columns = table.columns
    return Count(
        name,
        rows=int(chosen.sum()),
        shown=int(shown[chosen].sum()),
        pairs=int(columns.pairs[chosen].sum()),
        question_words=int(columns.question_words[chosen].sum(dtype=np.int64)),
        answer_words=int(columns.answer_words[chosen].sum(dtype=np.int64)),
    )


def _histogram(words: IntArray) -> Histogram:
    """In steps that double, from 8 words on: lengths of conversations spread over orders of magnitude."""
    edges = [0, *(2**power for power in range(3, 1 + max(4, int(words.max()).bit_length())))]
    counts, _ = np.histogram(words, [*edges, max(int(words.max()) + 1, edges[-1] + 1)])
    while len(edges) > 2 and counts[-1] == 0:
        edges, counts = edges[:-1], counts[:-1]
    return Histogram(tuple(edges), tuple(int(count) for count in counts))
