"""SEED-Bench."""

from __future__ import annotations

from typing import Any

import pytest

from pumice.errors import DataError
from pumice.score import Inputs, score


def bench() -> dict[str, Any]:
    def one(id: Any, answer: str, number: int, kind: str) -> dict[str, Any]:
        return {"question_id": id, "answer": answer, "question_type_id": number, "data_type": kind}

    return {
        "questions": [
            one("101669", "A", 1, "image"),
            one("1024_2", "B", 1, "image"),
            one("7", "C", 10, "video"),
        ],
        "question_type": {"Scene Understanding": 1, "Action Recognition": 10},
    }


def test_the_letter_exactly_by_type_and_kind(whole: Any, answers: Any) -> None:
    asked = whole("SEED-Bench.json", bench())
    result = score("seed", Inputs(answers({101669: "A", "1024_2": "B.", 7: "C"}), asked))
    assert result.metrics["accuracy"] == pytest.approx(200 / 3)
    assert (result.metrics["accuracy_image"], result.metrics["accuracy_video"]) == (50, 100)
    assert result.groups["Scene Understanding"].metrics["accuracy"] == 50
    assert result.groups["Action Recognition"].n == 1
    assert result.counts["unparsed"] == 1


def test_missing_questions_count_as_wrong_in_the_official_script(whole: Any, answers: Any) -> None:
    asked = whole("SEED-Bench.json", bench())
    few = answers({101669: "A"})
    with pytest.raises(DataError, match="2 of 3 questions have no answer: 1024_2, 7"):
        score("seed", Inputs(few, asked))
    assert score("seed", Inputs(few, asked, missing="wrong")).metrics["accuracy"] == pytest.approx(100 / 3)
    assert score("seed", Inputs(few, asked, missing="skip")).metrics["accuracy"] == 100


def test_a_type_without_a_name_and_an_answer_that_is_no_letter(whole: Any, answers: Any) -> None:
    wrong = bench()
    wrong["question_type"] = {"Scene Understanding": 1}
    with pytest.raises(DataError, match="type 10 has no name"):
        score("seed", Inputs(answers({101669: "A", "1024_2": "B", 7: "C"}), whole("s.json", wrong)))
    wrong = bench()
    wrong["questions"][0]["answer"] = "a"
    with pytest.raises(DataError, match="the answer is 'a'"):
        score("seed", Inputs(answers({101669: "A", "1024_2": "B", 7: "C"}), whole("s.json", wrong)))


def test_a_file_without_questions(whole: Any, answers: Any) -> None:
    with pytest.raises(DataError, match="has no key 'question_type'"):
        score("seed", Inputs(answers({1: "A"}), whole("s.json", {"questions": []})))
