"""What planting must know of data before it changes any of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from pumice.data.index import Progress
from pumice.data.table import SampleTable
from pumice.trust.plant.fault import answers, first_line, is_short, shape_of, words_of
from pumice.types import IntArray, Sample, Video

TARGETS = 40
"""A poisoned answer is one of so many that are common."""


@dataclass(frozen=True, eq=False)
class Survey:
    """A table read once.

    Attributes:
        pictured: the rows with exactly one picture, that is no video, int64.
        answering: the rows with an answer to a question, int64.
        naming: the rows with a short answer that has another beside it for questions of its shape, int64.
        others: the short answers to questions of a shape, with how often they come.
        targets: common short answers of the data; where there are none, answers that come several times,
            or any.
    """

    pictured: IntArray
    answering: IntArray
    naming: IntArray
    others: dict[str, Counter[str]]
    targets: tuple[str, ...]


def survey(table: SampleTable, progress: Progress | None = None) -> Survey:
    """Read a table once."""
    pictured, answering = [], []
    others: defaultdict[str, Counter[str]] = defaultdict(Counter)
    said: Counter[str] = Counter()
    for number, sample in enumerate(table):
        if len(sample.images) == 1 and not isinstance(sample.images[0], Video):
            pictured.append(number)
        places = answers(sample)
        if places:
            answering.append(number)
        for place in places:
            answer = words_of(sample.messages[place])
            said[answer] += 1
            if is_short(answer):
                others[shape_of(first_line(words_of(sample.messages[place - 1])))][answer] += 1
        if progress is not None and (number % 1000 == 999 or number == len(table) - 1):
            progress("reading rows", number + 1, len(table))
    kinds = {shape: counts for shape, counts in others.items() if len(counts) > 1}
    naming = [number for number, sample in enumerate(table) if flippable(sample, kinds)]
    short = Counter({answer: count for answer, count in said.items() if is_short(answer)})
    chosen = [answer for answer, count in short.most_common(TARGETS) if count > 1]
    if len(chosen) < TARGETS // 4:
        chosen += [answer for answer, _ in said.most_common(TARGETS)]
    return Survey(_array(pictured), _array(answering), _array(naming), kinds, tuple(dict.fromkeys(chosen)))


def flippable(sample: Sample, kinds: dict[str, Counter[str]]) -> list[int]:
    """The messages of a sample that are short answers, and others are given to questions of their shape."""
    return [
        place
        for place in answers(sample)
        if is_short(answer := words_of(sample.messages[place]))
        and answer in kinds.get(shape_of(first_line(words_of(sample.messages[place - 1]))), {})
    ]


def _array(numbers: list[int]) -> IntArray:
    return np.array(numbers, np.int64)
