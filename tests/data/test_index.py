from __future__ import annotations

import base64
import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pil

from pumice.data import index, open_table, read_samples
from pumice.data.table import SampleTable
from pumice.errors import DataError, ImageError
from pumice.image import open_image
from pumice.types import ImageRef


def rows(count: int, **keys: Any) -> list[dict[str, Any]]:
    return [
        {
            "id": f"r{i}",
            "image": f"{i % 3}.png",
            "conversations": [
                {"from": "human", "value": f"<image>\nWhat is number {i}?"},
                {"from": "gpt", "value": "Ünïcode paint."},
            ],
            **keys,
        }
        for i in range(count)
    ]


def write(folder: Path, data: list[dict[str, Any]], name: str = "rows.json") -> Path:
    path = folder / name
    lines = [json.dumps(row, ensure_ascii=False) for row in data]
    path.write_text("[" + ",\n ".join(lines) + "]" if name.endswith("json") else "\n".join(lines), "utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "012":
        Pil.new("RGB", (4, 3), "red").save(tmp_path / f"{name}.png")
    return tmp_path


def open_(path: Path, cache: Path | None = None, **keys: Any) -> SampleTable:
    return open_table(path, path.parent, "s", cache_folder=cache, **keys)


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_a_table_is_a_sequence_of_the_files_samples(folder: Path, name: str) -> None:
    path = write(folder, rows(7), name)
    table = open_(path)
    samples = read_samples(path, folder, "s")
    assert list(table) == samples == [table[i] for i in range(7)] == table[:]
    assert (len(table), table[-1], table[2:4]) == (7, samples[6], samples[2:4])
    assert table.images(4) == samples[4].images == (folder / "1.png",)
    assert (table.origin(4), table.pictures, table.names(5)) == (samples[4].origin, 3, ["2.png"])
    assert list(table.read([3, 1])) == [samples[3], samples[1]]
    with pytest.raises(IndexError):
        table[7]


def test_counts_are_kept_of_every_row(folder: Path) -> None:
    table = open_(write(folder, rows(2, source="a set")))
    columns = table.columns
    assert columns.pairs.tolist() == [1, 1]
    assert columns.question_words.tolist() == [4, 4]
    assert columns.answer_words.tolist() == [2, 2]
    assert table.head.groups == ("a set",)
    assert open_(write(folder, rows(2))).head.groups == (".",)


def test_the_second_time_the_file_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = write(folder, rows(7)), folder / "cache"
    first = open_(path, cache)
    samples = list(first)
    monkeypatch.setattr(index, "_build", None)
    second = open_(path, cache)
    assert list(second) == samples
    assert second.head == first.head
    os.utime(path, (1, 1))  # the same bytes at another time
    assert list(open_(path, cache)) == samples


@pytest.mark.parametrize("change", ["bytes", "size", "format", "damage", "version"])
def test_a_table_that_is_no_longer_true_is_made_anew(
    folder: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = write(folder, rows(7)), folder / "cache"
    open_(path, cache)
    expected, format = "r6", "llava"
    if change in ("bytes", "size"):
        expected = "x6" if change == "bytes" else "longer"
        path.write_text(path.read_text("utf-8").replace('"r6"', f'"{expected}"'), "utf-8")
    elif change == "format":
        format = "sharegpt"
    elif change == "version":
        monkeypatch.setattr(index, "VERSION", 99)
    else:
        for kept in (cache / "tables").rglob("*.npz"):
            kept.write_bytes(kept.read_bytes()[:-40])
    assert open_(path, cache, format=format)[6].id == expected
    assert not [*(cache / "tables").glob("*.partial")]


def test_a_file_that_changes_in_use_is_noticed(folder: Path) -> None:
    path = write(folder, rows(7))
    table = open_(path)
    path.write_text(path.read_text("utf-8").replace("paint", "stain"), "utf-8")
    os.utime(path, (1, 1))
    with pytest.raises(DataError, match="changed since it was checked"):
        table[0]
    path.unlink()
    with pytest.raises(DataError, match="changed since it was checked"):
        table[0]


def test_missing_pictures_are_looked_for_each_time(folder: Path) -> None:
    path, cache = write(folder, rows(7)), folder / "cache"
    open_(path, cache)
    (folder / "1.png").unlink()
    with pytest.raises(DataError, match=r"\(2\)") as caught:
        open_(path, cache)
    assert [f"{path}, row {row} (" in str(caught.value) for row in (0, 1, 2, 4)] == [False, True, False, True]
    assert len(open_(path, cache, check_files=False)) == 7
    (folder / "1.png").write_bytes(b"x")
    with pytest.raises(ImageError):
        open_(write(folder, rows(1, image="none.png")), cache)


def test_bad_rows_and_missing_pictures_are_told_together_and_nothing_is_kept(folder: Path) -> None:
    cache = folder / "cache"
    path = write(folder, [*rows(2), {"conversations": 3}, *rows(1, image="none.png")])
    with pytest.raises(DataError, match=r"\(2\)") as caught:
        open_(path, cache)
    assert "conversations is a number" in str(caught.value)
    assert "none.png does not exist" in str(caught.value)
    assert not [*cache.rglob("*.npz")]


def test_a_cache_that_cannot_be_written_does_not_stop_a_run(folder: Path) -> None:
    path = write(folder, rows(3))
    (folder / "cache").write_text("a file in the way")
    assert len(open_(path, folder / "cache")) == 3


def test_a_prompt_follows_every_question_once(folder: Path) -> None:
    turns = rows(1)[0]["conversations"]
    more = [{"from": "human", "value": "And? In brief."}, turns[1]]
    path = write(folder, rows(1, conversations=[*turns, *more]))
    sample = open_(path, prompt="In brief.")[0]
    assert [m.text for m in sample.messages if m.role == "user"] == [
        "\nWhat is number 0?\nIn brief.",
        "And? In brief.",
    ]
    assert sample.messages[1].text == "Ünïcode paint."


@pytest.mark.parametrize("kept", [True, False])
def test_pictures_inside_rows_are_taken_out_once(folder: Path, kept: bool) -> None:
    def png(color: str) -> str:
        stream = io.BytesIO()
        Pil.new("RGB", (4, 3), color).save(stream, "PNG")
        return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()

    data = [
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": png(color)}},
                        {"type": "text", "text": "?"},
                    ],
                },
                {"role": "assistant", "content": color},
            ]
        }
        for color in ("red", "blue", "red")
    ]
    path, cache = write(folder, data, "rows.jsonl"), folder / "cache" if kept else None
    for _ in range(2):
        table = open_table(path, None, "s", cache_folder=cache)
        assert table.pictures == 2
        colors = [open_image(sample.images[0]).getpixel((0, 0)) for sample in table]
        assert colors == [(255, 0, 0), (0, 0, 255), (255, 0, 0)]
        assert table[0].images == table[2].images
    if cache is not None:
        picture = table.images(0)[0]
        assert isinstance(picture, ImageRef)
        assert cache in picture.file.parents
        picture.file.unlink()  # what was taken out is gone: it is taken out again
        assert open_image(open_table(path, None, "s", cache_folder=cache)[0].images[0]).size == (4, 3)
    data[1]["messages"][0]["content"][0]["image_url"]["url"] = "data:image/png;base64,*"  # type: ignore[index]
    with pytest.raises(DataError, match="no base64") as caught:
        open_table(write(folder, data, "rows.jsonl"), None, "s", cache_folder=cache)
    assert caught.value.where == f"{path}, row 1"


def test_a_table_travels_to_other_processes(folder: Path) -> None:
    table = open_(write(folder, rows(7)))
    assert list(pickle.loads(pickle.dumps(table))) == list(table)


def test_the_fingerprint_follows_words_pictures_and_boxes(folder: Path) -> None:
    def digest(**keys: Any) -> bytes:
        return open_(write(folder, rows(1, **keys))).columns.digest.tobytes()

    box = {"bbox": [0, 0, 0.5, 1], "phrase": "a dog"}
    turns = rows(2)[1]["conversations"]
    seen = {
        digest(),
        digest(id="x"),
        digest(image="1.png"),
        digest(conversations=turns),
        digest(regions=[box]),
    }
    assert len(seen) == 5
    assert digest(source="elsewhere") == digest(), "metadata changes nothing"


def test_progress_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_EVERY", 2)
    told: list[tuple[str, int, int]] = []
    open_(write(folder, rows(5)), progress=lambda *event: told.append(event))
    assert told == [("reading rows", 0, 1), ("reading rows", 0, 1), ("reading rows", 1, 1)]


def test_arrays_have_their_types(folder: Path) -> None:
    columns = open_(write(folder, rows(3))).columns
    assert columns.row_start.dtype == np.int64
    assert columns.uses.dtype == columns.pairs.dtype == np.int32
    assert columns.digest.shape == (3, 16)
    assert columns.use_start.tolist() == [0, 1, 2, 3]


def test_one_table_serves_every_way_to_name_its_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = write(folder, rows(3)), folder / "cache"
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder)
    assert str(open_(Path("rows.json"), cache)[1].origin) == "rows.json, row 1"
    monkeypatch.setattr(index, "_build", None)
    assert str(open_(path, cache)[1].origin) == f"{path}, row 1"
    monkeypatch.chdir(folder / "elsewhere")
    table = open_(Path("../rows.json"), cache)
    assert str(table[1].origin) == "../rows.json, row 1"
    monkeypatch.chdir(folder)
    assert len(list(table)) == 3, "the place it is read from does not move"
