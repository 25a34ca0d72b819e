from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError
from pumice.generate import Instance, SceneText, read_scenes

GOOD: dict[str, Any] = {
    "id": "a1",
    "image": "train/a1.jpg",
    "captions": ["A dog.", "A small dog on grass."],
    "instances": [{"category": "dog", "bbox": [0.1, 0.2, 0.5, 0.9]}],
    "texts": [{"text": "STOP", "bbox": [0, 0, 1, 0.25]}],
}


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "scenes.jsonl"
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows), "utf-8")
    return path


def test_a_record_becomes_a_scene_text(tmp_path: Path) -> None:
    plain = {key: value for key, value in GOOD.items() if key != "texts"} | {"id": 7}
    assert read_scenes(write(tmp_path, GOOD, "", plain)) == [
        SceneText(
            id="a1",
            image="train/a1.jpg",
            captions=("A dog.", "A small dog on grass."),
            instances=(Instance("dog", (0.1, 0.2, 0.5, 0.9)),),
            texts=(Instance("STOP", (0.0, 0.0, 1.0, 0.25)),),
        ),
        SceneText("7", "train/a1.jpg", tuple(GOOD["captions"]), (Instance("dog", (0.1, 0.2, 0.5, 0.9)),)),
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text": []}, "did you mean 'texts'?"),
        ({"captions": None}, "captions is null, not a list"),
        ({"captions": ["A dog.", " "]}, "caption 1 is empty"),
        ({"id": True}, "id is true or false"),
        ({"id": ""}, "id is empty"),
        ({"image": "../a.jpg"}, "leaves the image folder"),
        ({"image": "/a.jpg"}, "leaves the image folder"),
        ({"image": None}, "image is null"),
        ({"instances": [{"category": "dog"}]}, "the key 'bbox' of instances[0] is missing"),
        ({"instances": ["dog"]}, "instances[0] is a string"),
        ({"instances": [{"category": "", "bbox": [0, 0, 1, 1]}]}, "the category of instances[0] is empty"),
        ({"texts": [{"text": "A", "bbox": [0, 0, 1]}]}, "not four numbers"),
        ({"texts": [{"text": "A", "bbox": [0, 0, 1, float("nan")]}]}, "not four numbers"),
        ({"texts": [{"text": "A", "bbox": [10, 20, 200, 300]}]}, "fractions of width and height"),
        ({"texts": [{"text": "A", "bbox": [0.5, 0, 0.5, 1]}]}, "x1 < x2"),
    ],
)
def test_a_bad_record_is_named_with_its_row(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, {**GOOD, "id": "b", **change})
    with pytest.raises(DataError) as caught:
        read_scenes(path)
    assert words in str(caught.value)
    assert f"{path}, row 1" in str(caught.value)
    assert caught.value.remedy


def test_missing_keys_ids_used_twice_and_broken_lines(tmp_path: Path) -> None:
    for key in ("id", "image", "captions", "instances"):
        with pytest.raises(DataError, match=f"the key '{key}' is missing"):
            read_scenes(write(tmp_path, {k: v for k, v in GOOD.items() if k != key}))
    with pytest.raises(DataError, match="id 'a1' was already used in row 0"):
        read_scenes(write(tmp_path, GOOD, GOOD))
    with pytest.raises(DataError, match="not JSON"):
        read_scenes(write(tmp_path, "{broken"))
    with pytest.raises(DataError, match="the row is a list, not an object"):
        read_scenes(write(tmp_path, "[[]]"))
    with pytest.raises(DataError, match="no rows"):
        read_scenes(write(tmp_path, "[]"))
    with pytest.raises(DataError, match="no rows"):
        read_scenes(write(tmp_path, ""))
    with pytest.raises(DataError, match="cannot be read"):
        read_scenes(tmp_path / "none.jsonl")


def test_all_bad_rows_are_counted_and_the_first_are_shown(tmp_path: Path) -> None:
    path = write(tmp_path, *[{**GOOD, "id": str(i), "image": ""} for i in range(9)])
    with pytest.raises(DataError) as caught:
        read_scenes(path, max_errors=4)
    message = str(caught.value)
    assert "(9, the first 4 of them here)" in message
    assert "row 3" in message
    assert "row 4" not in message


def test_published_captions_and_boxes_read() -> None:
    folder = os.environ.get("PUMICE_REAL_DATA")
    if not folder:
        pytest.skip("PUMICE_REAL_DATA does not name the folder of real data")
    scenes = read_scenes(Path(folder) / "coco" / "caps_boxes_coco2014_val_80.jsonl")
    assert len(scenes) == 80
    assert all(len(s.captions) >= 5 for s in scenes)
    assert any(i.category == "donut" for i in scenes[0].instances)
