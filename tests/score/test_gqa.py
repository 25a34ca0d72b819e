"""GQA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError
from pumice.score import Inputs, score, submit
from pumice.score.gqa import gqa_answer


@pytest.mark.parametrize(
    ("raw", "given"),
    [("Red.", "red"), ("Red...", "red"), ("red. ", "red. "), ("a red", "a red"), (".5.", ".5")],
)
def test_full_stops_at_the_end_go_and_nothing_else(raw: str, given: str) -> None:
    assert gqa_answer(raw) == given


def questions() -> dict[str, Any]:
    def one(answer: str, structural: str, semantic: str, balanced: bool = True) -> dict[str, Any]:
        types = {"structural": structural, "semantic": semantic, "detailed": "x"}
        return {"answer": answer, "question": "?", "types": types, "isBalanced": balanced}

    return {
        "01": one("yes", "verify", "obj"),
        "02": one("left", "query", "rel"),
        "03": one("red", "query", "attr"),
        "04": one("cat", "query", "obj", balanced=False),
    }


def test_accuracy_over_balanced_questions_and_by_type(whole: Any, answers: Any) -> None:
    asked = whole("testdev.json", questions())
    result = score("gqa", Inputs(answers({"01": "Yes.", "02": "right", "03": "Red", "04": "dog"}), asked))
    assert result.n == 3
    assert result.metrics["accuracy"] == pytest.approx(200 / 3)
    assert (result.metrics["binary"], result.metrics["open"]) == (100, 50)
    assert result.groups["relation"].metrics["accuracy"] == 0
    assert result.groups["query"].n == 2
    assert result.counts["unbalanced"] == 1


def test_the_ids_of_gqa_keep_their_zeros(whole: Any, answers: Any) -> None:
    with pytest.raises(DataError, match="1 answer to no question of the file: 1"):
        score("gqa", Inputs(answers({1: "Yes"}), whole("testdev.json", questions())))


def test_the_submission(whole: Any, answers: Any, tmp_path: Path) -> None:
    target = tmp_path / "predictions.json"
    given = answers({"01": "Yes.", "02": "Left", "03": "x", "04": "y"})
    assert submit("gqa", Inputs(given, whole("testdev.json", questions())), target) == 4
    assert json.loads(target.read_text())[:2] == [
        {"questionId": "01", "prediction": "yes"},
        {"questionId": "02", "prediction": "left"},
    ]


def test_a_question_file_that_breaks_off_names_the_line(tmp_path: Path, whole: Any, answers: Any) -> None:
    path = whole("testdev.json", questions())
    path.write_text(path.read_text()[:-200])
    with pytest.raises(DataError, match="breaks off") as caught:
        score("gqa", Inputs(answers({"01": "Yes"}), path))
    assert "testdev.json, line " in str(caught.value.where)
    assert "cut off" in str(caught.value.remedy)
