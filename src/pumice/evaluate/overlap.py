"""How much of a benchmark a training set has shown already: the same pictures, near ones, the same questions.

A score on questions that a model was trained on says little. Questions alone often repeat by chance ("what
color is the car"), and pictures may be shared by design (VQAv2 and COCO). What counts most is a question
that stood beside the same picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pumice.evaluate.fingerprints import Fingerprint, Hashes, Index, fingerprint, question_hash
from pumice.evaluate.pictures import open_sight
from pumice.evaluate.results import Overlap
from pumice.evaluate.samples import Picture, Sample, Stored

NEAR = 4
"""Bits of 64 by which each of a picture's two difference hashes may differ.

Measured on 136 drawings, plots and icons: 97 to 100% of copies in JPEG at quality 30 to 95, 95% at half and
97% at 0.3 of the size are found, 48% of those with 2% cut off at each side. 16 of 9,180 pairs of different
ones are taken for each other, all of one family of icons or plots; with one hash alone it is 32.
"""
BANDS = 5
"""Of NEAR + 1 parts of a hash, at least one is the same where NEAR bits differ."""

Progress = Callable[[str, int, int], None]


EXAMPLES = 10


def overlap(samples: Sequence[Sample], indexes: Sequence[Index], progress: Progress | None = None) -> Overlap:
    """Hold the questions of a task against fingerprints of training data.

    Args:
        samples: of the task. Each of their pictures is decoded once.
        indexes: one or more.
        progress: told how many pictures were looked at.

    Raises:
        ImageError, DataError: a picture of the task cannot be read.
    """
    lookups = [Lookup(index) for index in indexes]
    pictures: dict[str, tuple[Fingerprint, list[_Found]]] = {}
    names = {_name(image): image for sample in samples for image in sample.images}
    for number, (name, image) in enumerate(names.items(), 1):
        own = fingerprint(open_sight(image))
        pictures[name] = own, [lookup.find(own) for lookup in lookups]
        if progress:
            progress("pictures held against training", number, len(names))
    same = {own.pixels for own, found in pictures.values() if any(one.same is not None for one in found)}
    near = {own.pixels for own, found in pictures.values() if any(one.near for one in found)} - same
    asked = {sample.id: question_hash(sample.text) for sample in samples}
    known = [id for id, hash in asked.items() if any(lookup.has_question(hash) for lookup in lookups)]

    def met(sample: Sample, *, near: bool) -> bool:
        return any(
            lookup.asked_of(found if near else _Found(found.same, ()), asked[sample.id])
            for image in sample.images
            for lookup, found in zip(lookups, pictures[_name(image)][1], strict=True)
        )

    both = [sample.id for sample in samples if met(sample, near=True)]
    return Overlap(
        pictures=len({own.pixels for own, _ in pictures.values()}),
        pictures_same=len(same),
        pictures_near=len(near),
        questions=len(samples),
        questions_same=len(known),
        questions_with_picture=len(both),
        questions_with_same_picture=sum(met(sample, near=False) for sample in samples),
        examples=both[:EXAMPLES],
        training=[source for index in indexes for source in index.head["sources"]],
    )


def verdict(found: Overlap) -> str:
    """What overlaps, what share of it, and what that means; the first word says which of five cases it is.

    Fingerprints hold no answers, so what was answered in training is not known.
    """
    questions, pictures = found["questions"], found["pictures"]
    exact, both = found.get("questions_with_same_picture", 0), found["questions_with_picture"]
    if exact:
        return (
            f"seen: {_share(exact, questions)} of the questions stood in training beside the same picture; "
            "what was answered there is not known, and their score may be memory"
        )
    if both:
        return (
            f"alike: {_share(both, questions)} of the questions stood in training beside a near picture, "
            "none beside the same; copies are near, and so are many drawings and charts that are none (those "
            "of the embedded world, say)"
        )
    if found["pictures_same"]:
        return (
            f"pictures: {_share(found['pictures_same'], pictures)} of the pictures stood in training, with "
            "other questions: the model knows the pictures and not these questions"
        )
    if found["questions_same"]:
        return (
            f"words: {_share(found['questions_same'], questions)} of the questions stood in training with "
            "other pictures: wordings repeat, and no answer can be known from that"
        )
    if found["pictures_near"]:
        return (
            f"alike: {_share(found['pictures_near'], pictures)} of the pictures are near to one in training, "
            "none is the same, and none of the questions stood there"
        )
    return "none: no picture and no question stood in training"


def _share(some: int, every: int) -> str:
    return f"{100 * some / max(every, 1):.1f}%"


@dataclass(frozen=True)
class _Found:
    """Places in an index: of the same picture, and of near ones."""

    same: int | None
    near: tuple[int, ...]


class Lookup:
    """Finds pictures and questions in an index without looking at all of it."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self._same = {row.tobytes(): place for place, row in enumerate(index.pixels)}
        self._questions = np.unique(np.concatenate([index.asked, index.text_only]))
        self._bands = []
        for band in range(BANDS):
            keys = _band(index.across, band)
            order = np.argsort(keys, kind="stable")
            self._bands.append((keys[order], order))

    def find(self, own: Fingerprint) -> _Found:
        """The pictures of the index that are the same or near.

        Pictures near each other have the same bits in one band at least: only these are compared.
        """
        same = self._same.get(own.pixels)
        if own.plain:
            return _Found(same, ())
        across = np.array([own.across], np.uint64)
        places = []
        for band, (keys, order) in enumerate(self._bands):
            key = _band(across, band)[0]
            first, last = np.searchsorted(keys, [key, key + np.uint64(1)])
            places.append(order[first:last])
        rows = np.unique(np.concatenate(places))
        rows = rows[_differ(self.index.across[rows], own.across) <= NEAR]
        rows = rows[_differ(self.index.down[rows], own.down) <= NEAR]
        return _Found(same, tuple(int(row) for row in rows if row != same))

    def has_question(self, hash: int) -> bool:
        """Whether training data asked it, of whatever picture."""
        place = int(np.searchsorted(self._questions, np.uint64(hash)))
        return hash != 0 and place < len(self._questions) and int(self._questions[place]) == hash

    def asked_of(self, found: _Found, hash: int) -> bool:
        """Whether training data asked it of one of these pictures."""
        places = found.near if found.same is None else (found.same, *found.near)
        start = self.index.start
        return hash != 0 and any(
            bool((self.index.asked[start[place] : start[place + 1]] == np.uint64(hash)).any())
            for place in places
        )


def _name(image: Picture) -> str:
    return f"stored {image.name}" if isinstance(image, Stored) else str(image)


def _band(hashes: Hashes, band: int) -> Hashes:
    """One of the five parts of hashes: 13 bits, the last 12."""
    return (hashes >> np.uint64(13 * band)) & np.uint64(2**13 - 1)


def _differ(hashes: Hashes, own: int) -> npt.NDArray[np.int64]:
    """By how many bits each hash differs."""
    different = np.atleast_1d(hashes ^ np.uint64(own)).view(np.uint8).reshape(-1, 8)
    return np.asarray(np.unpackbits(different, axis=1).sum(axis=1, dtype=np.int64))


__all__ = ["NEAR", "Lookup", "overlap", "verdict"]
