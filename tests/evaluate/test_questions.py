from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from pumice.errors import DataError, ImageError
from pumice.evaluate import read_questions
from pumice.evaluate.questions import EXAMPLE

GOOD: dict[str, Any] = {
    "question_id": 1,
    "image": "a.png",
    "text": "what colour?",
    "type": "colour",
    "answer": "red",
}


def write(folder: Path, rows: list[Any]) -> Path:
    for name in ("a.png", "b.png"):
        PIL.Image.new("RGB", (4, 4), "red").save(folder / name)
    file = folder / "questions.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


def test_rows_come_back_as_they_were_written_and_grouped_by_picture(tmp_path: Path) -> None:
    rows = [
        GOOD | {"present": ["red", "blue"]},
        GOOD | {"question_id": "x", "image": "b.png", "answer": "no", "setting": "random"},
        GOOD | {"question_id": 3},
        GOOD | {"question_id": 4, "image": None},
    ]
    questions = read_questions(write(tmp_path, rows))
    assert [question.id for question in questions.questions] == [1, 3, "x", 4]
    by_id = {question.id: question for question in questions.questions}
    assert [by_id[row["question_id"]].fields() for row in rows] == rows
    assert by_id["x"].origin.row == 1
    assert [prompt.images for prompt in questions.prompts()] == [
        (tmp_path / "a.png",),
        (tmp_path / "a.png",),
        (tmp_path / "b.png",),
        (),
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{", "not JSON"),
        ([1], "not an object"),
        ({k: v for k, v in GOOD.items() if k != "answer"}, "'answer' is missing"),
        (GOOD | {"anwser": "x"}, "unknown key 'anwser'"),
        (GOOD | {"question_id": True}, "question_id is True"),
        (GOOD | {"question_id": "7"}, "already used in row 0"),
        (GOOD | {"answer": "  "}, "answer is '  '"),
        (GOOD | {"answer": 3}, "answer is 3"),
        (GOOD | {"setting": "rare"}, "unknown setting 'rare'"),
        (GOOD | {"setting": "random"}, "has the answer 'red'"),
        (GOOD | {"present": []}, "present is"),
        (GOOD | {"image": "../a.png"}, "leaves the image folder"),
        (GOOD | {"image": "/a.png"}, "leaves the image folder"),
        (GOOD | {"image": "x\\..\\..\\a.png"}, "leaves the image folder"),
        (GOOD | {"image": "C:/a.png"}, "leaves the image folder"),
        (GOOD | {"image": 5}, "image is 5"),
    ],
)
def test_a_bad_row_is_named_with_its_file_and_number(tmp_path: Path, row: Any, words: str) -> None:
    file = write(tmp_path, [GOOD | {"question_id": 7}, row])
    with pytest.raises(DataError) as caught:
        read_questions(file)
    assert words in caught.value.what
    assert caught.value.where == f"{file}, row 1"
    assert caught.value.remedy


def test_an_unknown_key_gets_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_questions(write(tmp_path, [GOOD | {"anwser": "x"}]))
    assert "'answer'" in str(caught.value.remedy)


def test_missing_and_corrupt_pictures_are_found_before_any_model_runs(tmp_path: Path) -> None:
    file = write(tmp_path, [GOOD, GOOD | {"question_id": 2, "image": "b.png"}])
    (tmp_path / "b.png").write_bytes(b"not a picture")
    with pytest.raises(ImageError, match=r"b\.png is no JPEG") as corrupt:
        read_questions(file)
    assert str(file) in str(corrupt.value.where)
    assert "row 1" in str(corrupt.value.where)
    (tmp_path / "b.png").unlink()
    with pytest.raises(ImageError, match="does not exist"):
        read_questions(file)


@pytest.mark.parametrize(("size", "form"), [((9000, 9000), "PNG"), ((8, 8), "TIFF"), ((1, 300), "PNG")])
def test_pictures_the_decoder_refuses_are_found_before_any_model_runs(
    tmp_path: Path, size: tuple[int, int], form: str
) -> None:
    file = write(tmp_path, [GOOD, GOOD | {"question_id": 2, "image": "b.png"}])
    PIL.Image.new("1", size).save(tmp_path / "b.png", form)
    with pytest.raises(ImageError, match=r"b\.png") as refused:
        read_questions(file)
    assert str(file) in str(refused.value.where)
    assert "row 1" in str(refused.value.where)


def test_the_row_that_a_missing_file_is_explained_with_is_one(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "q.jsonl").write_text(EXAMPLE)
    assert len(read_questions(tmp_path / "q.jsonl")) == 1


def test_no_file_and_no_rows_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read") as missing:
        read_questions(tmp_path / "none.jsonl")
    assert str(missing.value.remedy).endswith(EXAMPLE)
    with pytest.raises(DataError, match="holds no questions"):
        read_questions(write(tmp_path, ["", ""]))


def test_the_digest_names_rows_and_pictures(tmp_path: Path) -> None:
    file = write(tmp_path, [GOOD])
    first = read_questions(file).digest
    assert read_questions(file).digest == first
    PIL.Image.new("RGB", (4, 4), "blue").save(tmp_path / "a.png")
    assert read_questions(file).digest != first, "the same name, another picture"
    assert read_questions(write(tmp_path, [GOOD | {"answer": "blue"}])).digest != first
