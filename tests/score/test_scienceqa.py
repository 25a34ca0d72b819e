"""ScienceQA."""

from __future__ import annotations

from typing import Any

import pytest

from pumice.errors import DataError
from pumice.score import Inputs, score
from pumice.score.scienceqa import scienceqa_letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("E", "E"),
        ("F", None),
        ("b", None),
        ("B.", None),  # neither alone nor with words behind it
        ("B. ", "B"),
        ("B. Blue", "B"),
        ("B) Blue", None),
        ("The answer is C.", "C"),
        ("The answer is C", None),  # some character must follow
        ("The answer is C!", "C"),
        ("the answer is C.", None),
        ("The answer is A. The answer is B.", None),
        ("LECTURE: ...\n The answer is Z.", "Z"),
        (" B", None),
        ("", None),
        ("B is the one.", None),
    ],
)
def test_letters(text: str, letter: str | None) -> None:
    assert scienceqa_letter(text) == letter


PROBLEMS = {
    "1": {"choices": ["x", "y"], "answer": 0, "image": "image.png"},
    "2": {"choices": ["x", "y", "z"], "answer": 2, "image": None},
    "3": {"choices": ["x", "y"], "answer": 1, "image": None},
    "9": {"choices": ["x", "y"], "answer": 1, "image": None},
}


def test_the_split_decides_what_is_asked(whole: Any, answers: Any) -> None:
    labels = whole("problems.json", PROBLEMS)
    given = answers({"1": "A", "2": "The answer is C.", "3": "D"})
    with pytest.raises(DataError, match="1 of 4 questions have no answer: 9"):
        score("scienceqa", Inputs(given, labels=labels))
    whole("pid_splits.json", {"train": ["9"], "test": ["1", "2", "3"]})
    result = score("scienceqa", Inputs(given, labels=labels))
    assert result.metrics["accuracy"] == pytest.approx(200 / 3)
    assert result.metrics["accuracy_img"] == 100
    assert result.counts == {"unparsed": 1, "image": 1}  # D is no choice of question 3
    folder = labels.parent
    assert score("scienceqa", Inputs(given, labels=folder)).metrics == result.metrics


def test_a_question_without_an_answer_may_count_as_wrong(whole: Any, answers: Any) -> None:
    labels = whole("problems.json", PROBLEMS)
    result = score("scienceqa", Inputs(answers({"1": "A", "2": "C"}), labels=labels, missing="wrong"))
    assert (result.n, result.metrics["accuracy"]) == (4, 50)


def analysis(id: str, pred: str, truth: str, pictured: bool) -> dict[str, Any]:
    return {
        "question_id": id,
        "parsed_ans": "?",
        "ground_truth": truth,
        "pred": pred,
        "is_multimodal": pictured,
    }


def test_the_analysis_of_llava_holds_answers_and_truth(whole: Any) -> None:
    file = whole(
        "output.json",
        {
            "correct": [analysis("1", "B. yes", "B", True)],
            "incorrect": [analysis("2", "B is it", "B", True), analysis("3", "C", "D", False)],
        },
    )
    result = score("scienceqa", Inputs(file))
    assert result.metrics["accuracy"] == pytest.approx(100 / 3)
    assert result.metrics["accuracy_img"] == 50
    assert result.counts["unparsed"] == 1


def test_the_results_of_llava_are_parsed_again(whole: Any, answers: Any) -> None:
    results = {
        "acc": 1.0,
        "correct": 9,
        "count": 9,
        "results": {"1": 0},
        "outputs": {"1": "So. The answer is B."},
    }
    file = whole("v0.json", results)
    truth = whole("output.json", {"correct": [analysis("1", "B", "B", False)], "incorrect": []})
    assert score("scienceqa", Inputs(file, labels=truth)).metrics == {"accuracy": 100}
    with pytest.raises(DataError, match="holds answers and no truth"):
        score("scienceqa", Inputs(file))
    with pytest.raises(DataError, match="holds answers and no truth"):
        score("scienceqa", Inputs(answers({"1": "B"})))


def test_a_question_that_stands_twice(whole: Any) -> None:
    file = whole(
        "o.json", {"correct": [analysis("1", "B", "B", True)], "incorrect": [analysis("1", "A", "B", True)]}
    )
    with pytest.raises(DataError, match="question 1 stands twice"):
        score("scienceqa", Inputs(file))


def test_the_question_file_of_llava(whole: Any, answers: Any, lines: Any) -> None:
    def one(id: str, truth: str, **more: str) -> dict[str, Any]:
        return {
            "id": id,
            "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": truth}],
            **more,
        }

    asked = whole(
        "llava_test_CQM-A.json", [one("1", "The answer is B.", image="1.png"), one("2", "The answer is A.")]
    )
    result = score("scienceqa", Inputs(answers({"1": "B", "2": "B"}), asked))
    assert (result.metrics["accuracy"], result.metrics["accuracy_img"]) == (50, 100)
    both = Inputs(answers({"1": "A", "2": "C"}), asked, whole("problems.json", PROBLEMS))
    assert score("scienceqa", both).metrics["accuracy"] == 100
    bad = whole("bad.json", [one("1", "Blue.")])
    with pytest.raises(DataError, match="names no letter"):
        score("scienceqa", Inputs(answers({"1": "B"}), bad))


def test_the_prompt_tells_of_a_picture_where_problems_do_not(whole: Any, lines: Any) -> None:
    labels = whole(
        "p.json", {"1": {"choices": ["x", "y"], "answer": 0}, "2": {"choices": ["x", "y"], "answer": 1}}
    )
    rows = [
        {"question_id": "1", "prompt": "<image>\nWhich?", "text": "A"},
        {"question_id": "2", "prompt": "Which?", "text": "A"},
    ]
    result = score("scienceqa", Inputs(lines("a.jsonl", rows), labels=labels))
    assert (result.metrics["accuracy"], result.metrics["accuracy_img"]) == (50, 100)
