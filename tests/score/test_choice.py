"""MMStar, AI2D and MMMU."""

from __future__ import annotations

from typing import Any

import pytest

from pumice.errors import DataError
from pumice.score import Inputs, score
from pumice.score.choice import choice_letter, mmstar_correct
from pumice.score.mmmu import mmmu_letter, normalised, open_answers, open_correct


@pytest.mark.parametrize(
    ("raw", "truth", "correct"),
    [
        ("B", "B", True),
        ("b", "B", True),
        ("Blue", "B", True),  # only the first letter is read
        ("(B)", "B", True),
        ("( B)", "B", False),
        ("Option B", "B", True),
        ("option: B", "B", False),
        ("The answer is B", "B", True),
        ("The answer is: B", "B", False),
        ("It is B", "B", False),
        ("", "B", False),
    ],
)
def test_mmstar_reads_one_character(raw: str, truth: str, correct: bool) -> None:
    assert mmstar_correct(raw, truth) is correct


def test_mmstar_by_category(lines: Any, answers: Any) -> None:
    rows = [
        {"index": 0, "question": "?", "answer": "A", "category": "math", "l2_category": "geometry"},
        {"index": 1, "question": "?", "answer": "B", "category": "math", "l2_category": "statistics"},
    ]
    result = score("mmstar", Inputs(answers({0: "A", 1: "A"}), lines("mmstar.jsonl", rows)))
    assert result.metrics == {"accuracy": 50}
    assert result.groups["geometry"].metrics["accuracy"] == 100
    assert result.groups["math"].n == 2


@pytest.mark.parametrize(
    ("raw", "letter"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("(B) x", "B"),
        ("B) x", "B"),
        ("A dog", None),
        ("Answer is A", "A"),
        ("the answer is (B).", "B"),
        ("D", None),
        ("a cat", "C"),
        ("An A", None),
        ("b", None),
    ],
)
def test_letters_of_options(raw: str, letter: str | None) -> None:
    assert choice_letter(raw, ["dog", "bird", "a cat"]) == letter


def test_ai2d_truths_are_numbers_or_letters(lines: Any, answers: Any) -> None:
    rows = [
        {"question": "?", "options": ["x", "y"], "answer": "1"},
        {"question": "?", "options": ["x", "y"], "answer": 0},
        {"question": "?", "options": ["x", "y"], "answer": "B"},
    ]
    result = score("ai2d", Inputs(answers({0: "B", 1: "x", 2: "neither"}), lines("ai2d.jsonl", rows)))
    assert result.metrics["accuracy"] == pytest.approx(200 / 3)
    assert result.counts["unparsed"] == 1
    bad = lines("bad.jsonl", [{"question": "?", "options": ["x", "y"], "answer": 2}])
    with pytest.raises(DataError, match="'2' of 2 options"):
        score("ai2d", Inputs(answers({0: "B"}), bad))


@pytest.mark.parametrize(
    ("raw", "letter"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("(A) or (C)", "C"),  # the last in brackets
        ("(A), though B is near", "A"),  # brackets come first
        ("A then B then", "B"),
        ("USA is", "A"),  # a letter and a space, wherever
        ("Choose B.Then stop", "B"),
        ("The thing in the picture is blue", "B"),
        ("It is not red but it is blue", "B"),
        ("blue", None),  # words count only in longer answers
        ("", None),
        ("D", None),
    ],
)
def test_the_letters_of_mmmu(raw: str, letter: str | None) -> None:
    assert mmmu_letter(raw, ["red", "blue", "green"]) == letter


def test_open_answers_of_mmmu() -> None:
    assert normalised(" 1,234.567 ") == [1234.57]
    assert normalised("X") == [" x", "x "]
    assert open_answers("The result is 42.") == ["42", 42.0] or open_answers("The result is 42.") == [42.0]
    assert open_correct("The result is 42.", ["42"])
    assert open_correct("So x = 3.14159", ["3.14"])
    assert open_correct("It costs $1,500", ["1500"])
    assert not open_correct("It costs 15000", ["1500"])
    assert open_correct("The capital is Paris, France", ["paris"])
    assert not open_correct("Rome", ["paris"])
    assert open_correct("1e3", ["1000"])
    assert open_correct("either", ["x", "either"])
    assert not open_correct("xylophone", ["x"])  # a lone letter is not looked for inside words


def rows() -> list[dict[str, Any]]:
    return [
        {
            "id": "validation_Art_Theory_1",
            "question_type": "multiple-choice",
            "options": "['x', 'y']",
            "answer": "B",
        },
        {"id": "validation_Math_2", "question_type": "open", "options": "[]", "answer": "['2', 'two']"},
        {"id": "validation_Math_3", "question_type": "multiple-choice", "options": ["x", "y"], "answer": "A"},
    ]


def test_mmmu_by_subject_and_domain(lines: Any, answers: Any) -> None:
    given = answers(
        {"validation_Art_Theory_1": "(B)", "validation_Math_2": "It is two", "validation_Math_3": "?"}
    )
    result = score("mmmu", Inputs(given, lines("mmmu.jsonl", rows())))
    assert result.metrics["accuracy"] == pytest.approx(200 / 3)
    assert result.groups["Art_Theory"].metrics["accuracy"] == 100
    assert result.groups["Art and Design"].n == 1
    assert result.groups["Science"].metrics["accuracy"] == 50
    assert result.counts["unparsed"] == 1


def test_mmmu_with_the_answer_dictionary(whole: Any, answers: Any) -> None:
    labels = {"validation_Math_1": {"question_type": "multiple-choice", "ground_truth": "D"}}
    result = score(
        "mmmu", Inputs(answers({"validation_Math_1": "D"}), labels=whole("answer_dict_val.json", labels))
    )
    assert result.metrics["accuracy"] == 100
    labels["validation_Math_1"]["question_type"] = "essay"
    with pytest.raises(DataError, match="question type is 'essay'"):
        score(
            "mmmu", Inputs(answers({"validation_Math_1": "D"}), labels=whole("answer_dict_val.json", labels))
        )
