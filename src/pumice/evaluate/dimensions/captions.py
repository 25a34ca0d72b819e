"""Captions of pictures, in COCO's layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pumice.data.rows import as_object
from pumice.errors import DataError
from pumice.score.files import Row, need, read_under, text_of

CAPTIONS = "captions.json"
FOLDERS = ("", "images", "val2014", "val2017")
"""Where pictures are looked for, in the folder of the captions."""


@dataclass(frozen=True)
class Captions:
    """Pictures, captions, and which picture each caption is of (a number of ``pictures``)."""

    pictures: tuple[Path, ...]
    texts: tuple[str, ...]
    of: tuple[int, ...]


def read_captions(folder: Path) -> Captions:
    """The captions of a folder: ``captions.json`` with ``images`` and ``annotations``, as COCO has them.

    Raises:
        DataError: a file is missing or wrong, or an annotation is of no picture; it is named.
    """
    path = folder / CAPTIONS
    numbers: dict[str, int] = {}
    pictures: list[Path] = []
    for row in _rows(path, "images"):
        name = text_of(row.value, "file_name", row.where)
        found = next((place for sub in FOLDERS if (place := folder / sub / name).is_file()), None)
        if found is None:
            raise DataError(
                f"the picture {name!r} is not there",
                where=row.where,
                remedy=f"put it into {folder / 'images'}",
            )
        numbers[str(need(row.value, "id", row.where))] = len(pictures)
        pictures.append(found)
    texts: list[str] = []
    of: list[int] = []
    for row in _rows(path, "annotations"):
        own = str(need(row.value, "image_id", row.where))
        if own not in numbers:
            raise DataError(
                f"the caption is of the picture {own}, which is not there",
                where=row.where,
                remedy="take images and annotations from one file",
            )
        texts.append(text_of(row.value, "caption", row.where).strip())
        of.append(numbers[own])
    bare = sorted(set(range(len(pictures))) - set(of))
    if bare or len(pictures) < 2:
        raise DataError(
            f"{len(bare)} of {len(pictures)} pictures have no caption",
            where=str(path),
            remedy="there must be two pictures or more, each with a caption",
        )
    return Captions(tuple(pictures), tuple(texts), tuple(of))


def _rows(path: Path, key: str) -> list[Row]:
    found = []
    for name, value in read_under(path, key, "caption file"):
        where = f"{path}, {key}, number {name}"
        found.append(Row(as_object(value, where), where))
    return found


def some_of(captions: Captions, limit: int | None, seed: int) -> Captions:
    """A drawn part of the pictures, with all their captions; all when None."""
    if limit is None or limit >= len(captions.pictures):
        return captions
    kept = sorted(
        int(n) for n in np.random.default_rng(seed).permutation(len(captions.pictures))[: max(2, limit)]
    )
    place = {number: new for new, number in enumerate(kept)}
    pairs = [
        (text, place[own]) for text, own in zip(captions.texts, captions.of, strict=True) if own in place
    ]
    return Captions(
        tuple(captions.pictures[number] for number in kept),
        tuple(text for text, _ in pairs),
        tuple(own for _, own in pairs),
    )
