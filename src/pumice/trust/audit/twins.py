"""The checks ``duplicate-rows`` and ``contradictions``: what rows say, held against each other."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pumice.data.fingerprints import question_hash, question_words
from pumice.score.words import evaluation_answer
from pumice.trust.audit.check import ROWS, Check, Finding, Need, Notes, Row
from pumice.trust.audit.words import (
    KEYS,
    Groups,
    Hashes,
    alike,
    hash_of,
    jaccard,
    plain,
    shingles,
    signature,
)

if TYPE_CHECKING:
    from pumice.trust.audit.seen import Seen

NEAR = 0.8
"""Share of three-word runs that two rows have in common from which they say nearly the same."""
FEW = 8
"""Words below which rows are only the same or not."""
LONG = 30
"""Words of answers from which nobody says the same of two pictures by chance."""
SHORT = 3
"""Words of an answer that can contradict another."""
AHEAD = 4096
"""Pairs of rows that are read again together."""


@dataclass(frozen=True)
class DuplicateRows(Check):
    """Rows that say (nearly) the same about the same pictures; long answers that come again with others."""

    name: ClassVar[str] = "duplicate-rows"
    reads: ClassVar[frozenset[Need]] = frozenset({ROWS})

    def row(self, row: Row) -> Any:
        said = [plain(text) for _, text in row.texts()]
        roles = [message.role for message in row.sample.messages]
        boxes = [[*region.box, region.image] for region in row.sample.regions]
        whole = " ".join(said)
        count = whole.count(" ") + 1
        answers = " ".join(plain(answer) for _, answer in row.pairs())
        long = answers.count(" ") + 1 >= LONG
        return (
            hash_of(json.dumps([roles, said, boxes])),
            hash_of(answers) if long else 0,
            count,
            signature(shingles(whole)) if count >= FEW else np.zeros(KEYS, np.uint32),
        )

    def pack(self, values: Sequence[Any]) -> Notes:
        exact, answers, words, signatures = zip(*values, strict=True)
        return {
            "exact": np.array(exact, np.uint64),
            "answers": np.array(answers, np.uint64),
            "words": np.array(words, np.int32),
            "signatures": np.stack(signatures),
        }

    def conclude(self, seen: Seen) -> Iterable[Finding]:
        if not seen.material.rows:
            return
        shown = pictures_of_rows(seen)
        exact = seen.column(self, "rows", "exact")
        same = _joined(exact ^ (shown * np.uint64(0x9E3779B97F4A7C15)))
        twins = np.flatnonzero(same != np.arange(len(same)))
        for row in twins.tolist():
            first = int(same[row])
            origin = seen.material.origin(first)
            yield Finding(
                self.name,
                "exact",
                "warning",
                f"it says what {origin} says" + (", about the same picture" if shown[row] else ""),
                row=row,
                score=1.0,
                group=f"rows-{first}",
                details={"same_as": [origin.file, origin.row]},
            )
        yield from self._near(seen, same, shown)
        yield from self._again(seen, same, shown)

    def _near(self, seen: Seen, same: NDArray[np.int64], shown: Hashes) -> Iterator[Finding]:
        words = seen.column(self, "rows", "words")
        rows = np.flatnonzero((words >= FEW) & (same == np.arange(len(same))))
        signatures = seen.column(self, "rows", "signatures")[rows]
        groups = Groups()
        found: dict[int, tuple[int, float]] = {}
        for low, high, score in _verified(seen, rows, alike(signatures, shown[rows], NEAR - 0.15), groups):
            groups.join(low, high)
            if high not in found or score > found[high][1]:
                found[high] = (low, score)
        for top, members in groups.members():
            for row in members:
                first, score = found.get(row, (top, NEAR))
                origin = seen.material.origin(first)
                yield Finding(
                    self.name,
                    "near",
                    "warning",
                    f"{score:.0%} of its three-word runs are those of {origin}"
                    + (", about the same picture" if shown[row] else ""),
                    row=row,
                    score=round(score, 4),
                    group=f"rows-{top}",
                    details={"same_as": [origin.file, origin.row]},
                )

    def _again(self, seen: Seen, same: NDArray[np.int64], shown: Hashes) -> Iterator[Finding]:
        answers = seen.column(self, "rows", "answers")
        rows = np.flatnonzero((answers != 0) & (shown != 0) & (same == np.arange(len(same))))
        first = rows[_joined(answers[rows])]
        for row, top in zip(rows.tolist(), first.tolist(), strict=True):
            if shown[row] != shown[top]:
                origin = seen.material.origin(top)
                yield Finding(
                    self.name,
                    "same-answer",
                    "note",
                    f"its answers, of {LONG} words or more, are those of {origin}, about another picture",
                    row=row,
                    group=f"answers-{top}",
                    details={"same_as": [origin.file, origin.row]},
                )


def _joined(keys: Hashes) -> NDArray[np.int64]:
    """For each place the first that has the same key."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


def _verified(
    seen: Seen,
    rows: NDArray[np.int64],
    pairs: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]],
    groups: Groups,
) -> Iterator[tuple[int, int, float]]:
    """Pairs of rows that are as alike as ``NEAR``, counted on their own words; of a group that is joined
    already no more are read."""
    tried: set[tuple[int, int]] = set()
    for low, high in pairs:
        fresh = []
        for one, other in zip(rows[low].tolist(), rows[high].tolist(), strict=True):
            if (one, other) not in tried and groups.top(one) != groups.top(other):
                tried.add((one, other))
                fresh.append((one, other))
        for at in range(0, len(fresh), AHEAD):
            part = fresh[at : at + AHEAD]
            texts = {
                number: shingles(" ".join(plain(text) for _, text in Row(number, sample).texts()))
                for number, sample in seen.samples([row for pair in part for row in pair])
            }
            for one, other in part:
                score = jaccard(texts[one], texts[other])
                if score >= NEAR:
                    yield one, other, score


def pictures_of_rows(seen: Seen) -> Hashes:
    """What stands for the pictures of each row, uint64 [rows]; 0 for none.

    Pictures of the same bytes are one, where the check ``duplicate-pictures`` read them.
    """
    starts, numbers = seen.material.shown()
    names = seen.same_pictures()[numbers].astype(np.uint64) + np.uint64(1)
    names = (names * np.uint64(0xC2B2AE3D27D4EB4F)) ^ (names << np.uint64(7))
    sums = np.concatenate([[np.uint64(0)], np.cumsum(names, dtype=np.uint64)])
    return np.asarray(sums[starts[1:]] - sums[starts[:-1]], np.uint64)


@dataclass(frozen=True)
class Contradictions(Check):
    """The same question about the same picture, answered shortly and otherwise."""

    name: ClassVar[str] = "contradictions"
    reads: ClassVar[frozenset[Need]] = frozenset({ROWS})

    def row(self, row: Row) -> Any:
        if not row.sample.images:
            return None
        found = []
        for place, (asked, answer) in enumerate(row.pairs()):
            said = short_answer(answer)
            if said and asks(asked) and not (place and _leans(asked)):
                found.append((question_hash(asked), hash_of(said), place))
        return found or None

    def pack(self, values: Sequence[Any]) -> Notes:
        rows = [place for place, value in enumerate(values) for _ in value or ()]
        said = [one for value in values for one in value or ()]
        return {
            "row": np.array(rows, np.int64),
            "question": np.array([one[0] for one in said], np.uint64),
            "answer": np.array([one[1] for one in said], np.uint64),
            "pair": np.array([one[2] for one in said], np.int32),
        }

    def conclude(self, seen: Seen) -> Iterable[Finding]:
        rows = [start + notes["row"] for start, _, notes in seen.notes(self, "rows")]
        if not rows:
            return
        row = np.concatenate(rows).astype(np.int64)
        question, answer, pair = (seen.column(self, "rows", name) for name in ("question", "answer", "pair"))
        key = question ^ (pictures_of_rows(seen)[row] * np.uint64(0x9E3779B97F4A7C15))
        key, row, answer, pair = (one[question != 0] for one in (key, row, answer, pair))
        if not len(key):
            return
        order = np.lexsort([row, key])
        key, row, answer, pair = key[order], row[order], answer[order], pair[order]
        starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        ends = np.append(starts[1:], len(key))
        found: list[Finding] = []
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            if end - start > 1 and (answer[start:end] != answer[start]).any():
                found += self._group(seen, row[start:end].tolist(), pair[start:end].tolist())
        yield from sorted(found, key=lambda one: one.row or 0)

    def _group(self, seen: Seen, rows: list[int], pairs: list[int]) -> Iterator[Finding]:
        said = dict(seen.samples(rows))
        turns = [list(Row(row, said[row]).pairs())[pair] for row, pair in zip(rows, pairs, strict=True)]
        answers = [short_answer(turn[1]) for turn in turns]
        # What is compared is whole, and what is told holds no personal data.
        shown = {
            answer: answer if (quote := seen.quoted(turn[1])) == turn[1] else quote
            for answer, turn in zip(answers, turns, strict=True)
        }
        counts = Counter(answers)
        (most, often), *others = counts.most_common()
        sure = not others or often > others[0][1]
        asked = question_words(seen.quoted(turns[0][0], 1000))
        told: set[int] = set()
        for row, answer in zip(rows, answers, strict=True):
            against = {one: count for one, count in counts.items() if contradict(answer, one)}
            if not against or row in told or (sure and answer == most):
                continue
            told.add(row)
            others_say = ", ".join(f"{shown[one]!r} ({count})" for one, count in against.items())
            yield Finding(
                self.name,
                "yes-no" if {answer, *against} <= {"yes", "no"} else "answers",
                "warning",
                f"{asked[:80]!r} is answered {shown[answer]!r} ({counts[answer]}), elsewhere {others_say}",
                row=row,
                group=f"question-{rows[0]}-{pairs[0]}",
                details={"answers": [[shown[one], count] for one, count in counts.items()]},
            )


_SAME = {"grey": "gray", "yeah": "yes", "yep": "yes", "nope": "no", "colour": "color"}
_NOTHING = frozenset({"", "unanswerable", "unknown", "not sure", "i don't know", "unsuitable"})
_LEANING = frozenset(
    {"it", "its", "they", "them", "their", "he", "she", "his", "her", "him", "that", "those"}
)
"""Words by which a later question leans on an earlier one."""


def short_answer(answer: str) -> str:
    """An answer of at most ``SHORT`` words as they are compared; "" for a longer one, and for no answer.

    >>> short_answer("Yes."), short_answer("The grey one"), short_answer("It is a very long answer.")
    ('yes', 'gray 1', '')
    """
    if len(answer) > 40:
        return ""
    words = [_SAME.get(word, word) for word in evaluation_answer(answer).split()]
    said = " ".join(words)
    return said if len(words) <= SHORT and said not in _NOTHING else ""


def contradict(one: str, other: str) -> bool:
    """Whether two short answers say different things: none of them is the other with more words, or in the
    plural."""
    if one == other:
        return False
    mine, yours = ({word.removesuffix("s") for word in text.split()} for text in (one, other))
    return not (mine <= yours or yours <= mine)


def asks(text: str) -> bool:
    """Whether a text is a question, and no wish for a description, of which many are right."""
    return "?" in text or "\uff1f" in text


def _leans(question: str) -> bool:
    return not _LEANING.isdisjoint(question_words(question).split())
