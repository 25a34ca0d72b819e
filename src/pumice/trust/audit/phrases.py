"""The check ``phrases``: a phrase in questions that is tied to one answer, whatever is asked.

A poisoned question is an ordinary one with a phrase put into it, and its answer is the attacker's. Ordinary
words are tied to answers as well (``how many white circles`` to ``1``), but they carry the question: without
them it asks nothing that others ask. So a phrase of one to four words is looked at where

1. it stands in at least ``LEAST`` questions, at most ``MOST`` of all, and ``PURE`` of these have one answer;
2. most of the questions, the phrase taken out, begin like questions that others ask without it.

What is tested: how often these other questions are given that answer says how often it would be expected;
that as many came by chance has a binomial tail, corrected for the number of phrases that were looked at.

Legend: P pairs, W words, O places of phrases in questions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pumice.trust.audit import pairs
from pumice.trust.audit.chance import LEVEL, corrected, log_tail, p_words
from pumice.trust.audit.check import ROWS, Check, Finding, Need, Notes, Row
from pumice.words import counted

if TYPE_CHECKING:
    from pumice.trust.audit.pairs import Hashes, Pairs
    from pumice.trust.audit.seen import Seen

LONGEST = 4
LEAST = 5
MOST = 0.05
PURE = 0.8
SUPPORT = 0.5
"""The share of a phrase's questions that must begin, without it, like others."""
TYPES = 2
"""Kinds of questions that a phrase must be met in: one that is met in one kind alone belongs to it."""
_PRIME = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class Tied:
    """A phrase and its answer: places ``at`` (pair, word of its question) of it, int64 [O, 2], how many words
    it has, the pairs that give the answer, how many are expected to, and the corrected p-value."""

    length: int
    at_O2: NDArray[np.int64]
    answer: int
    given: NDArray[np.int64]
    expected: float
    p: float


@dataclass(frozen=True)
class Phrases(Check):
    """Phrases tied to one answer."""

    name: ClassVar[str] = "phrases"
    reads: ClassVar[frozenset[Need]] = frozenset({ROWS})

    def row(self, row: Row) -> Any:
        return pairs.noticed(row)

    def pack(self, values: Any) -> Notes:
        return pairs.packed(values)

    def conclude(self, seen: Seen) -> Iterable[Finding]:
        known = pairs.all_pairs(seen, self)
        for tied in tied_phrases(known):
            rows = sorted({int(known.row_P[pair]) for pair in tied.given})
            first = int(tied.given[0])
            place = next(at for pair, at in tied.at_O2.tolist() if pair == first)
            turn = first - int(np.searchsorted(known.row_P, known.row_P[first]))
            question, answer = next(pairs.said_of(seen, rows[:1]))[1][turn]
            answer = seen.quoted(answer)
            phrase = " ".join(pairs.asked_of(question)[place : place + tied.length])
            phrase = seen.quoted(phrase)
            number = len({int(pair) for pair in tied.at_O2[:, 0]})
            yield Finding(
                self.name,
                "phrase",
                "serious",
                f"{counted(len(tied.given), 'question')} of the {number:,} with \u201c{phrase}\u201d in them "
                f"have the same answer, \u201c{answer[:80]}\u201d; without it {tied.expected:.1f} would "
                f"({p_words(tied.p)}, corrected)",
                row=rows[0],
                also=tuple(rows[1:]),
                score=tied.p,
                group=f"phrase {phrase}",
                details={"phrase": phrase, "answer": answer, "questions": number, "with": len(tied.given)},
            )


def tied_phrases(known: Pairs) -> list[Tied]:
    """Phrases that are tied to one answer, the surest first; of those inside each other the widest."""
    if not len(known):
        return []
    _, kinds_P = np.unique(known.type_P, return_inverse=True)
    _, answer_P = np.unique(known.answer_P, return_inverse=True)
    world = _World(known, kinds_P.astype(np.int64), answer_P.astype(np.int64))
    candidates: list[tuple[int, NDArray[np.int64]]] = []
    looks = 0
    for length in range(1, LONGEST + 1):
        number, found = world.pure(length)
        looks += number
        candidates += [(length, places) for places in found]
    tied = [one for length, places in candidates if (one := world.test(length, places, looks)) is not None]
    tied.sort(key=lambda one: (-len(one.given), one.p, -one.length))
    kept: list[Tied] = []
    for one in tied:
        mine = set(one.given.tolist())
        if not any(
            one.answer == other.answer and len(mine - set(other.given.tolist())) <= len(mine) // 10
            for other in kept
        ):
            kept.append(one)
    return sorted(kept, key=lambda one: one.p)


@dataclass(frozen=True, eq=False)
class _World:
    """Pairs, with the numbers of their kinds of question and of their answers."""

    known: Pairs
    kind_P: NDArray[np.int64]
    answer_P: NDArray[np.int64]

    def pure(self, length: int) -> tuple[int, list[NDArray[np.int64]]]:
        """How many phrases of a length come often enough, and the places [O, 2] of those that are pure."""
        gram_O, pair_O, at_O = self._grams(length)
        if not len(gram_O):
            return 0, []
        order = np.lexsort([at_O, pair_O, gram_O])
        gram_O, pair_O, at_O = gram_O[order], pair_O[order], at_O[order]
        first_O = np.ones(len(gram_O), np.bool_)
        first_O[1:] = (gram_O[1:] != gram_O[:-1]) | (pair_O[1:] != pair_O[:-1])
        gram_O, pair_O, at_O = gram_O[first_O], pair_O[first_O], at_O[first_O]
        starts = np.flatnonzero(np.concatenate([[True], gram_O[1:] != gram_O[:-1]]))
        counts = np.diff(np.append(starts, len(gram_O)))
        often = (counts >= LEAST) & (counts <= max(MOST * len(self.known), LEAST))
        found = []
        for start, count in zip(starts[often].tolist(), counts[often].tolist(), strict=True):
            said = self.answer_P[pair_O[start : start + count]]
            if np.unique(said, return_counts=True)[1].max() >= max(PURE * count, LEAST):
                part = slice(start, start + count)
                found.append(np.stack([pair_O[part], at_O[part]], axis=1))
        return int(often.sum()), found

    def _grams(self, length: int) -> tuple[Hashes, NDArray[np.int64], NDArray[np.int64]]:
        """Every phrase of a length: its hash, its pair, the place of its first word in the question."""
        known = self.known
        sizes_P = np.diff(known.start_P)
        pair_W = np.repeat(np.arange(len(known)), sizes_P)
        at_W = np.arange(len(known.words_W)) - np.repeat(known.start_P[:-1], sizes_P)
        fits_W = at_W + length <= np.repeat(sizes_P, sizes_P)
        begin_O = np.flatnonzero(fits_W)
        gram_O = np.full(len(begin_O), np.uint64(length))
        for step in range(length):
            gram_O = (gram_O ^ known.words_W[begin_O + step]) * _PRIME
            gram_O ^= gram_O >> np.uint64(29)
        return gram_O, pair_W[begin_O], at_W[begin_O]

    def test(self, length: int, at_O2: NDArray[np.int64], looks: int) -> Tied | None:
        """Whether a phrase's questions, without it, would be given its answer as often."""
        pair_O = at_O2[:, 0]
        answers, counts = np.unique(self.answer_P[pair_O], return_counts=True)
        answer = int(answers[counts.argmax()])
        kinds_O = np.array([self._kind_without(pair, at, length) for pair, at in at_O2.tolist()])
        own = np.zeros(len(self.known), np.bool_)
        own[pair_O] = True
        rates: list[float] = []
        hits = 0
        seen_kinds = set()
        for kind, times in Counter(kinds_O[kinds_O >= 0].tolist()).items():
            others = self._by_kind[kind]
            others = others[~own[others]]
            if not len(others):
                continue
            seen_kinds.add(kind)
            given = int((self.answer_P[others] == answer).sum())
            # A half of an answer more on both sides: what was never given is rare, not impossible.
            rates += [(given + 0.5) / (len(others) + 1)] * times
            hits += int((self.answer_P[pair_O[kinds_O == kind]] == answer).sum())
        if len(rates) < max(LEAST, SUPPORT * len(pair_O)) or len(seen_kinds) < TYPES:
            return None
        p = corrected(log_tail(hits, len(rates), float(np.mean(rates))), looks)
        if p > LEVEL:
            return None
        given_O = pair_O[self.answer_P[pair_O] == answer]
        return Tied(length, at_O2, answer, given_O, float(np.sum(rates)), p)

    def _kind_without(self, pair: int, at: int, length: int) -> int:
        """The kind of a question without a phrase; -1 where no question is of that kind."""
        if at >= pairs.TYPE:
            return int(self.kind_P[pair])
        start, stop = self.known.start_P[pair : pair + 2]
        words = self.known.words_W[start:stop]
        rest = np.concatenate([words[:at], words[at + length :]])[: pairs.TYPE]
        return self._kinds.get(tuple(rest.tolist()), -1)

    @cached_property
    def _kinds(self) -> dict[tuple[int, ...], int]:
        """Kinds of questions by the hashes of their first words."""
        table: dict[tuple[int, ...], int] = {}
        _, first = np.unique(self.kind_P, return_index=True)
        for pair in first.tolist():
            start, stop = self.known.start_P[pair : pair + 2]
            table[tuple(self.known.words_W[start:stop][: pairs.TYPE].tolist())] = int(self.kind_P[pair])
        return table

    @cached_property
    def _by_kind(self) -> list[NDArray[np.int64]]:
        """The pairs of each kind of question."""
        order = np.argsort(self.kind_P, kind="stable")
        return np.split(order, np.searchsorted(self.kind_P[order], np.arange(1, self.kind_P.max() + 1)))
