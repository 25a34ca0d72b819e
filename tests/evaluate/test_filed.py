"""evaluate/filed.py: answers of a file found for the questions of a task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError, UsageError
from pumice.evaluate.filed import FileAnswerer
from pumice.evaluate.samples import Sample


def wrote(tmp_path: Path, *rows: dict[str, Any]) -> FileAnswerer:
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return FileAnswerer(path, "somebody")


def sample(id: str, question: Any, **row: Any) -> Sample:
    return Sample(id, "?", (Path("folder/pic.jpg"),), {"question_id": question, **row})


def heard(answerer: FileAnswerer, *samples: Sample) -> list[str]:
    return [said.text for _, said in answerer.answers(samples, 0, blind=False)]


def test_rows_are_found_by_the_id_of_their_question(tmp_path: Path) -> None:
    answerer = wrote(tmp_path, {"question_id": "2", "text": "b"}, {"question_id": 1, "text": "a"})
    assert heard(answerer, sample("x", 1), sample("y", 2)) == ["a", "b"]
    assert answerer.model["kind"] == "file"
    assert len(answerer.model["digest"]) == 64
    assert answerer.remarks(1) == ["1 row of answers.jsonl answers no question that was asked"]
    assert answerer.remarks(2) == []


def test_one_id_of_two_questions_is_told_apart_by_prompt_or_round(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question_id": "a/1.png", "prompt": "Is  it red?", "text": "Yes"},
        {"question_id": "a/1.png", "prompt": "Is it blue?", "text": "No"},
        {"question_id": 7, "round_id": 0, "text": "A"},
        {"question_id": 7, "round_id": 1, "text": "B"},
    ]
    asked = [sample("x", "a/1.png", prompt="Is it blue?"), sample("y", "a/1.png", prompt="Is it red?")]
    asked += [sample("r1", 7, round_id=1), sample("r0", 7, round_id=0)]
    assert heard(wrote(tmp_path, *rows), *asked) == ["No", "Yes", "B", "A"]


def test_an_id_may_be_that_of_the_picture(tmp_path: Path) -> None:
    answerer = wrote(
        tmp_path,
        {"question_id": "pic", "prompt": "what?", "text": "a"},
        {"question_id": "pic", "prompt": "who?", "text": "b"},
    )
    assert heard(answerer, sample("x", 34602, prompt="who?")) == ["b"]


def test_a_question_without_an_answer_is_not_given_that_of_its_pictures_number(tmp_path: Path) -> None:
    answerer = wrote(tmp_path, {"question_id": "pic", "text": "of question pic"})
    with pytest.raises(DataError, match="have no answer: y"):
        heard(answerer, sample("y", 2, prompt="who?"))


def test_what_is_missing_or_double_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 of 2 questions have no answer: y"):
        heard(wrote(tmp_path, {"question_id": 1, "text": "a"}), sample("x", 1), sample("y", 2))
    twice = wrote(tmp_path, {"question_id": 1, "text": "a"}, {"question_id": 1, "text": "b"})
    with pytest.raises(DataError) as caught:
        heard(twice, sample("x", 1))
    assert "line 2" in str(caught.value)
    with pytest.raises(DataError, match="not a string"):
        heard(wrote(tmp_path, {"question_id": 1, "text": 5}), sample("x", 1))
    with pytest.raises(UsageError, match="without the pictures"):
        list(twice.answers([], 0, blind=True))
    with pytest.raises(DataError):
        FileAnswerer(tmp_path / "nothing.jsonl", "somebody")


def test_one_row_is_no_answer_to_two_questions(tmp_path: Path) -> None:
    row = {"question_id": "a/1.png", "prompt": "Is it red?", "text": "Yes"}
    asked = [sample("x", "a/1.png", prompt="Is it red?"), sample("y", "a/1.png", prompt="Is it blue?")]
    with pytest.raises(DataError, match="would answer two questions, x and y") as caught:
        heard(wrote(tmp_path, row), *asked)
    assert "line 1" in str(caught.value)
    rounds = [sample(f"r{number}", 7, round_id=number) for number in range(2)]
    with pytest.raises(DataError, match="r0 and r1"):
        heard(wrote(tmp_path, {"question_id": 7, "text": "A"}), *rounds)
