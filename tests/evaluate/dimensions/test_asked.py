"""Questions of dimensions: facts, parts, and what is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from pumice.errors import DataError
from pumice.evaluate import read_questions
from pumice.evaluate.dimensions.asked import conclusion, correct, file_digest, read, some_of


def write(folder: Path, facts: list[Any]) -> Path:
    folder.mkdir(exist_ok=True)
    PIL.Image.new("RGB", (8, 8)).save(folder / "a.png")
    rows = [
        {
            "question_id": n,
            "image": "a.png",
            "text": "What?",
            "type": "reasoning",
            "answer": "2",
            "facts": one,
        }
        for n, one in enumerate(facts)
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_facts_are_read_and_told(tmp_path: Path) -> None:
    questions = read(write(tmp_path / "q", [{"steps": 3, "domain": "seen"}]), ["steps"])
    assert questions.questions[0].facts == {"steps": 3, "domain": "seen"}
    assert questions.questions[0].fields()["facts"] == {"steps": 3, "domain": "seen"}


@pytest.mark.parametrize("facts", [3, ["steps"], {"steps": 1.5}, {"steps": True}])
def test_facts_of_another_kind_are_refused(tmp_path: Path, facts: Any) -> None:
    with pytest.raises(DataError, match="facts is"):
        read_questions(write(tmp_path / "q", [facts]) / "questions.jsonl")


def test_a_fact_that_is_missing_is_named_with_its_row(tmp_path: Path) -> None:
    folder = write(tmp_path / "q", [{"steps": 1}, {"objects": 2}])
    with pytest.raises(DataError, match="no fact 'steps'") as caught:
        read(folder, ["steps"])
    assert "row 1" in str(caught.value)


def test_a_part_keeps_units_whole_and_is_nested(tmp_path: Path) -> None:
    facts = [{"pair": f"p{n % 6}"} for n in range(18)]
    questions = read(write(tmp_path / "q", facts))
    kept = {}
    for limit in (4, 9):
        part = some_of(questions, limit, 0, "pair")
        pairs = [dict(question.facts or {})["pair"] for question in part.questions]
        assert all(pairs.count(pair) == 3 for pair in pairs)
        assert limit <= len(part.questions) < limit + 3
        kept[limit] = {question.id for question in part.questions}
        assert part.digest != questions.digest
    assert kept[4] < kept[9]
    assert some_of(questions, None, 0) is questions


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("There are five objects and two of them are red, so three would be left.", "3"),
        ("There is one object and one of them is red, so none would be left.", "0"),
        ("There are two rings and one star, so yes.", "yes"),
        ("I cannot tell.", ""),
    ],
)
def test_conclusions(text: str, end: str) -> None:
    assert conclusion(text) == end


def test_what_is_right(tmp_path: Path) -> None:
    (question,) = read(write(tmp_path / "q", [None])).questions
    assert correct(question, "two")
    assert correct(question, "Four less two, so two would be left.")
    assert not correct(question, "Two and one, so three.")


def test_the_digest_sees_words_and_pictures(tmp_path: Path) -> None:
    folder = write(tmp_path / "q", [None])
    before = file_digest(folder)
    PIL.Image.new("RGB", (64, 64)).save(folder / "a.png")
    assert file_digest(folder) != before
