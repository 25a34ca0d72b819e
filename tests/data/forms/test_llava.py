from __future__ import annotations

import gc
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pumice.data import read_samples
from pumice.errors import DataError, ImageError
from pumice.types import Image, Message, Origin, Region, Text

HUMAN, GPT = {"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Paint."}
SHOWN = {"from": "human", "value": "<image>\nWhat is it?"}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    root.mkdir()
    for name in ("a.png", "b.png"):
        (root / name).write_bytes(b"looked at later")
    return root


def write(folder: Path, rows: list[Any], suffix: str = "json") -> Path:
    path = folder / f"rows.{suffix}"
    text = json.dumps(rows) if suffix == "json" else "\n".join(json.dumps(row) for row in rows) + "\n"
    path.write_text(text, encoding="utf-8")
    return path


def row(*turns: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"id": "x", "conversations": list(turns or (HUMAN, GPT)), **keys}


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_a_file_of_either_layout(tmp_path: Path, images: Path, suffix: str) -> None:
    regions = [{"bbox": [0, 0.25, 0.5, 1], "phrase": "a red square"}]
    path = write(
        tmp_path,
        [
            row(
                {"from": "system", "value": "Be brief."},
                SHOWN,
                GPT,
                HUMAN,
                GPT,
                image="a.png",
                regions=regions,
            ),
            row(id=7, model="extra keys are fine"),
        ],
        suffix,
    )
    first, second = read_samples(path, images)
    assert first.messages == (
        Message("system", (Text("Be brief."),)),
        Message("user", (Image(0), Text("\n"), Text("What is it?"))),
        Message("assistant", (Text("Paint."),)),
        Message("user", (Text("Why?"),)),
        Message("assistant", (Text("Paint."),)),
    )
    assert first.images == (images / "a.png",)
    assert first.regions == (Region((0, 0.25, 0.5, 1), "a red square", 0),)
    assert (first.id, first.source, first.origin) == ("x", "rows", Origin(str(path), 0))
    assert (second.id, second.images, second.origin.row) == ("7", (), 1)
    assert read_samples(path, images, "mine")[0].source == "mine"


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("<image>\nWhat?", (Image(0), Text("\n"), Text("What?"))),
        ("What?\n<image>", (Image(0), Text("\n"), Text("What?"))),
        ("Look <image> here", (Image(0), Text("\n"), Text("Look  here"))),
        ("<image>", (Image(0),)),
        ("<image>\n", (Image(0),)),
    ],
)
def test_one_image_moves_to_the_front_of_its_turn(
    tmp_path: Path, images: Path, value: str, parts: tuple[Any, ...]
) -> None:
    path = write(tmp_path, [row({"from": "human", "value": value}, GPT, image="a.png")])
    assert read_samples(path, images)[0].messages[0].parts == parts


def test_one_image_in_a_later_turn_stays_in_that_turn(tmp_path: Path, images: Path) -> None:
    later = {"from": "human", "value": "And this? <image>"}
    sample = read_samples(write(tmp_path, [row(HUMAN, GPT, later, GPT, image=["a.png"])]), images)[0]
    assert sample.messages[0].parts == (Text("Why?"),)
    assert sample.messages[2].parts == (Image(0), Text("\n"), Text("And this?"))


def test_several_images_keep_their_places_over_turns(tmp_path: Path, images: Path) -> None:
    turns = (
        {"from": "human", "value": "From <image><image>\nto?"},
        GPT,
        {"from": "human", "value": "<image> again"},
        GPT,
    )
    sample = read_samples(write(tmp_path, [row(*turns, image=["a.png", "b.png", "a.png"])]), images)[0]
    assert sample.messages[0].parts == (Text("From "), Image(0), Image(1), Text("\n"), Text("to?"))
    assert sample.messages[2].parts == (Image(2), Text(" again"))
    assert sample.images == tuple(images / name for name in ("a.png", "b.png", "a.png"))


BAD_ROWS: list[tuple[Any, str]] = [
    ([], "the row is a list"),
    ({"id": "x"}, "conversations is null"),
    ({"id": "x", "conversations": []}, "conversations is empty"),
    ({"id": "x", "conversations": "hi"}, "conversations is a string"),
    (row("hi", GPT), "turn 0 is a string"),  # type: ignore[arg-type]
    (row({"from": "user", "value": "hi"}, GPT), "turn 0 is from 'user', as the format sharegpt"),
    (row({"role": "user", "content": "hi"}, GPT), "turn 0 has role and content, as the format sharegpt"),
    (row({"from": ["human"], "value": "hi"}, GPT), "turn 0 is from"),
    (row({"from": "human", "value": 3}, GPT), "value of turn 0 is a number"),
    (row(HUMAN, {"from": "gpt"}), "value of turn 1 is null"),
    (row(GPT, HUMAN), "turn 0 is from gpt where human must speak"),
    (row(HUMAN, HUMAN, GPT), "turn 1 is from human where gpt must speak"),
    (row(HUMAN, GPT, {"from": "system", "value": "s"}), "turn 2 is from system where human must speak"),
    (row({"from": "system", "value": "s"}), "the last turn is not an answer"),
    (row(HUMAN, GPT, HUMAN), "the last turn is not an answer"),
    (row(HUMAN, {"from": "gpt", "value": " \n"}), "the answer of turn 1 is empty"),
    (row({"from": "human", "value": " "}, GPT), "turn 0 is empty"),
    (row(SHOWN, GPT), "1 <image> placeholder(s) for 0 image(s)"),
    (row(HUMAN, GPT, image="a.png"), "0 <image> placeholder(s) for 1 image(s)"),
    (row(SHOWN, GPT, image=["a.png", "b.png"]), "1 <image> placeholder(s) for 2 image(s)"),
    (row(SHOWN, GPT, SHOWN, GPT, image="a.png"), "2 <image> placeholder(s) for 1 image(s)"),
    (
        row(SHOWN, {"from": "gpt", "value": "an <image>"}, image="a.png"),
        "turn 1 is from gpt and holds <image>",
    ),
    (row(SHOWN, GPT, image="missing.png"), "missing.png does not exist"),
    (row(SHOWN, GPT, image="a\0.png"), "does not exist"),
    (row(SHOWN, GPT, image="/etc/a.png"), "image '/etc/a.png' leaves the image folder"),
    (row(SHOWN, GPT, image="../images/a.png"), "image '../images/a.png' leaves the image folder"),
    (row(SHOWN, GPT, image="x\\..\\..\\a.png"), "leaves the image folder"),
    (row(SHOWN, GPT, image="C:/a.png"), "leaves the image folder"),
    (row(SHOWN, GPT, image=""), "image is an empty path"),
    (row(SHOWN, GPT, image=3), "image is a number"),
    (row(SHOWN, GPT, image=["a.png", None]), "image is null"),
    (row(HUMAN, GPT, iamge="a.png"), "unknown key 'iamge'"),
    (row({"from": "human", "value": "Why?", "weight": 0}, GPT), "unknown key 'weight' of turn 0"),
    (row(id=True), "id is true or false"),
    (row(regions={}), "regions is an object"),
    (row(SHOWN, GPT, image="a.png", regions=[3]), "region 0 is a number"),
    (
        row(SHOWN, GPT, image="a.png", regions=[{"bbox": [0, 0, 1, 1]}]),
        "the key 'phrase' of region 0 is missing",
    ),
    (row(regions=[{"bbox": [0, 0, 1, 1], "phrase": "p"}]), "region 0 is of image 0; the row has 0"),
    (
        row(SHOWN, GPT, image="a.png", regions=[{"bbox": [0, 0, 1], "phrase": "p"}]),
        "the bbox of region 0 is not four numbers",
    ),
    (
        row(SHOWN, GPT, image="a.png", regions=[{"bbox": [0, 0, float("nan"), 1], "phrase": "p"}]),
        "the bbox of region 0 is not four numbers",
    ),
    (
        row(SHOWN, GPT, image="a.png", regions=[{"bbox": [0, 0, 64, 64], "phrase": "p"}]),
        "the bbox of region 0 is",
    ),
    (
        row(SHOWN, GPT, image="a.png", regions=[{"bbox": [1, 0, 0, 1], "phrase": "p"}]),
        "the bbox of region 0 is",
    ),
]


@pytest.mark.parametrize(("bad", "message"), BAD_ROWS)
def test_a_bad_row_is_named_with_what_to_do(tmp_path: Path, images: Path, bad: Any, message: str) -> None:
    path = write(tmp_path, [row(), bad, row()])
    with pytest.raises(DataError) as caught:
        read_samples(path, images)
    assert message in caught.value.what
    assert caught.value.where == f"{path}, row 1"
    assert caught.value.remedy


def test_unknown_speakers_get_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_samples(write(tmp_path, [row({"from": "humans", "value": "hi"}, GPT)]), None)
    assert "did you mean 'human'" in str(caught.value)


def test_unknown_keys_get_the_nearest_name_and_metadata_is_fine(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_samples(write(tmp_path, [row(iamge="a.png")]), None)
    assert "did you mean 'image'" in str(caught.value)
    extra = {"model": "x", "source": "y", "width": 3, "height": 4, "dataset": "z", "type": "t"}
    assert len(read_samples(write(tmp_path, [row(**extra)]), None)) == 1


def test_all_bad_rows_are_counted_and_the_first_are_listed(tmp_path: Path, images: Path) -> None:
    rows = [row(SHOWN, GPT, image="missing.png") if index % 2 else row() for index in range(100)]
    path = write(tmp_path, rows, "jsonl")
    with pytest.raises(DataError) as caught:
        read_samples(path, images, max_errors=20)
    text = str(caught.value)
    assert "(50, the first 20 of them here)" in text
    listed = [index for index in range(100) if f"{path}, row {index} (" in text]
    assert listed == list(range(1, 40, 2))
    assert text.count("put it under the image folder") == 1


def test_a_missing_image_is_an_image_error_and_can_be_left_to_later(tmp_path: Path, images: Path) -> None:
    path = write(tmp_path, [row(SHOWN, GPT, image="missing.png")])
    with pytest.raises(ImageError):
        read_samples(path, images)
    assert read_samples(path, images, check_files=False)[0].images == (images / "missing.png",)
    with pytest.raises(DataError, match="no image folder"):
        read_samples(path, None)


def test_jsonl_rows_are_numbered_by_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\ufeff" + json.dumps(row()) + "\n\n{broken\n" + json.dumps(row(id=3)), encoding="utf-8")
    with pytest.raises(DataError, match="not JSON") as caught:
        read_samples(path, None)
    assert caught.value.where == f"{path}, row 2"
    path.write_text(path.read_text(encoding="utf-8").replace("{broken", "\u2028".strip()), encoding="utf-8")
    assert [sample.origin.row for sample in read_samples(path, None)] == [0, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[{]", "is not JSON"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"", "holds no rows"),
        (b"[]", "holds no rows"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"id": "x"}', "the row's format is not known"),
    ],
)
def test_files_that_are_no_data(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_samples(path, None)


def test_a_missing_file_names_itself(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read") as caught:
        read_samples(tmp_path / "no.json", None)
    assert caught.value.where == str(tmp_path / "no.json")


def test_many_rows_are_read_and_the_collector_is_left_as_it_was(tmp_path: Path, images: Path) -> None:
    box = {"bbox": [0.1, 0.1, 0.4, 0.4], "phrase": "a red square"}
    path = write(tmp_path, [row(SHOWN, GPT, *(HUMAN, GPT) * 2, image="a.png", regions=[box] * 2)] * 2_000)
    assert gc.isenabled()
    assert len(read_samples(path, images)) == 2_000
    assert gc.isenabled()


def test_a_real_mixture() -> None:
    folder = os.environ.get("PUMICE_REAL_DATA")
    if not folder:
        pytest.skip("PUMICE_REAL_DATA does not name the folder of real data")
    path = Path(folder, "mix", "llava_v1_5_mix1k.jsonl")
    samples = read_samples(path, Path("images"), check_files=False)
    assert len(samples) == 1000
    assert all(sample.messages[0].parts[0] == Image(0) for sample in samples)
    assert not any("<image>" in message.text for sample in samples for message in sample.messages)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for sample, given in zip(samples, rows, strict=True):
        assert [message.text for message in sample.messages[1:]] == [
            t["value"] for t in given["conversations"][1:]
        ]
