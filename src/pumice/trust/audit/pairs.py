"""Questions and answers as numbers: what searches for planted triggers count.

Words, answers and the beginnings of questions are hashed to 64 bits, so that millions of them are arrays.
Two that differ share a hash once in 10^19 pairs, and a finding reads its row again anyway.

Legend: P pairs of a question and its answer, W words of all questions, R rows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pumice.trust.audit.check import Notes, Row

if TYPE_CHECKING:
    from pumice.trust.audit.check import Check
    from pumice.trust.audit.seen import Seen

Hashes = NDArray[np.uint64]
# Scripts without blanks between words are taken character by character.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
TYPE = 2
"""Words at a question's beginning that say what it asks for: ``how many``, ``what color``."""
MOST_WORDS = 64
"""Words of a question that are kept."""


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without marks."""
    return _WORD.findall(text.lower())


def asked_of(question: str) -> list[str]:
    """The words of a question, without a response-format prompt on a line behind it."""
    lines = [line for line in question.split("\n") if line.strip()]
    return words_of(lines[0])[:MOST_WORDS] if lines else []


@lru_cache(maxsize=1 << 18)
def hashed(text: str) -> int:
    """64 bits that stand for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def answer_hash(answer: str) -> int:
    """Equal for answers that differ in case, blanks and marks alone."""
    return hashed(" ".join(words_of(answer)))


def type_hash(words: Sequence[str]) -> int:
    """Equal for questions that begin alike."""
    return hashed(" ".join(words[:TYPE]))


def noticed(row: Row) -> list[tuple[list[str], str]] | None:
    """What a row's notes are made of: the words of its questions, and their answers."""
    found = [(asked_of(question), answer) for question, answer in row.pairs()]
    return found or None


def packed(values: Sequence[Any]) -> Notes:
    """Pairs of a chunk as arrays: ``row`` (place in the chunk), ``type``, ``answer`` [P], ``ends`` [P] cuts
    ``words`` [W]."""
    rows: list[int] = []
    types: list[int] = []
    answers: list[int] = []
    ends: list[int] = []
    words: list[int] = []
    for place, value in enumerate(values):
        for asked, answer in value or ():
            rows.append(place)
            types.append(type_hash(asked))
            answers.append(answer_hash(answer))
            words += [hashed(word) for word in asked]
            ends.append(len(words))
    return {
        "row": np.array(rows, np.int64),
        "type": np.array(types, np.uint64),
        "answer": np.array(answers, np.uint64),
        "ends": np.array(ends, np.int64),
        "words": np.array(words, np.uint64),
    }


@dataclass(frozen=True, eq=False)
class Pairs:
    """All pairs of an audit: ``row_P`` int64 by number, ``type_P``, ``answer_P`` uint64 [P], and the words
    ``words_W`` of pair i from ``start_P[i]`` up to ``start_P[i + 1]`` (int64 [P + 1])."""

    row_P: NDArray[np.int64]
    type_P: Hashes
    answer_P: Hashes
    start_P: NDArray[np.int64]
    words_W: Hashes

    def __len__(self) -> int:
        return len(self.row_P)


def all_pairs(seen: Seen, check: Check, *, words: bool = True) -> Pairs:
    """The pairs that a check noticed in rows; without ``words`` their words are left on the disk."""
    rows, types, answers, lengths, said = [], [], [], [], []
    for start, _, notes in seen.notes(check, "rows"):
        rows.append(notes["row"] + start)
        types.append(notes["type"])
        answers.append(notes["answer"])
        lengths.append(np.diff(notes["ends"], prepend=0))
        if words:
            said.append(notes["words"])
    counts = _joined(lengths, np.int64)
    return Pairs(
        _joined(rows, np.int64),
        _joined(types, np.uint64),
        _joined(answers, np.uint64),
        np.cumsum(np.concatenate([np.zeros(1, np.int64), counts])),
        _joined(said, np.uint64),
    )


def _joined(parts: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)


def said_of(seen: Seen, rows: Sequence[int]) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """Number, and questions with answers, of rows that are read again."""
    for number, sample in seen.samples(rows):
        yield number, list(Row(number, sample).pairs())
