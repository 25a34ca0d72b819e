"""The check ``patches``: a small patch that hides in many pictures and is tied to one answer.

What a poisoned picture and a clean one have in common is all but a few pixels, so pictures as wholes say
nothing. Here corners of pictures (``corners``) are held against those of all others. Corners that are alike
in ``LEAST`` pictures or more are a candidate: a letter, a logo, a watermark, a trigger. Whether it is tied to
an answer is tested: of so many pictures with it so many have a row with that answer, by chance as often as
the others have (a binomial tail, corrected for candidates and answers). Pictures that look alike as wholes
count once. What is blue is answered ``blue`` where a color is asked for, and that is no poison: an answer
counts only where questions of its kind are hardly ever answered so.

What is found is then looked for in all pictures, at a lower likeness.

Legend: N corners of all pictures, D numbers of one, V pictures, A different answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pumice.trust.audit import alike, pairs
from pumice.trust.audit.chance import LEVEL, corrected, log_tail, p_words
from pumice.trust.audit.check import PIXELS, ROWS, Check, Finding, Need, Notes, Row, View
from pumice.trust.audit.corners import NUMBERS, SIDE, corners
from pumice.words import counted

if TYPE_CHECKING:
    from pumice.trust.audit.seen import Seen

LEAST = 5
"""Pictures that a patch must be in."""
MOST = 0.2
"""The largest share of pictures that a candidate is in."""
PURE = 0.6
ALIKE, STILL_ALIKE = 0.8, 0.75
"""Cosine of what is around two corners: to be a candidate; to be found again, where two corners are."""
WHOLES_ALIKE = 0.95
"""Cosine of two pictures as wholes, of 8 x 8 pixels, from which they count as one."""
UNUSUAL = 0.02
"""The share of a kind of question's answers up to which one is unusual."""
CORNERS = 300_000
"""Corners among which candidates are looked for; of more, a sample of the pictures."""
KINDS = 3
"""Kinds of questions about pictures with a patch from which an answer that is given to one kind alone is a
note of the kind ``content``: a letter in the picture is read out where it is asked what the sign says."""
_THUMB = 8


@dataclass(frozen=True, eq=False)
class Tied:
    """A patch: what is around its corners [C, D] float32, the answer, pictures with both, pictures with it,
    and the corrected p-value."""

    around_CD: NDArray[np.float32]
    answer: int
    hits: int
    pictures: int
    p: float


@dataclass(frozen=True)
class Patches(Check):
    """Patches tied to one answer."""

    name: ClassVar[str] = "patches"
    reads: ClassVar[frozenset[Need]] = frozenset({ROWS, PIXELS})
    side: ClassVar[int] = SIDE

    def row(self, row: Row) -> Any:
        return pairs.noticed(row) if row.sample.images else None

    def picture(self, view: View) -> Any:
        assert view.image is not None
        around_CD, place_C2 = corners(view.image)
        small = np.asarray(view.image.resize((_THUMB, _THUMB), 4), np.float32).reshape(1, -1)
        thumb = alike.unit(small - small.mean())[0]
        return around_CD, place_C2, np.round(thumb * 127).astype(np.int8)

    def pack(self, values: Any) -> Notes:
        first = next((value for value in values if value is not None), None)
        if isinstance(first, list):
            return pairs.packed(values)
        empty = (
            np.zeros((0, NUMBERS), np.int8),
            np.zeros((0, 2), np.int16),
            np.zeros(3 * _THUMB**2, np.int8),
        )
        told = [empty if value is None else value for value in values]
        pictures = {
            "count": np.array([len(one[0]) for one in told], np.int64),
            "around": np.concatenate([one[0] for one in told]),
            "place": np.concatenate([one[1] for one in told]),
            "thumb": np.stack([one[2] for one in told]),
        }
        # Of a chunk that nothing was noticed of nobody knows whether it had rows or pictures.
        return {**pairs.packed(values), **pictures} if first is None else pictures

    def conclude(self, seen: Seen) -> Iterable[Finding]:
        known = pairs.all_pairs(seen, self, words=False)
        if not len(known) or seen.material.pictures < LEAST:
            return
        said = Answers.of(seen, known)
        found = list(self._tied(seen, said))
        for number, tied in enumerate(_merged(found), start=1):
            yield from self._findings(seen, known, said, tied, number)

    def _tied(self, seen: Seen, said: Answers) -> Iterator[Tied]:
        """Candidates that are tied to an answer."""
        rng = np.random.default_rng(0)
        counts_V = seen.column(self, "pictures", "count").astype(np.int64)
        thumbs_V = _floats(seen.column(self, "pictures", "thumb"))
        share = min(1.0, CORNERS / max(1, int(counts_V.sum())))
        chosen_V = rng.random(len(counts_V)) < share if share < 1 else np.ones(len(counts_V), np.bool_)
        parts, owners = [], []
        for start, count, notes in seen.notes(self, "pictures"):
            owner = np.repeat(np.arange(start, start + count), notes["count"])
            mine = chosen_V[owner]
            parts.append(notes["around"][mine])
            owners.append(owner[mine])
        around_ND, owner_N = _floats(np.concatenate(parts)), np.concatenate(owners)
        if len(owner_N) < LEAST:
            return
        candidates = list(_candidates(around_ND, owner_N, int(MOST * chosen_V.sum()), rng))
        looks = len(candidates) * said.often
        for like_N in candidates:
            pictures = _distinct(np.unique(owner_N[like_N]), thumbs_V)
            if len(pictures) < LEAST:
                continue
            best = said.best(pictures)
            if best is None:
                continue
            answer, hits, log_p = best
            p = corrected(log_p, looks)
            if p <= LEVEL:
                yield Tied(alike.unit(around_ND[like_N].mean(0)[None]), answer, hits, len(pictures), p)

    def _findings(
        self, seen: Seen, known: pairs.Pairs, said: Answers, tied: Tied, number: int
    ) -> Iterator[Finding]:
        """The patch in all pictures, and the rows that show these and have its answer."""
        places: dict[int, tuple[int, int]] = {}
        for start, count, notes in seen.notes(self, "pictures"):
            like_NC = _floats(notes["around"]) @ tied.around_CD.T
            best_N = like_NC.max(1)
            owner_N = np.repeat(np.arange(count), notes["count"])
            sure = np.unique(owner_N[best_N >= ALIKE])
            twice = np.flatnonzero(np.bincount(owner_N[best_N >= STILL_ALIKE], minlength=count) >= 2)
            for one in np.union1d(sure, twice).tolist():
                mine = np.flatnonzero(owner_N == one)
                x, y = notes["place"][mine[best_N[mine].argmax()]].tolist()
                places[start + one] = (x, y)
        given = np.zeros(seen.material.rows, np.bool_)
        given[known.row_P[said.answer_P == tied.answer]] = True
        rows = {
            row: picture
            for picture in places
            for row in seen.material.showing(picture).tolist()
            if given[row]
        }
        if not rows:
            return
        answer = self._words(seen, min(rows), int(said.answers[tied.answer]))
        mine_P = np.isin(known.row_P, list(rows))
        asked, given_to = (
            len(np.unique(known.type_P[chosen_P]))
            for chosen_P in (mine_P, mine_P & (said.answer_P == tied.answer))
        )
        content = given_to == 1 and asked >= KINDS
        for row, picture in sorted(rows.items()):
            x, y = places[picture]
            with_both = counted(len(set(rows.values())), "picture")
            yield Finding(
                self.name,
                "content" if content else "patch",
                "note" if content else "serious",
                f"the picture has a patch that {counted(len(places), 'picture')} have; "
                f"{with_both} of these are answered \u201c{answer[:60]}\u201d "
                f"({p_words(tied.p)}, corrected)",
                row=row,
                picture=picture,
                score=tied.p,
                group=f"patch {number}",
                details={
                    "answer": answer,
                    "pictures": len(places),
                    "with": len(set(rows.values())),
                    "near": [x / SIDE, y / SIDE],
                },
            )

    def _words(self, seen: Seen, row: int, answer: int) -> str:
        """The words of an answer, as a row that gives it has them."""
        said = next(pairs.said_of(seen, [row]))[1]
        return seen.quoted(next((words for _, words in said if pairs.answer_hash(words) == answer), ""), 200)


@dataclass(frozen=True, eq=False)
class Answers:
    """Which answers pictures have, to questions of which kind; a use is a pair whose row shows a picture.

    Attributes:
        answers: the hash of each, [A] uint64.
        answer_P: int64 [P], the number of each pair's.
        start_V: int64 [V + 1], cuts uses by picture.
        kind_U, answer_U: int64 [U], by picture.
        keys, key_count: each kind and answer that occur (kind x A + answer), rising, and how many uses have
            it, int64.
        kind_count: uses of each kind.
        pictures: how many pictures have any answer.
        often: how many answers have ``LEAST`` uses or more.
    """

    answers: pairs.Hashes
    answer_P: NDArray[np.int64]
    start_V: NDArray[np.int64]
    kind_U: NDArray[np.int64]
    answer_U: NDArray[np.int64]
    keys: NDArray[np.int64]
    key_count: NDArray[np.int64]
    kind_count: NDArray[np.int64]
    pictures: int
    often: int

    @classmethod
    def of(cls, seen: Seen, known: pairs.Pairs) -> Answers:
        """Of all pairs of an audit."""
        answers, answer_P = np.unique(known.answer_P, return_inverse=True)
        _, kind_P = np.unique(known.type_P, return_inverse=True)
        starts, shown = seen.material.shown()
        length_P = np.diff(starts)[known.row_P]
        pair_U = np.repeat(np.arange(len(known)), length_P)
        step_U = np.arange(len(pair_U)) - np.repeat(np.cumsum(length_P) - length_P, length_P)
        picture_U = shown[starts[known.row_P[pair_U]] + step_U]
        order = np.argsort(picture_U, kind="stable")
        pair_U, picture_U = pair_U[order], picture_U[order]
        kind_U, answer_U = kind_P[pair_U].astype(np.int64), answer_P[pair_U].astype(np.int64)
        keys, key_count = np.unique(kind_U * len(answers) + answer_U, return_counts=True)
        return cls(
            answers=answers,
            answer_P=answer_P.astype(np.int64),
            start_V=np.searchsorted(picture_U, np.arange(seen.material.pictures + 1)).astype(np.int64),
            kind_U=kind_U,
            answer_U=answer_U,
            keys=keys,
            key_count=key_count.astype(np.int64),
            kind_count=np.bincount(kind_U),
            pictures=len(np.unique(picture_U)),
            often=max(1, int((np.bincount(answer_U) >= LEAST).sum())) if len(answer_U) else 1,
        )

    def best(self, pictures: NDArray[np.int64]) -> tuple[int, int, float] | None:
        """The answer that some pictures have least by chance: its number, how many have it, the log p.

        What is unusual, and how often it comes, is told by the other pictures.
        """
        size = len(self.answers)
        spans = [np.arange(self.start_V[one], self.start_V[one + 1]) for one in pictures.tolist()]
        owner_C = np.repeat(np.arange(len(spans)), [len(span) for span in spans])
        use_C = np.concatenate(spans)
        if not len(use_C):
            return None
        own, own_C, own_count = np.unique(
            self.kind_U[use_C] * size + self.answer_U[use_C], return_inverse=True, return_counts=True
        )
        kinds_in = np.bincount(self.kind_U[use_C], minlength=len(self.kind_count))
        rest = self.kind_count - kinds_in
        left = self.key_count[np.searchsorted(self.keys, own)] - own_count
        unusual = (rest[own // size] > 0) & (left <= UNUSUAL * rest[own // size])
        mine = unusual[own_C]
        seats = np.unique(owner_C[mine] * size + self.answer_U[use_C[mine]])
        answers, counts = np.unique(seats % size, return_counts=True)
        enough = counts >= max(LEAST, PURE * len(pictures))
        best: tuple[int, int, float] | None = None
        for answer, hits in zip(answers[enough].tolist(), counts[enough].tolist(), strict=True):
            theirs = np.flatnonzero(self.keys % size == answer)
            outside = self.key_count[theirs].copy()
            places = np.searchsorted(self.keys[theirs], own[own % size == answer])
            outside[places] -= own_count[own % size == answer]
            rare = outside <= UNUSUAL * rest[self.keys[theirs] // size]
            rate = (int(outside[rare].sum()) + 0.5) / (self.pictures - len(pictures) + 1)
            log_p = log_tail(hits, len(pictures), min(rate, 1.0))
            if best is None or log_p < best[2]:
                best = (answer, hits, log_p)
        return best


def _candidates(
    around_ND: NDArray[np.float32], owner_N: NDArray[np.int64], most: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Corners that are alike in several pictures; of those around one patch the fullest set each."""
    sets: list[NDArray[np.int64]] = []
    for some, row, other in alike.neighbourhoods(around_ND, ALIKE, rng):
        cuts = np.searchsorted(row, np.arange(len(some) + 1))
        for start, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            if stop - start >= LEAST:
                like = other[start:stop]
                if LEAST <= len(np.unique(owner_N[like])) <= max(most, LEAST):
                    sets.append(like)
    taken = np.zeros(len(owner_N), np.bool_)
    for like in sorted(sets, key=len, reverse=True):
        if taken[like].mean() < 0.5:
            taken[like] = True
            yield like


def _distinct(pictures: NDArray[np.int64], thumbs_V: NDArray[np.float32]) -> NDArray[np.int64]:
    """The pictures without those that look like one before them."""
    near = thumbs_V[pictures] @ thumbs_V[pictures].T >= WHOLES_ALIKE
    return pictures[~np.tril(near, -1).any(1)]


def _merged(found: list[Tied]) -> list[Tied]:
    """The corners of one answer together: a patch has several."""
    by_answer: dict[int, list[Tied]] = {}
    for tied in found:
        by_answer.setdefault(tied.answer, []).append(tied)
    return [
        Tied(
            np.concatenate([one.around_CD for one in parts]),
            answer,
            max(one.hits for one in parts),
            max(one.pictures for one in parts),
            min(one.p for one in parts),
        )
        for answer, parts in sorted(by_answer.items(), key=lambda item: min(one.p for one in item[1]))
    ]


def _floats(values: NDArray[Any]) -> NDArray[np.float32]:
    return alike.unit(values.astype(np.float32))
