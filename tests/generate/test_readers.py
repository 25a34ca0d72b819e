"""generate/readers.py: the files that people have, and what is wrong with some."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError, PumiceError, UsageError
from pumice.generate.protocol import Instance
from pumice.generate.readers import detect, open_scenes
from pumice.types import Rights

IMAGE = {"id": 7, "file_name": "7.jpg", "width": 200, "height": 100}
CAPTIONS = {
    "info": {},
    "images": [IMAGE, {"id": 8, "file_name": "8.jpg", "width": 10, "height": 10}],
    "annotations": [
        {"image_id": 7, "id": 1, "caption": " A dog.\n"},
        {"image_id": 7, "id": 2, "caption": "Dogs."},
    ],
}
INSTANCES = {
    "images": [IMAGE],
    "annotations": [
        {"image_id": 7, "id": 1, "category_id": 18, "bbox": [50, 25, 100, 50], "iscrowd": 0},
        {"image_id": 7, "id": 2, "category_id": 18, "bbox": [150, 0, 100, 100], "iscrowd": 1},
        {"image_id": 7, "id": 3, "category_id": 18, "bbox": [10, 10, 0, 5], "iscrowd": 0},
    ],
    "categories": [{"id": 18, "name": "dog"}],
}
BOXES = (Instance("dog", (0.25, 0.25, 0.75, 0.75)), Instance("dog", (0.75, 0.0, 1.0, 1.0), True))


def write(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_coco(tmp_path: Path) -> None:
    captions = write(tmp_path / "captions.json", CAPTIONS)
    instances = write(tmp_path / "instances.json", INSTANCES)
    (both,) = open_scenes(captions, instances=instances)
    assert (both.id, both.image, both.size) == ("7", "7.jpg", (200, 100))
    assert both.captions == ("A dog.", "Dogs.")
    assert both.instances == BOXES
    (alone,) = open_scenes(instances)
    assert (alone.captions, alone.instances) == ((), BOXES)
    (told,) = open_scenes(captions)
    assert told.instances == ()


def test_whose_pictures_are_goes_with_their_scenes(tmp_path: Path) -> None:
    photo = IMAGE | {"license": 9, "flickr_url": "https://f.org/7"}
    file = write(tmp_path / "c.json", CAPTIONS | {"images": [photo]})
    (numbered,) = open_scenes(file)
    assert numbered.rights == Rights("9", "", "https://f.org/7")  # a number of COCO's own
    told = {"id": 9, "name": "Nine", "url": "https://l.org/9"}
    (named,) = open_scenes(write(file, CAPTIONS | {"images": [photo], "licenses": [told]}))
    assert named.rights == Rights("https://l.org/9", "", "https://f.org/7")
    table = "image,caption,License,Author\na.jpg,A dog.,,\na.jpg,Dogs.,MIT,Ada\nb.jpg,A cat.,,\n"
    first, second = open_scenes(write(tmp_path / "t.csv", table))
    assert (first.rights, second.rights) == (Rights("MIT", "Ada"), Rights())
    row = {"id": 1, "image": "a.jpg", "captions": ["A dog."], "instances": [], "license": "MIT"}
    (scene,) = open_scenes(write(tmp_path / "s.jsonl", row))
    assert scene.rights == Rights("MIT")


def test_coco_files_that_do_not_belong_together(tmp_path: Path) -> None:
    captions = write(tmp_path / "captions.json", CAPTIONS | {"images": []})
    with pytest.raises(DataError, match="no image 7"):
        open_scenes(captions)


def test_visual_genome(tmp_path: Path) -> None:
    region = {
        "region_id": 1,
        "image_id": 5,
        "x": 10,
        "y": 20,
        "width": 30,
        "height": 40,
        "phrase": "a  red kite ",
    }
    path = write(tmp_path / "region_descriptions.json", [{"id": 5, "regions": [region]}])
    write(
        tmp_path / "image_data.json",
        [{"image_id": 5, "width": 100, "height": 100, "url": "https://x.org/rak248/VG_100K_2/5.jpg"}],
    )
    (scene,) = open_scenes(path)
    assert scene.image == "VG_100K_2/5.jpg"
    assert scene.regions == (Instance("a red kite", (0.1, 0.2, 0.4, 0.6)),)
    write(tmp_path / "image_data.json", [{"image_id": 6, "width": 1, "height": 1}])
    with pytest.raises(DataError, match="image 5 is not in"):
        open_scenes(path)


def test_figures_with_mentions(tmp_path: Path) -> None:
    rows = [
        {
            "pair_id": "a",
            "image": "a.jpg",
            "fig_caption": "CT of the chest.",
            "in_text_mention": [{"tokens": "See it."}],
        },
        {"id": "b", "caption": "MRI.", "mentions": ["It shows a lesion.", "It shows a lesion."]},
    ]
    path = write(tmp_path / "figures.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    first, second = open_scenes(path)
    assert (first.captions, first.mentions) == (("CT of the chest.",), ("See it.",))
    assert (second.image, second.mentions) == ("b.jpg", ("It shows a lesion.",))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "image,caption\n1.jpg,A dog.\n1.jpg,Dogs.\n2.jpg,\n"),
        ("a.tsv", "file_name\ttext\n1.jpg\tA dog.\n1.jpg\tDogs.\n"),
        ("flickr.csv", "image_name| comment_number| comment\n1.jpg| 0| A dog.\n1.jpg| 1| Dogs.\n"),
    ],
)
def test_tables(tmp_path: Path, name: str, text: str) -> None:
    column = "image_name" if name == "flickr.csv" else None
    (scene,) = open_scenes(write(tmp_path / name, text), image_column=column)
    assert (scene.id, scene.captions) == ("1.jpg", ("A dog.", "Dogs."))


def test_columns_and_options_that_are_none(tmp_path: Path) -> None:
    table = write(tmp_path / "a.csv", "picture,words\n1.jpg,A dog.\n")
    with pytest.raises(UsageError, match="usual names") as caught:
        open_scenes(table)
    assert "picture, words" in str(caught.value)
    with pytest.raises(UsageError, match="no column 'pictur'"):
        open_scenes(table, image_column="pictur", caption_column="words")
    scenes = write(
        tmp_path / "s.jsonl", json.dumps({"id": 1, "image": "1.jpg", "captions": ["A."], "instances": []})
    )
    cases: list[dict[str, Any]] = [{"instances": table}, {"image_column": "image"}, {"layout": "cocoa"}]
    for more in cases:
        with pytest.raises(UsageError):
            open_scenes(scenes, **more)


def test_layouts_are_told_apart(tmp_path: Path) -> None:
    scene = {"id": 1, "image": "1.jpg", "captions": ["A."], "instances": []}
    files = {
        "scenes": write(tmp_path / "a.jsonl", json.dumps(scene)),
        "coco": write(tmp_path / "b.json", json.dumps(CAPTIONS, indent=1)),
        "vg": write(tmp_path / "c.json", [{"regions": [], "id": 1}]),
        "figures": write(tmp_path / "d.json", [{"id": 1, "fig_caption": "A."}]),
    }
    assert {name: detect(path) for name, path in files.items()} == {name: name for name in files}
    with pytest.raises(PumiceError):
        detect(tmp_path / "none.json")


def test_scenes_may_say_more(tmp_path: Path) -> None:
    row = {
        "id": 1, "image": "1.jpg", "captions": [], "width": 20, "height": 10, "mentions": ["See it."],
        "instances": [{"category": "person", "bbox": [0, 0, 1, 1], "crowd": True}],
        "regions": [{"phrase": "a dog", "bbox": [0, 0, 0.5, 1]}],
    }  # fmt: skip
    (scene,) = open_scenes(write(tmp_path / "a.jsonl", json.dumps(row)))
    assert scene.size == (20, 10)
    assert scene.instances[0].crowd
    assert scene.regions == (Instance("a dog", (0.0, 0.0, 0.5, 1.0)),)
    for wrong in ({"height": 0}, {"mentions": "x"}, {"width": None}):
        with pytest.raises(DataError):
            open_scenes(write(tmp_path / "b.jsonl", json.dumps(row | wrong)))
