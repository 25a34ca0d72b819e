"""Captions in COCO's layout: what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from pumice.errors import DataError
from pumice.evaluate.dimensions.captions import read_captions, some_of

IMAGES = [{"id": 7, "file_name": "a.png"}, {"id": "8", "file_name": "b.png"}]
NOTES = [{"id": 1, "image_id": 8, "caption": " a ring "}, {"id": 2, "image_id": 7, "caption": "a star"}]


def put(folder: Path, images: Any = None, notes: Any = None) -> Path:
    (folder / "val2014").mkdir(exist_ok=True)
    for name in ("a", "b"):
        PIL.Image.new("RGB", (8, 8)).save(folder / "val2014" / f"{name}.png")
    content = {
        "images": IMAGES if images is None else images,
        "annotations": NOTES if notes is None else notes,
    }
    (folder / "captions.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_captions_and_their_pictures(tmp_path: Path) -> None:
    captions = read_captions(put(tmp_path))
    assert captions.texts == ("a ring", "a star")
    assert captions.of == (1, 0)
    assert [path.name for path in captions.pictures] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("images", "notes", "told"),
    [
        ([*IMAGES, {"id": 9, "file_name": "c.png"}], None, "'c.png' is not there"),
        (None, [*NOTES, {"image_id": 5, "caption": "x"}], "of the picture 5"),
        (None, NOTES[:1], "1 of 2 pictures have no caption"),
        (None, [{"image_id": 7, "caption": 3}], "caption is"),
        ([{"id": 1}], None, "'file_name' is missing"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, images: Any, notes: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_captions(put(tmp_path, images, notes))


def test_a_part_keeps_all_captions_of_its_pictures(tmp_path: Path) -> None:
    images = [{"id": n, "file_name": "a.png"} for n in range(10)]
    notes = [{"image_id": n % 10, "caption": f"{n % 10} {n}"} for n in range(30)]
    part = some_of(read_captions(put(tmp_path, images, notes)), 4, 0)
    assert len(part.pictures) == 4
    assert len(part.texts) == 12
    assert len({(text.split()[0], own) for text, own in zip(part.texts, part.of, strict=True)}) == 4
