"""RefCOCO, RefCOCO+ and RefCOCOg: phrases for things in COCO's pictures, and the boxes of the things.

REFER publishes its phrases as a pickle. A pickle can run code as it is read, so it is not read here; what is
read is the same list as JSON (``refs(unc).json`` beside ``instances.json``), or the COCO form that has a
caption with each picture (``finetune_refcoco_train.json``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pumice.data.llava_mix.base import (
    Context,
    MixSource,
    box_text,
    coco_id,
    coco_image,
    conversation,
    int_of,
    list_of,
    region_pair,
    text_of,
)
from pumice.data.problems import Problems
from pumice.data.rows import read_items, read_objects
from pumice.errors import DataError

FOLDERS = ("refcoco", "refcoco+", "refcocog")
INSTANCES = "instances.json"
MOST_PAIRS = 10
"""Pairs of the longest conversation in the published rows; more are shared out evenly."""

Phrase = tuple[str, str]
"""The words for a thing, and its box as text."""


def rows(context: Context) -> Iterator[dict[str, Any]]:
    """The phrases of a picture from all three, in conversations of at most ten pairs; a toss decides for each
    whether the phrase or the box is asked for."""
    pictures: dict[int, list[Phrase]] = {}
    for folder in FOLDERS:
        for image_id, phrase in _read(context, context.file(folder)):
            pictures.setdefault(image_id, []).append(phrase)
    for image_id, phrases in pictures.items():
        order = np.array(context.order(len(phrases), image_id, 0))
        tosses = context.coins(len(phrases), image_id, 1)
        parts = -(-len(phrases) // MOST_PAIRS)
        for part in np.array_split(order, parts):
            pairs = [region_pair(*phrases[number], locate=tosses[number]) for number in part.tolist()]
            yield conversation(coco_id(image_id), coco_image(image_id), pairs)


def _read(context: Context, folder: Path) -> Iterator[tuple[int, Phrase]]:
    """Picture and phrase of every phrase of the training split."""
    refs = sorted(folder.glob("refs*.json"))
    captioned = folder / f"finetune_{folder.name}_train.json"
    if len(refs) > 1:
        names = ", ".join(path.name for path in refs)
        raise DataError(
            f"there are several lists of phrases: {names}",
            where=str(folder),
            remedy="keep one: unc of refcoco and refcoco+, umd of refcocog",
        )
    if refs:
        yield from _refer(context, refs[0], folder / INSTANCES)
    elif captioned.is_file():
        yield from _captioned(context, captioned)
    else:
        raise _missing(folder, captioned.name)


def _missing(folder: Path, captioned: str) -> DataError:
    pickles = sorted(folder.glob("refs*.p"))
    if not pickles:
        return DataError(
            "the phrases are missing",
            where=str(folder),
            remedy=f"put refs(unc).json and {INSTANCES}, or {captioned}, into the folder",
        )
    name = pickles[0].name
    turn = f"json.dump(pickle.load(open({name!r}, 'rb')), open({name[:-2] + '.json'!r}, 'w'))"
    return DataError(
        f"{name} is a pickle, and pickles are not read: one can run code",
        where=str(folder),
        remedy=f'if you trust it, turn it into JSON yourself: python -c "import json, pickle; {turn}"',
    )


def _refer(context: Context, path: Path, instances: Path) -> Iterator[tuple[int, Phrase]]:
    sizes: dict[int, tuple[int, int]] = {}
    for number, row in read_items(instances, "images"):
        where = f"{instances}, image {number}"
        sizes[int_of(row, "id", where)] = int_of(row, "width", where), int_of(row, "height", where)
    boxes: dict[int, list[float]] = {}
    for number, row in read_items(instances, "annotations"):
        where = f"{instances}, annotation {number}"
        boxes[int_of(row, "id", where)] = _box(row, where)
    problems = Problems()
    for line, row in read_objects(path, problems):
        where = f"{path}, row {line}"
        if text_of(row, "split", where) != "train":
            continue
        image_id, thing = int_of(row, "image_id", where), int_of(row, "ann_id", where)
        if image_id not in sizes or thing not in boxes:
            context.left_out["a phrase is of no known picture or box"] += 1
            continue
        for sentence in list_of(row, "sentences", where):
            yield from _phrase(
                context, text_of(sentence, "sent", where), boxes[thing], sizes[image_id], image_id
            )
    problems.raise_if_any(f"{path} has rows that cannot be used")


def _captioned(context: Context, path: Path) -> Iterator[tuple[int, Phrase]]:
    """Each entry of ``images`` is one phrase there; ``original_id`` or its file's name is COCO's number."""
    boxes: dict[int, list[float]] = {}
    for number, row in read_items(path, "annotations"):
        where = f"{path}, annotation {number}"
        boxes[int_of(row, "image_id", where)] = _box(row, where)
    for number, row in read_items(path, "images"):
        where = f"{path}, image {number}"
        identity, size = int_of(row, "id", where), (int_of(row, "width", where), int_of(row, "height", where))
        if identity not in boxes:
            context.left_out["a phrase is of no known picture or box"] += 1
            continue
        image_id = int(Path(text_of(row, "file_name", where)).stem.rpartition("_")[2])
        yield from _phrase(context, text_of(row, "caption", where), boxes[identity], size, image_id)


def _phrase(
    context: Context, words: str, box: list[float], size: tuple[int, int], image_id: int
) -> Iterator[tuple[int, Phrase]]:
    text = box_text(box[0], box[1], box[2], box[3], size)
    if text is None or not words.strip(" ."):
        context.left_out["a phrase or its box is empty"] += 1
    else:
        yield image_id, (words, text)


def _box(row: dict[str, Any], where: str) -> list[float]:
    box = list_of(row, "bbox", where)
    if len(box) != 4 or not all(isinstance(side, int | float) for side in box):
        raise DataError(
            "the bbox is not four numbers", where=where, remedy="check that it is the official file"
        )
    return [float(side) for side in box]


SOURCE = MixSource("refcoco", 48_447, tuple(f"{name}/" for name in FOLDERS), rows)
