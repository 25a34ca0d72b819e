"""Fingerprints of training data: what is the same, what is near, what is asked."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from pumice.data import open_table
from pumice.data.fingerprints import (
    Fingerprint,
    Index,
    build_index,
    fingerprint,
    question_hash,
    question_words,
)
from pumice.errors import DataError, ImageError


def photo(seed: int, size: tuple[int, int] = (160, 120)) -> PIL.Image.Image:
    """A picture with large and small things in it, other for every seed."""
    draw = np.random.default_rng(seed)
    whole = np.zeros((120, 160, 3))
    for side in (4, 8, 16, 40):
        part = draw.uniform(0, 255, (side, side, 3)).astype(np.uint8)
        large = PIL.Image.fromarray(part).resize((160, 120), PIL.Image.Resampling.BICUBIC)
        whole += np.asarray(large) / 4
    return PIL.Image.fromarray(whole.astype(np.uint8)).resize(size)


def differ(first: int, second: int) -> int:
    return (first ^ second).bit_count()


def row(image: str | None, *questions: str) -> dict[str, Any]:
    turns = []
    for number, question in enumerate(questions):
        mark = "<image>\n" if image and not number else ""
        turns += [{"from": "human", "value": mark + question}, {"from": "gpt", "value": "Yes"}]
    return {"id": "x", "conversations": turns, **({"image": image} if image else {})}


def index_of(folder: Path, rows: list[dict[str, Any]], **named: Any) -> Index:
    (folder / "rows.json").write_text(json.dumps(rows))
    return build_index([open_table(folder / "rows.json", folder, "rows")], **named)


def test_the_hashes_by_hand() -> None:
    ramp = np.tile(np.arange(0, 90, 10, dtype=np.uint8), (8, 1))
    own = fingerprint(PIL.Image.fromarray(ramp).convert("RGB"))
    assert own.across == 2**64 - 1, "each grey is lighter than the one to its left"
    assert own.down == 0
    turned = fingerprint(PIL.Image.fromarray(ramp.T[::-1].copy()).convert("RGB"))
    assert (turned.across, turned.down) == (0, 0)
    assert turned.plain
    ramp[0, 1] = 0
    assert fingerprint(PIL.Image.fromarray(ramp).convert("RGB")).across == 2**63 - 1, "the first bit is row 0"


def test_pixels_count_and_not_the_file() -> None:
    picture = photo(1)
    for ending in ("PNG", "BMP", "WEBP"):
        file = io.BytesIO()
        picture.save(file, ending, **({"lossless": True} if ending == "WEBP" else {}))
        assert fingerprint(PIL.Image.open(file).convert("RGB")) == fingerprint(picture)
    assert fingerprint(picture.rotate(180)).pixels != fingerprint(picture).pixels
    wide, high = PIL.Image.new("RGB", (6, 2)), PIL.Image.new("RGB", (2, 6))
    assert fingerprint(wide).pixels != fingerprint(high).pixels, "the same bytes in another form"


def near(first: Fingerprint, second: Fingerprint) -> bool:
    return differ(first.across, second.across) <= 4 and differ(first.down, second.down) <= 4


def test_copies_are_near_and_others_are_not() -> None:
    found = 0
    for seed in range(20):
        own = fingerprint(photo(seed))
        file = io.BytesIO()
        photo(seed).save(file, "JPEG", quality=50)
        for copy in (PIL.Image.open(file).convert("RGB"), photo(seed).resize((80, 60))):
            found += near(own, fingerprint(copy))
            assert own.pixels != fingerprint(copy).pixels
        assert not near(own, fingerprint(photo(seed + 100)))
    assert found >= 38, "of 40"


@pytest.mark.parametrize(
    "text",
    [
        "<image>\nIs the car red?",
        "Is the CAR red?\nAnswer the question using a single word or phrase.",
        "Is the car red? Please answer yes or no.",
        "Is the car red?\nReference OCR token: STOP, 12\nAnswer the question using a single word or phrase.",
        "is the car  red\nWhen the provided information is insufficient, respond with 'Unanswerable'.\n"
        "Answer the question using a single word or phrase.",
        "Is the car red?\nAnswer with the option's letter from the given choices directly",
    ],
)
def test_words_of_questions(text: str) -> None:
    assert question_words(text) == "is the car red"
    assert question_hash(text) == question_hash("Is the car red")


def test_questions_without_words_are_none() -> None:
    assert question_hash("<image>\n?!") == 0
    assert question_words("这是什么?\n请直接回答选项字母。") == "这是什么"


def test_an_index_holds_each_picture_once(tmp_path: Path) -> None:
    photo(1).save(tmp_path / "a.png")
    photo(1).save(tmp_path / "b.bmp")
    photo(2).save(tmp_path / "c.png")
    said: list[tuple[str, int, int]] = []
    index = index_of(
        tmp_path,
        [
            row("a.png", "Red?", "Large?"),
            row("b.bmp", "red", "Old?"),
            row("c.png", "Red?"),
            row(None, "Who?"),
        ],
        progress=lambda *told: said.append(told),
    )
    assert index.pictures == 2
    assert index.questions == 4
    asked = {
        bytes(pixels): set(index.asked[index.start[place] : index.start[place + 1]].tolist())
        for place, pixels in enumerate(index.pixels)
    }
    assert asked[fingerprint(photo(1)).pixels] == {question_hash(text) for text in ("red", "large", "old")}
    assert asked[fingerprint(photo(2)).pixels] == {question_hash("red")}
    assert index.text_only.tolist() == [question_hash("who")]
    assert index.head["sources"][0]["rows"] == 4
    assert ("pictures of rows", 3, 3) in said
    assert ("questions of rows", 4, 4) in said


def test_an_index_is_read_as_it_was_written(tmp_path: Path) -> None:
    photo(1).save(tmp_path / "a.png")
    index = index_of(tmp_path, [row("a.png", "Red?"), row(None, "Who?")])
    path = tmp_path / "training.npz"
    index.save(path)
    again = Index.load(path)
    assert again.head == index.head
    for name in ("pixels", "across", "down", "start", "asked", "text_only"):
        assert (getattr(again, name) == getattr(index, name)).all()
        assert getattr(again, name).dtype == getattr(index, name).dtype


def test_an_index_of_text_alone(tmp_path: Path) -> None:
    index = index_of(tmp_path, [row(None, "Who?")])
    assert (index.pictures, index.questions) == (0, 1)
    index.save(tmp_path / "x")
    assert Index.load(tmp_path / "x").pixels.shape == (0, 16)


@pytest.mark.parametrize("kind", ["gone", "other", "cut", "array", "version"])
def test_other_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.npz"
    index = index_of(tmp_path, [row(None, "Who?")])
    index.save(path)
    if kind == "gone":
        path.unlink()
    elif kind == "other":
        path.write_text("{}")
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    elif kind == "array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    else:
        index.head["version"] = 0
        index.save(path)
    with pytest.raises(DataError) as caught:
        Index.load(path)
    assert caught.value.where == str(path)
    assert "pumice data fingerprints" in str(caught.value)


def test_a_picture_that_cannot_be_read_is_named_with_its_row(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ImageError) as caught:
        index_of(tmp_path, [row("a.png", "Red?")])
    assert "rows.json, row 0" in str(caught.value.where)


@pytest.mark.parametrize("content", [b"step 1 loss 2.5\n", b"", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_index_is_told_what_is_wanted(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.log"
    path.write_bytes(content)
    with pytest.raises(DataError, match="no fingerprints of training data") as caught:
        Index.load(path)
    assert "pickle" not in str(caught.value)
    assert "pumice data fingerprints" in str(caught.value.remedy)
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(DataError, match="archive holds no fingerprints"):
        Index.load(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("pixels", np.zeros((1, 15), np.uint8), "15 bytes a picture"),
        ("pixels", np.zeros(16, np.uint8), "1 axes"),
        ("across", np.zeros(1, np.int64), "across is int64"),
        ("down", np.zeros(2, np.uint64), "down has 2 entries for 1 pictures"),
        ("start", np.array([0, 9], np.int64), "start does not cut"),
        ("head", np.frombuffer(b'{"version": 1}', np.uint8), "what it was made of"),
    ],
)
def test_arrays_that_do_not_belong_together(tmp_path: Path, name: str, value: Any, told: str) -> None:
    photo(1).save(tmp_path / "a.png")
    index_of(tmp_path, [row("a.png", "Is it red?")]).save(tmp_path / "own.npz")
    with np.load(tmp_path / "own.npz") as stored:
        arrays = dict(stored)
    np.savez(tmp_path / "bad.npz", **{**arrays, name: value})
    with pytest.raises(DataError, match="damaged") as caught:
        Index.load(tmp_path / "bad.npz")
    assert told in caught.value.what
