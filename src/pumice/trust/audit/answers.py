"""The check ``answers``: what a LLaVA makes of answers, with their picture and with those of other rows.

mismatch     an answer is no likelier with its own picture than with another, and costs the model much
unjudged     so many are that the model cannot know the subject
label-flip   a short answer that the model would hardly give, and it is sure of another
source       a data set whose answers cost the model far more a token than those of the others do

It needs a model that knows the subject: what it cannot do itself it cannot tell from poison. No text half of
a tower is needed.

Legend: A answers, R rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pumice.trust.audit import mixed
from pumice.trust.audit.check import ROWS, Check, Finding, Need, Notes, Row
from pumice.types import Image, ImageRef, Message, Origin, Part, Picture, Sample, Text, Video

if TYPE_CHECKING:
    from pumice.trust.audit.seen import Seen
    from pumice.trust.sight.reading import Reader

SHORT = 3
"""Words of an answer that may be a flipped label."""
FLIPPED = 6.0
"""Nats by which the model's own words are likelier: 400 times."""
SOURCE_ROWS = 30
SOURCE_FAR = 6.0
"""Robust deviations, of the means of groups of rows, from which a source is told."""


@dataclass(frozen=True)
class Answers(Check):
    """What a model makes of answers; see the module's text.

    Attributes:
        folder: the model's.
        identity: stands for its weights.
    """

    name: ClassVar[str] = "answers"
    reads: ClassVar[frozenset[Need]] = frozenset({ROWS})
    shows: ClassVar[bool] = True

    folder: str
    identity: str

    @property
    def key(self) -> str:
        return dumps([self.name, self.version, self.identity])

    def row(self, row: Row) -> Any:
        return _told(row.sample)

    def finish(self, notes: Notes) -> Notes:
        samples = [_sample(one) for one in notes["said"]]
        reading = _reader(self.folder).read(samples)
        at = np.asarray(notes["at"])
        short = [
            len(_answers(samples[row])[turn].split()) <= SHORT
            for row, turn in zip(reading.row_A.tolist(), reading.turn_A.tolist(), strict=True)
        ]
        return {
            "row": at[reading.row_A],
            "turn": reading.turn_A,
            "tokens": reading.tokens_A,
            "own": reading.own_A,
            "best": reading.best_A,
            "other": reading.other_AK,
            "other_best": reading.other_best_AK,
            "short": np.array(short, np.bool_),
            "unread": [[int(at[row]), why] for row, why in sorted(reading.unread.items())],
        }

    def conclude(self, seen: Seen) -> Iterable[Finding]:
        for start, _, notes in seen.notes(self, "rows", "unread"):
            for row, why in notes["unread"]:
                what = f"the model cannot read the row: {why}"
                yield Finding(self.name, "unread", "note", what, row=start + row)
        known = _Known.of(seen, self)
        if not len(known.row_A):
            return
        yield from self._mismatches(known)
        yield from self._flips(seen, known)
        yield from self._sources(seen, known)

    def _mismatches(self, known: _Known) -> Iterator[Finding]:
        rows, own, wrong = known.fits()
        if len(rows) < mixed.FEWEST:
            return
        why = mixed.blind(own, wrong, "the model")
        if why:
            yield Finding(self.name, "unjudged", "warning", why)
            return
        chances = mixed.wrong_chances(own, wrong)
        for place in np.flatnonzero(chances >= mixed.SURE).tolist():
            yield Finding(
                self.name,
                "mismatch",
                "serious",
                "its answers are to the model as those of rows with another picture (of the rows that fit so "
                f"badly {chances[place]:.0%} are expected to be mismatched)",
                row=int(rows[place]),
                score=round(float(own[place]), 3),
                details={"expected": round(float(chances[place]), 4)},
            )

    def _flips(self, seen: Seen, known: _Known) -> Iterator[Finding]:
        gap_A = known.best_A - known.own_A
        found = np.flatnonzero(known.short_A & (gap_A >= FLIPPED))
        said = dict(seen.samples(known.row_A[found].tolist()))
        for place in found.tolist():
            row, turn = int(known.row_A[place]), int(known.turn_A[place])
            answer = seen.quoted(_answers(said[row])[turn])
            yield Finding(
                self.name,
                "label-flip",
                "warning",
                f"the model's own answer is {gap_A[place]:.1f} nats likelier than \u201c{answer[:80]}\u201d",
                row=row,
                score=round(float(gap_A[place]), 3),
                details={"answer": answer, "turn": turn},
            )

    def _sources(self, seen: Seen, known: _Known) -> Iterator[Finding]:
        """A source's mean cost a token against those of random groups of as many rows."""
        rows, cost = known.costs()
        names = np.array([seen.material.source(int(row)) for row in rows])
        rng = np.random.default_rng(0)
        for name in np.unique(names).tolist():
            mine = names == name
            rest = cost[~mine]
            if mine.sum() < SOURCE_ROWS or len(rest) < SOURCE_ROWS:
                continue
            drawn = rest[rng.integers(0, len(rest), (200, min(int(mine.sum()), 1000)))].mean(1)
            spread = 1.4826 * np.median(np.abs(drawn - np.median(drawn)))
            far = float((cost[mine].mean() - np.median(drawn)) / max(spread, 1e-9))
            if far >= SOURCE_FAR:
                yield Finding(
                    self.name,
                    "source",
                    "warning",
                    f"a token of {name} costs the model {cost[mine].mean():.2f} nats, one of others "
                    f"{rest.mean():.2f}: {far:.0f} deviations of groups of as many rows",
                    row=int(rows[mine][0]),
                    score=round(far, 2),
                )


@dataclass(frozen=True, eq=False)
class _Known:
    """What the model made of all answers; arrays as of ``Reading``, ``short_A``: whether one is short."""

    row_A: NDArray[np.int64]
    turn_A: NDArray[np.int64]
    tokens_A: NDArray[np.int64]
    own_A: NDArray[np.float64]
    best_A: NDArray[np.float64]
    other_AK: NDArray[np.float64]
    other_best_AK: NDArray[np.float64]
    short_A: NDArray[np.bool_]

    @classmethod
    def of(cls, seen: Seen, check: Check) -> _Known:
        """All chunks together."""
        names = ("turn", "tokens", "own", "best", "other", "other_best", "short")
        rows, parts = [], []
        for start, _, notes in seen.notes(check, "rows"):
            rows.append(notes["row"] + start)
            parts.append([notes[name] for name in names])
        if not rows:
            empty = np.zeros(0)
            flat = np.zeros((0, 2))
            return cls(
                empty.astype(np.int64), empty.astype(np.int64), empty.astype(np.int64), empty, empty, flat,
                flat, empty.astype(np.bool_),
            )  # fmt: skip
        joined: list[Any] = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
        return cls(np.concatenate(rows), *joined)

    def fits(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Rows that were read with other pictures; how well they fit their own, and how well another.

        For each token: what the picture adds to the answer, and twice what the answer costs against the
        model's own words. Of what both say the sum tells more than either (docs/audit.md).
        """
        there = ~np.isnan(self.other_AK).any(1)
        rows, group = np.unique(self.row_A[there], return_inverse=True)

        def summed(values_A: NDArray[Any]) -> NDArray[np.float64]:
            return np.bincount(group, values_A[there], minlength=len(rows)).astype(np.float64)

        own, best, tokens = summed(self.own_A), summed(self.best_A), summed(self.tokens_A)
        first, second = summed(self.other_AK[:, 0]), summed(self.other_AK[:, 1])
        first_best = summed(self.other_best_AK[:, 0])
        fit = ((own - first) + 2 * (own - best)) / tokens
        wrong = ((first - second) + 2 * (first - first_best)) / tokens
        return rows, fit, wrong

    def costs(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rows, and nats a token of each one's answers."""
        rows, group = np.unique(self.row_A, return_inverse=True)
        return rows, -np.bincount(group, self.own_A) / np.bincount(group, self.tokens_A)


def made_answers(folder: Path | None) -> Answers | str:
    """The check with a model, or why it does not run.

    Raises:
        CheckpointError: the folder holds no weights.
    """
    if folder is None:
        return "it reads with a LLaVA: give one with --model"
    from pumice.trust.sight.tower import identity

    return Answers(str(folder), identity(folder))


@lru_cache(maxsize=1)
def _reader(folder: str) -> Reader:
    from pumice.model import load_model
    from pumice.trust.sight.reading import Reader

    return Reader(load_model(folder))


def _answers(sample: Sample) -> list[str]:
    return [message.text.strip() for message in sample.messages if message.role == "assistant"]


def _told(sample: Sample) -> dict[str, Any]:
    """A sample as JSON."""
    return {
        "id": sample.id,
        "messages": [
            [message.role, [part.index if isinstance(part, Image) else part.text for part in message.parts]]
            for message in sample.messages
        ],
        "images": [_place(picture) for picture in sample.images],
        "at": [sample.source, sample.origin.file, sample.origin.row],
    }


def _place(picture: Picture) -> list[Any]:
    if isinstance(picture, ImageRef):
        return [str(picture.file), picture.offset, picture.length, picture.name]
    if isinstance(picture, Video):
        return ["video", str(picture.path)]
    return [str(picture)]


def _sample(told: dict[str, Any]) -> Sample:
    """The sample again."""
    messages = tuple(Message(role, _parts(parts)) for role, parts in told["messages"])
    source, file, row = told["at"]
    return Sample(told["id"], messages, tuple(map(_picture, told["images"])), source, Origin(file, row))


def _parts(parts: Sequence[Any]) -> tuple[Part, ...]:
    return tuple(Image(part) if isinstance(part, int) else Text(part) for part in parts)


def _picture(place: Sequence[Any]) -> Picture:
    if len(place) == 4:
        return ImageRef(Path(place[0]), place[1], place[2], place[3])
    return Video(Path(place[1])) if len(place) == 2 else Path(place[0])
