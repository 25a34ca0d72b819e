from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pil

from pumice.data import read_samples
from pumice.data.shards import find_shards
from pumice.errors import DataError
from pumice.image import open_image
from pumice.types import Image, ImageRef, Text

TURNS = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Paint."}]


def png(color: str) -> bytes:
    stream = io.BytesIO()
    Pil.new("RGB", (4, 3), color).save(stream, "PNG")
    return stream.getvalue()


def pack(path: Path, members: list[tuple[str, Any]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def test_rows_and_pictures_come_by_place(tmp_path: Path) -> None:
    two = [{"from": "human", "value": "<image> and <image>?"}, TURNS[1]]
    shard = pack(
        tmp_path / "a.tar",
        [
            ("d/000.json", {"id": "x", "conversations": TURNS}),
            ("d/000.png", png("red")),
            ("d/001.0.png", png("lime")),
            ("d/001.1.PNG", png("blue")),
            ("d/001.json", {"conversations": two, "image": ["one.png", "two.png"]}),
            ("d/002.txt", b"a lake\n"),
            ("d/002.png", png("white")),
            ("d/002.json", ["noted by another tool"]),
            (
                "e/002.json",
                {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]},
            ),
        ],
    )
    first, second, third, fourth = read_samples(shard, None)
    assert (first.id, second.id, third.id) == ("x", "1", "2")
    assert [str(sample.origin) for sample in (first, fourth)] == [f"{shard}, row 0", f"{shard}, row 3"]
    assert third.messages[0].parts == (Image(0),)
    assert third.messages[1].parts == (Text("a lake"),)
    assert fourth.images == ()
    colors = [
        open_image(image).getpixel((0, 0)) for sample in (first, second, third) for image in sample.images
    ]
    assert colors == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    assert all(isinstance(image, ImageRef) and image.file == shard for image in first.images)
    assert [image.name for image in second.images] == ["one.png", "two.png"]  # type: ignore[union-attr]
    assert first.images[0].name == "d/000.png"


def test_shards_of_a_folder_and_of_a_range(tmp_path: Path) -> None:
    for number in range(3):
        pack(
            tmp_path / f"s-{number:03d}.tar",
            [("0.json", {"id": f"{number}", "conversations": TURNS}), ("0.png", png("red"))],
        )
    assert [sample.id for sample in read_samples(tmp_path, None)] == ["0", "1", "2"]
    ranged = tmp_path / "s-{001..002}.tar"
    assert [sample.id for sample in read_samples(ranged, None)] == ["1", "2"]
    with pytest.raises(DataError, match=r"the shard s-003\.tar is missing"):
        find_shards(tmp_path / "s-{001..003}.tar")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("0.json", {"conversations": TURNS})], "1 <image> placeholder(s) for 0 image(s)"),
        ([("0.png", b"x")], "no member holds the row"),
        ([("0.json", b"{"), ("0.png", b"x")], "0.json is not JSON"),
        ([("0.json", b"[]"), ("0.png", b"x")], "the row is a list"),
        ([("0.json", {"id": "x"}), ("0.png", b"x")], "the row's format is not known"),
        ([("0.txt", b"\xff"), ("0.png", b"x")], "0.txt is not UTF-8"),
        ([("0.txt", b" "), ("0.png", b"x")], "the caption is empty"),
        ([("0.txt", b"a"), ("0.a.png", b"x"), ("0.b.png", b"x")], "a caption has 2 pictures"),
    ],
)
def test_bad_groups_are_named_with_shard_and_row(tmp_path: Path, members: Any, message: str) -> None:
    good = [("g.json", {"conversations": TURNS}), ("g.png", png("red"))]
    shard = pack(tmp_path / "a.tar", [*good, *members])
    with pytest.raises(DataError) as caught:
        read_samples(shard, None)
    assert message in caught.value.what
    assert f"{shard}, row 1" in str(caught.value.where)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("0.mp4", b"x")], "the member 0.mp4 has no use"),
        ([("0.json", {}), ("0.json", {})], "0.json has no use"),
    ],
)
def test_members_without_use_refuse_the_shard(tmp_path: Path, members: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_samples(pack(tmp_path / "a.tar", members), None)


def test_shards_that_cannot_be_read_by_place(tmp_path: Path) -> None:
    members = [("0.json", {"conversations": TURNS}), ("0.png", png("red") * 100)]
    pack(tmp_path / "a.tar", members, "w:gz")
    with pytest.raises(DataError, match="no plain tar file") as caught:
        read_samples(tmp_path / "a.tar", None)
    assert "unpack" in str(caught.value.remedy)
    whole = pack(tmp_path / "b.tar", members).read_bytes()
    (tmp_path / "b.tar").write_bytes(whole[:2500])
    with pytest.raises(DataError, match=r"it is cut off inside 0\.png"):
        read_samples(tmp_path / "b.tar", None)
    (tmp_path / "c.tar").write_bytes(b"\0" * 10240)
    with pytest.raises(DataError, match="holds no rows"):
        read_samples(tmp_path / "c.tar", None)
