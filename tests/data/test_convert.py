from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pil

from pumice.data import read_samples
from pumice.data.convert import Converted, convert
from pumice.errors import DataError, UsageError
from pumice.image.source import open_picture
from pumice.types import Origin, Sample

FILES = {"llava": "out.json", "sharegpt": "out.jsonl", "messages": "out.jsonl", "webdataset": "out"}
ASKED = {"from": "human", "value": "<image>\nWhat is it?"}
SAID = {"from": "gpt", "value": "Ünïcode \ud83d\ude00 paint."}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    (root / "in").mkdir(parents=True)
    for name, color in (("a.png", "red"), ("in/b.jpg", "blue")):
        Pil.new("RGB", (8, 6), color).save(root / name)
    return root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    region = {"bbox": [0.125, 0, 0.5, 1 / 3], "phrase": "a dog"}
    two = {"from": "human", "value": "From <image><image>\nto?"}
    system = {"from": "system", "value": "Be brief."}
    rows: list[Any] = [
        {"id": "one", "image": "a.png", "conversations": [ASKED, SAID], "regions": [region]},
        {
            "id": 2,
            "image": ["in/b.jpg", "a.png"],
            "conversations": [system, two, SAID, {"from": "human", "value": "And?"}, SAID],
            "regions": [{**region, "image": 1}],
        },
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "\udc80"}]},
    ]
    path = tmp_path / "in.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def bytes_of(sample: Sample) -> list[bytes]:
    return [open_picture(image).read() for image in sample.images]


def same(found: list[Sample], wanted: list[Sample], *, pictures: bool) -> None:
    """The samples are equal but for where they stand; their pictures are the same files, or bytes."""
    nowhere = Origin("", 0)
    strip = {"origin": nowhere, "source": ""} if pictures else {"origin": nowhere, "source": "", "images": ()}
    assert [replace(s, **strip) for s in found] == [replace(s, **strip) for s in wanted]  # type: ignore[arg-type]
    assert [bytes_of(sample) for sample in found] == [bytes_of(sample) for sample in wanted]


@pytest.mark.parametrize("first", FILES)
@pytest.mark.parametrize("second", FILES)
def test_there_and_back_every_sample_is_equal(
    tmp_path: Path, source: Path, photos: Path, first: str, second: str
) -> None:
    wanted = read_samples(source, photos)
    there, back = tmp_path / "1" / FILES[first], tmp_path / "2" / FILES[second]
    out = tmp_path / "pictures"
    there.parent.mkdir()
    back.parent.mkdir()
    convert(source, there, first, image_root=photos)
    same(read_samples(there, photos), wanted, pictures=first != "webdataset")
    done = convert(there, back, second, image_root=photos, picture_folder=out)
    assert (done.format, done.rows, done.moved) == (first, 3, 0)
    # Pictures that came out of shards lie in a folder of their own, under their old names.
    unpacked = first == "webdataset" != second
    same(
        read_samples(back, out if unpacked else photos), wanted, pictures="webdataset" not in (first, second)
    )
    if unpacked:
        assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == ["a.png", "in/b.jpg"]


def test_shards_hold_so_many_rows_and_the_same_bytes_each_time(
    tmp_path: Path, source: Path, photos: Path
) -> None:
    for name in ("x", "y"):
        convert(source, tmp_path / name, "webdataset", image_root=photos, shard_rows=2)
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["000000.tar", "000001.tar"]
    for path in (tmp_path / "x").iterdir():
        assert path.read_bytes() == (tmp_path / "y" / path.name).read_bytes()
    convert(source, tmp_path / "z.tar", "webdataset", image_root=photos)
    assert len(read_samples(tmp_path / "z.tar", None)) == 3


def test_llavas_way_with_a_lone_picture_is_told(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    content = [{"type": "text", "text": "What is "}, {"type": "image", "image": "a.png"}]
    path.write_text(
        json.dumps(
            {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "x"}]}
        )
    )
    done = convert(path, tmp_path / "out.json", "llava")
    assert done == Converted("messages", 1, 0, 1, f"{path}, row 0")
    assert (
        json.loads((tmp_path / "out.json").read_text())[0]["conversations"][0]["value"] == "What is <image>"
    )


def test_text_that_would_become_a_picture_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(
        json.dumps(
            {"messages": [{"role": "user", "content": "<image>"}, {"role": "assistant", "content": "x"}]}
        )
    )
    with pytest.raises(DataError, match="which means a picture"):
        convert(path, tmp_path / "out.json", "llava")
    assert [file.name for file in tmp_path.iterdir()] == ["in.jsonl"]
    convert(path, tmp_path / "out.tar", "webdataset")
    assert read_samples(tmp_path / "out.tar", None)[0].messages[0].text == "<image>"


def test_pictures_of_one_name_from_two_shards_do_not_overwrite_each_other(tmp_path: Path) -> None:
    from .test_shards import TURNS, pack, png

    for shard, color in (("s0", "red"), ("s1", "blue")):
        pack(tmp_path / f"{shard}.tar", [("0.json", {"conversations": TURNS}), ("0.png", png(color))])
    out = tmp_path / "out"
    convert(tmp_path, tmp_path / "out.json", "llava", picture_folder=out)
    samples = read_samples(tmp_path / "out.json", out)
    assert [sample.images for sample in samples] == [(out / "0.png",), (out / "s1" / "0.png",)]
    assert [bytes_of(sample) for sample in samples] == [[png("red")], [png("blue")]]


def test_a_picture_that_would_leave_its_folder_is_refused(tmp_path: Path) -> None:
    from .test_shards import TURNS, pack, png

    shard = pack(tmp_path / "s.tar", [("../0.json", {"conversations": TURNS}), ("../0.png", png("red"))])
    with pytest.raises(DataError, match="would leave its folder"):
        convert(shard, tmp_path / "out.json", "llava", picture_folder=tmp_path / "out")
    assert not (tmp_path / "0.png").exists()


@pytest.mark.parametrize(
    ("out", "to", "message"),
    [
        ("out.txt", "llava", "OUT ends in .json or .jsonl"),
        ("out.json", "webdataset", "OUT ends in .tar or a folder"),
        ("out", "parquet", "OUT ends in .parquet"),
        ("out.json", "hub", "hub cannot be written"),
        ("full", "webdataset", "the folder holds other files"),
        ("out.json", "lava", "did you mean 'llava'"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, source: Path, out: str, to: str, message: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_bytes(b"x")
    with pytest.raises((UsageError, DataError)) as caught:
        convert(source, tmp_path / out, to)
    assert message in str(caught.value)


def test_pictures_inside_the_data_need_a_folder(tmp_path: Path, source: Path, photos: Path) -> None:
    convert(source, tmp_path / "out.tar", "webdataset", image_root=photos)
    with pytest.raises(UsageError, match="these lie inside the data") as caught:
        convert(tmp_path / "out.tar", tmp_path / "out.json", "llava")
    assert "--pictures" in str(caught.value)


def test_parquet_there_and_back(tmp_path: Path, source: Path, photos: Path) -> None:
    source.write_text(json.dumps(json.loads(source.read_text())[:2]))  # a lone surrogate is no Arrow string
    wanted = read_samples(source, photos)
    convert(source, tmp_path / "out.parquet", "parquet", image_root=photos)
    found = read_samples(tmp_path / "out.parquet", None)
    same(found, wanted, pictures=False)
    convert(tmp_path / "out.parquet", tmp_path / "b.json", "llava", picture_folder=tmp_path / "p")
    same(read_samples(tmp_path / "b.json", tmp_path / "p"), wanted, pictures=False)


def test_a_picture_of_no_known_kind_keeps_its_bytes(tmp_path: Path, photos: Path, source: Path) -> None:
    stream = io.BytesIO()
    Pil.new("RGB", (8, 6)).save(stream, "TIFF")
    (photos / "a.png").write_bytes(stream.getvalue())
    convert(source, tmp_path / "out.tar", "webdataset", image_root=photos)
    assert bytes_of(read_samples(tmp_path / "out.tar", None)[0]) == [stream.getvalue()]
